"""Hooks of schemathesis, which insert values that exist where a schema can only describe a format.

The hooks replace valid values by other valid values. So a valid request can succeed, and an invalid request is refused
for its own fault. Existing values come from the environment: ORGANISATION and SOURCE (uuids), SUPPLIER (a username),
CURSOR (of the change feed), EXISTING (JSON: path -> the value of its parameter).
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
UNUSED_UUID = "00000000-0000-4000-8000-000000000000"
ORGANISATION, SOURCE = os.environ["ORGANISATION"], os.environ["SOURCE"]
SUPPLIER = os.environ["SUPPLIER"]
EXISTING: dict[str, str | int] = json.loads(os.environ["EXISTING"])
NEEDED = {str(value).replace("-", "") for value in EXISTING.values()}
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
    """Insert existing values into the query, the body and the path."""
    for name, value in (case.query or {}).items():
        if isinstance(value, str):
            case.query[name] = insert_into_query(name, value)
    if isinstance(case.body, dict):
        insert_owners(case.body)
        insert_sources(case.body)
        insert_times(case.body)
        insert_assigned(case.body)
        keep_verdict(case)
    if case.query and case.operation.path.endswith("/data/"):
        case.query.pop("dry-run", None)  # the server of this test cannot read files
    if case.meta and case.meta.phase.name == "stateful":
        make_stateful(case)
    else:
        insert_into_path(case)
    keep_needed_rows(case)


def keep_verdict(case: Any) -> None:
    """Tell schemathesis that the changed body of a form with a file is as valid as before.

    Otherwise schemathesis validates it again, and every body with bytes is invalid to it. There is no public function.
    """
    if case._meta and case.media_type == "multipart/form-data":
        case._meta.update_validated_hash(ParameterLocation.BODY, case._hash_container(case.body))


def insert_into_query(name: str, value: str) -> str:
    """Insert a cursor of the feed, existing times and places, and a regular expression that PostgreSQL can read."""
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


def existing_day(match: re.Match[str]) -> str:
    """Replace a day that does not exist by the 28th, and avoid the years 1 and 9999, which an offset may leave."""
    year, month, day = match[0].split("-")
    year = {"0001": "0002", "9999": "9998"}.get(year, year)
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return f"{year}-{month}-28"


def existing_place(value: str) -> str:
    """Replace a point or box that is not on earth by one that is."""
    if "polygon" in value.lower():
        return "POLYGON ((4 51, 5 51, 5 52, 4 51))"
    numbers = [float(part.strip()) for part in value.split(",")]
    longitudes, latitudes = numbers[::2], numbers[1::2]
    if max(map(abs, longitudes)) <= 540 and [-90, *latitudes, 90] == sorted([-90, *latitudes, 90]):
        return value
    return "4,51,5,52" if len(numbers) == 4 else "4.5,51.9"


@schemathesis.deserializer("text/html")  # type: ignore[untyped-decorator, unused-ignore]
def as_text(context: Any, response: Any) -> str:
    """Return the text of a page, which schemathesis compares with the document."""
    text: str = response.text
    return text


def make_stateful(case: Any) -> None:
    """Ask for JSON and for no dry run, because a further request cannot be made from a page or a dry run."""
    if case.query and case.query.get("format", "").strip() == "api":
        case.query["format"] = "json"
    if case.query:
        case.query.pop("dry-run", None)


def insert_owners(body: dict[str, Any]) -> None:
    """Insert the organisation, as a uuid or an object, and the supplier."""
    organisation = body.get("organisation")
    if is_uuid(organisation):
        body["organisation"] = ORGANISATION
    elif isinstance(organisation, dict) and is_uuid(organisation.get("uuid")):
        organisation["uuid"] = ORGANISATION
    if isinstance(body.get("supplier"), str) and body["supplier"] and "\0" not in body["supplier"]:
        body["supplier"] = SUPPLIER


def insert_sources(body: dict[str, Any]) -> None:
    """Insert the raster sources of a scenario, and name a graph after one of its blocks."""
    if isinstance(body.get("raster_sources"), list):
        body["raster_sources"] = [
            ANY_UUID.sub(SOURCE, item) if isinstance(item, str) else item
            for item in body["raster_sources"]
        ]
    source = body.get("source")
    if isinstance(source, dict) and isinstance(source.get("name"), str):
        graph = source.get("graph")
        if isinstance(graph, dict) and graph and "\0" not in source["name"]:
            source["name"] = next(iter(graph))


def insert_times(body: dict[str, Any]) -> None:
    """Insert existing days, and end a period where it begins."""
    for name in {"timestamp", "start", "stop"} & body.keys():
        if isinstance(body[name], str):
            body[name] = re.sub(DAY, existing_day, body[name])
    if all(is_timestamp(body.get(name)) for name in ("start", "stop")):
        body["stop"] = body["start"]


def insert_assigned(body: dict[str, Any]) -> None:
    """Insert a CRS that PROJ knows, and a number without exponent."""
    crs, nodata = body.get("crs"), body.get("nodata")
    if isinstance(crs, str) and re.fullmatch(CRS_PATTERN, crs.strip()):
        body["crs"] = "EPSG:28992"
    if isinstance(nodata, str) and re.fullmatch(NODATA_PATTERN, nodata.strip()):
        body["nodata"] = re.sub("[eE].*", "", nodata)


def is_timestamp(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(TIMESTAMP_PATTERN, value.strip()) is not None


def insert_into_path(case: Any) -> None:
    """Let half the requests for a single row ask for one that exists."""
    existing = EXISTING.get(case.operation.path)
    if case.operation.path in PIXELS_OF_LAYERS:
        # other requests give layers graphs that have no pixels
        case.path_parameters = {
            name: UNUSED_UUID if is_valid(value) else value
            for name, value in (case.path_parameters or {}).items()
        }
        return
    for name, value in (case.path_parameters or {}).items():
        if (
            name in ("uuid", "id")
            and existing is not None
            and is_valid(value)
            and ord(str(value)[-1]) % 2
        ):
            case.path_parameters[name] = existing


def keep_needed_rows(case: Any) -> None:
    """Do not delete rows that other requests need."""
    if case.method == "DELETE" and not case.operation.path.endswith("/data/"):
        for name, value in (case.path_parameters or {}).items():
            if str(value).replace("-", "").lower() in NEEDED:
                case.path_parameters[name] = UNUSED_UUID


def is_valid(value: Any) -> bool:
    """Whether the schema allows this value in a path."""
    if isinstance(value, int):
        return 0 < value <= 2**53
    return isinstance(value, str) and CANONICAL.fullmatch(value) is not None


def is_uuid(value: Any) -> bool:
    return isinstance(value, str) and ANY_UUID.fullmatch(value) is not None
