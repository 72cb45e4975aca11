"""Hooks of schemathesis: where a schema can only say what a value looks like, put one that exists.

Only a value that the schema allows is replaced, and by another that it allows: what is to be accepted can then be, and
what is to be refused is refused for what is wrong with it. The environment says what exists: ORGANISATION and SOURCE
(uuids), SUPPLIER (a username), CURSOR (of the change feed), EXISTING (JSON: path -> the value of its parameter).
"""

import json
import os
import re
from typing import Any

import schemathesis

ANY_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
CANONICAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
CURSOR = re.compile("[0-9a-f]{64}")
NOTHING = "00000000-0000-4000-8000-000000000000"
ORGANISATION, SOURCE = os.environ["ORGANISATION"], os.environ["SOURCE"]
SUPPLIER = os.environ["SUPPLIER"]
EXISTING: dict[str, str | int] = json.loads(os.environ["EXISTING"])
NEEDED = {str(one).replace("-", "") for one in EXISTING.values()}


@schemathesis.hook  # type: ignore[untyped-decorator, unused-ignore]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Name what exists, in the query, in the body and in the path."""
    for name, value in (case.query or {}).items():
        if isinstance(value, str):
            case.query[name] = understood(name, value)
    if isinstance(case.body, dict):
        name_owners(case.body)
        name_sources(case.body)
    if case.meta and case.meta.phase.name == "stateful":
        take_json(case)
    else:
        go_where_something_is(case)
    spare_what_others_need(case)


def understood(name: str, value: str) -> str:
    """A cursor that the feed gave, and regular expressions that PostgreSQL, which has its own kind, can read."""
    if name == "since" and CURSOR.fullmatch(value.strip()):
        return os.environ["CURSOR"]
    return re.sub(r"([][\\^$.|?*+(){}])", r"\\\1", value) if name.endswith("regex") else value


@schemathesis.deserializer("text/html")  # type: ignore[untyped-decorator, unused-ignore]
def as_text(context: Any, response: Any) -> str:
    """A page, to be compared with what the document says of it."""
    text: str = response.text
    return text


def take_json(case: Any) -> None:
    """From a page no further request can be made."""
    if case.query and case.query.get("format", "").strip() == "api":
        case.query["format"] = "json"


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


def go_where_something_is(case: Any) -> None:
    """Half the requests for one thing are for one that is there."""
    existing = EXISTING.get(case.operation.path)
    for name, value in (case.path_parameters or {}).items():
        if existing is not None and is_right(value) and ord(str(value)[-1]) % 2:
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
