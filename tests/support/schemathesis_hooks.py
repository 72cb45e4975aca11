"""Hooks of schemathesis: where a schema can only say what a value looks like, put one that exists.

Only a value that the schema allows is replaced, and by another that it allows: what is to be accepted can then be, and
what is to be refused is refused for what is wrong with it. The environment says what exists: ORGANISATION and SOURCE
(uuids), SUPPLIER (a username), CURSOR (of the change feed), EXISTING (JSON: path -> the value of its parameter).
"""

import json
import os
import re
from datetime import date
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

from pipeline.api.views.pictures import RESCALE_PATTERN
from pipeline.catalogue.lookups import DAY, TIMESTAMP_PATTERN
from pipeline.catalogue.spatial_filters import BOX_PATTERN, POINT_PATTERN
from pipeline.raster.stated_values import CRS_PATTERN, NODATA_PATTERN

ANY_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
CANONICAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
CURSOR = re.compile("[0-9a-f]{64}")
PIXELS_OF_LAYERS = ("/api/v4/rasters/{uuid}/data/", "/api/v4/rasters/{uuid}/timesteps/")
NOTHING = "00000000-0000-4000-8000-000000000000"
ORGANISATION, SOURCE = os.environ["ORGANISATION"], os.environ["SOURCE"]
SUPPLIER = os.environ["SUPPLIER"]
EXISTING: dict[str, str | int] = json.loads(os.environ["EXISTING"])
NEEDED = {str(one).replace("-", "") for one in EXISTING.values()}
TIMES = (
    "created",
    "last_modified",
    "first_value_timestamp",
    "last_value_timestamp",
    "first_seen",
    "last_seen",
    "time",
    "start",
    "end",
)
PLACES = {"in_bbox": BOX_PATTERN, "bbox": BOX_PATTERN, "point": POINT_PATTERN}
GEOMETRIES = (
    "POINT (4.5 51.9)",
    "linestring(-190 51, 5 52)",
    '{"type": "Polygon", "coordinates": [[[4, 51], [5, 51], [5, 52], [4, 51]]]}',
)


@schemathesis.hook  # type: ignore[untyped-decorator, unused-ignore]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Name what exists, in the query, in the body and in the path."""
    for name, value in (case.query or {}).items():
        if isinstance(value, str):
            case.query[name] = understood(name, value)
    if isinstance(case.body, dict):
        name_owners(case.body)
        name_sources(case.body)
        name_times(case.body)
        name_assigned(case.body)
        keep_judgement(case)
    if case.query and case.operation.path.endswith("/data/"):
        case.query.pop("dry-run", None)  # the server of this test has no process that reads files
    if case.meta and case.meta.phase.name == "stateful":
        take_json(case)
    else:
        go_where_something_is(case)
    spare_what_others_need(case)


def keep_judgement(case: Any) -> None:
    """Of a form with a file schemathesis judges the changed body anew, and takes whatever holds bytes for wrong.

    It has no public call to say that the body is as right or wrong as it was.
    """
    if case._meta and case.media_type == "multipart/form-data":
        case._meta.update_validated_hash(ParameterLocation.BODY, case._hash_container(case.body))


def understood(name: str, value: str) -> str:
    """A cursor that the feed gave, times and places that there are, regular expressions that PostgreSQL can read."""
    if name == "since" and CURSOR.fullmatch(value.strip()):
        return os.environ["CURSOR"]
    if name.split("__")[0] in TIMES:
        return re.sub(DAY, existing_day, value)
    if name in PLACES and value.strip() and re.search(PLACES[name], value):
        return existing_place(value)
    if name == "rescale" and value.strip() and value.count(",") == 1 and "\0" not in value:
        return "0,1" if re.fullmatch(RESCALE_PATTERN, value.strip()) else value
    if name == "geometry" and value.strip() and "\0" not in value:
        return GEOMETRIES[len(value) % len(GEOMETRIES)]
    return re.sub(r"([][\\^$.|?*+(){}])", r"\\\1", value) if name.endswith("regex") else value


def existing_day(found: re.Match[str]) -> str:
    """A day as it is, or the 28th where the month has no such day; not at an end of time, beyond which offsets lead."""
    year, month, day = found[0].split("-")
    year = {"0001": "0002", "9999": "9998"}.get(year, year)
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return f"{year}-{month}-28"


def existing_place(value: str) -> str:
    """A point or box as it is, or one on earth with the same number of numbers."""
    if "polygon" in value.lower():
        return "POLYGON ((4 51, 5 51, 5 52, 4 51))"
    numbers = [float(part.strip()) for part in value.split(",")]
    longitudes, latitudes = numbers[::2], numbers[1::2]
    if max(map(abs, longitudes)) <= 540 and [-90, *latitudes, 90] == sorted([-90, *latitudes, 90]):
        return value
    return "4,51,5,52" if len(numbers) == 4 else "4.5,51.9"


@schemathesis.deserializer("text/html")  # type: ignore[untyped-decorator, unused-ignore]
def as_text(context: Any, response: Any) -> str:
    """A page, to be compared with what the document says of it."""
    text: str = response.text
    return text


def take_json(case: Any) -> None:
    """From a page no further request can be made, nor from what a dry run has not stored."""
    if case.query and case.query.get("format", "").strip() == "api":
        case.query["format"] = "json"
    if case.query:
        case.query.pop("dry-run", None)


def name_owners(body: dict[str, Any]) -> None:
    """The organisation, as a uuid or an object, and the supplier."""
    organisation = body.get("organisation")
    if is_uuid(organisation):
        body["organisation"] = ORGANISATION
    elif isinstance(organisation, dict) and is_uuid(organisation.get("uuid")):
        organisation["uuid"] = ORGANISATION
    if isinstance(body.get("supplier"), str) and body["supplier"] and "\0" not in body["supplier"]:
        body["supplier"] = SUPPLIER


def name_sources(body: dict[str, Any]) -> None:
    """The raster sources of a scenario; and a graph is named after one of its blocks."""
    if isinstance(body.get("raster_sources"), list):
        body["raster_sources"] = [
            ANY_UUID.sub(SOURCE, one) if isinstance(one, str) else one
            for one in body["raster_sources"]
        ]
    source = body.get("source")
    if isinstance(source, dict) and isinstance(source.get("name"), str):
        graph = source.get("graph")
        if isinstance(graph, dict) and graph and "\0" not in source["name"]:
            source["name"] = next(iter(graph))


def name_times(body: dict[str, Any]) -> None:
    """Times that there are; a period that does not end before it begins."""
    for name in {"timestamp", "start", "stop"} & body.keys():
        if isinstance(body[name], str):
            body[name] = re.sub(DAY, existing_day, body[name])
    if all(is_moment(body.get(name)) for name in ("start", "stop")):
        body["stop"] = body["start"]


def name_assigned(body: dict[str, Any]) -> None:
    """A CRS that PROJ knows, and a number that a computer can hold."""
    crs, nodata = body.get("crs"), body.get("nodata")
    if isinstance(crs, str) and re.fullmatch(CRS_PATTERN, crs.strip()):
        body["crs"] = "EPSG:28992"
    if isinstance(nodata, str) and re.fullmatch(NODATA_PATTERN, nodata.strip()):
        body["nodata"] = re.sub("[eE].*", "", nodata)


def is_moment(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(TIMESTAMP_PATTERN, value.strip()) is not None


def go_where_something_is(case: Any) -> None:
    """Half the requests for one thing are for one that is there."""
    existing = EXISTING.get(case.operation.path)
    if (
        case.operation.path in PIXELS_OF_LAYERS
    ):  # other requests give layers graphs that have no pixels
        case.path_parameters = {
            name: NOTHING if is_right(value) else value
            for name, value in (case.path_parameters or {}).items()
        }
        return
    for name, value in (case.path_parameters or {}).items():
        if (
            name in ("uuid", "id")
            and existing is not None
            and is_right(value)
            and ord(str(value)[-1]) % 2
        ):
            case.path_parameters[name] = existing


def spare_what_others_need(case: Any) -> None:
    """Nothing of what the other requests name is deleted, wherever the request has found it."""
    if case.method == "DELETE" and not case.operation.path.endswith("/data/"):
        for name, value in (case.path_parameters or {}).items():
            if str(value).replace("-", "").lower() in NEEDED:
                case.path_parameters[name] = NOTHING


def is_right(value: Any) -> bool:
    """Whether the schema allows it in a path."""
    if isinstance(value, int):
        return 0 < value <= 2**53
    return isinstance(value, str) and CANONICAL.fullmatch(value) is not None


def is_uuid(value: Any) -> bool:
    return isinstance(value, str) and ANY_UUID.fullmatch(value) is not None
