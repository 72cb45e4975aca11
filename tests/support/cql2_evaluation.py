"""Evaluates filters in CQL2 in Python: True, False, or None for unknown. Searches are compared with it."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import shapely

from pipeline.catalogue.cql2 import Kind

KINDS = {
    "size": Kind.NUMBER, "level": Kind.NUMBER, "name": Kind.TEXT, "title": Kind.TEXT, "flag": Kind.BOOLEAN,
    "start": Kind.TIME, "end": Kind.TIME, "place": Kind.GEOMETRY,
}  # fmt: skip
Expression = Any


def all_of(*parts: bool | None) -> bool | None:
    return False if False in parts else None if None in parts else True


def any_of(*parts: bool | None) -> bool | None:
    return True if True in parts else None if None in parts else False


def negate(part: bool | None) -> bool | None:
    return None if part is None else not part


def with_null(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is unknown where an argument is."""
    return lambda *arguments: None if None in arguments else function(*arguments)


EQ, LT, GT = (
    with_null(function)
    for function in (lambda a, b: a == b, lambda a, b: a < b, lambda a, b: a > b)
)
COMPARE = {
    "=": EQ, "<": LT, ">": GT, "<>": with_null(lambda a, b: a != b), "<=": with_null(lambda a, b: a <= b),
    ">=": with_null(lambda a, b: a >= b),
}  # fmt: skip
ARITHMETIC = {
    "+": with_null(lambda a, b: a + b), "-": with_null(lambda a, b: a - b), "*": with_null(lambda a, b: a * b),
    "/": with_null(lambda a, b: a / b if b else None), "div": with_null(lambda a, b: math.trunc(a / b) if b else None),
    "%": with_null(lambda a, b: a - b * math.trunc(a / b) if b else None), "^": with_null(lambda a, b: a**b),
}  # fmt: skip
SPATIAL = {
    "s_intersects": shapely.intersects, "s_disjoint": shapely.disjoint, "s_equals": shapely.equals,
    "s_touches": shapely.touches, "s_within": shapely.within, "s_overlaps": shapely.overlaps,
    "s_crosses": shapely.crosses, "s_contains": shapely.contains,
}  # fmt: skip
# Allen's relations, as table 1 of OGC 21-065r2 has them: first interval (a, b), second (c, d).
TEMPORAL: dict[str, Callable[[Any, Any, Any, Any], bool | None]] = {
    "t_after": lambda a, b, c, d: GT(a, d),
    "t_before": lambda a, b, c, d: LT(b, c),
    "t_contains": lambda a, b, c, d: all_of(LT(a, c), GT(b, d)),
    "t_disjoint": lambda a, b, c, d: any_of(GT(a, d), LT(b, c)),
    "t_during": lambda a, b, c, d: all_of(GT(a, c), LT(b, d)),
    "t_equals": lambda a, b, c, d: all_of(EQ(a, c), EQ(b, d)),
    "t_finishedBy": lambda a, b, c, d: all_of(LT(a, c), EQ(b, d)),
    "t_finishes": lambda a, b, c, d: all_of(GT(a, c), EQ(b, d)),
    "t_intersects": lambda a, b, c, d: negate(any_of(GT(a, d), LT(b, c))),
    "t_meets": lambda a, b, c, d: EQ(b, c),
    "t_metBy": lambda a, b, c, d: EQ(a, d),
    "t_overlappedBy": lambda a, b, c, d: all_of(GT(a, c), LT(a, d), GT(b, d)),
    "t_overlaps": lambda a, b, c, d: all_of(LT(a, c), GT(b, c), LT(b, d)),
    "t_startedBy": lambda a, b, c, d: all_of(EQ(a, c), GT(b, d)),
    "t_starts": lambda a, b, c, d: all_of(EQ(a, c), LT(b, d)),
}


def like(value: str | None, pattern: str) -> bool | None:
    if value is None:
        return None
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wildcards = {"%": ".*", "_": "."}
    return (
        re.fullmatch(
            "".join(wildcards.get(part) or re.escape(part[-1]) for part in parts), value, re.DOTALL
        )
        is not None
    )


def parse_time(value: Any) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def start_and_end(part: Any, row: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    """Return start and end of a time or an interval."""
    limits = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    if "interval" in part:
        first, last = (
            limit
            if end == ".."
            else evaluate(end, row)
            if isinstance(end, dict)
            else parse_time(end)
            for end, limit in zip(part["interval"], limits, strict=True)
        )
        return first, last
    value = evaluate(part, row)
    return value, value


def evaluate(part: Expression, row: dict[str, Any]) -> Any:
    if not isinstance(part, dict):
        return part
    if "property" in part:
        value = row[part["property"]]
        kind = KINDS[part["property"]]
        return (
            parse_time(value)
            if kind is Kind.TIME
            else parse_geometry(value)
            if kind is Kind.GEOMETRY
            else value
        )
    if "timestamp" in part:
        return parse_time(part["timestamp"])
    if "type" in part:
        return parse_geometry(part)
    op = part["op"]
    if op in TEMPORAL:
        return TEMPORAL[op](
            *start_and_end(part["args"][0], row), *start_and_end(part["args"][1], row)
        )
    arguments = [
        [evaluate(item, row) for item in argument]
        if isinstance(argument, list)
        else evaluate(argument, row)
        for argument in part["args"]
    ]
    return apply(op, arguments)


def apply(op: str, arguments: list[Any]) -> Any:
    first = arguments[0]
    if op in ("and", "or"):
        return (all_of if op == "and" else any_of)(*arguments)
    if op == "not":
        return negate(first)
    if op == "isNull":
        return first is None
    if op == "in":
        return any_of(*(EQ(first, item) for item in arguments[1]))
    if op == "between":
        return all_of(COMPARE[">="](first, arguments[1]), COMPARE["<="](first, arguments[2]))
    if op == "like":
        return like(*arguments)
    if op == "casei":
        return None if first is None else first.lower()
    if op in SPATIAL:
        return None if None in arguments else bool(SPATIAL[op](*arguments))
    return (COMPARE.get(op) or ARITHMETIC[op])(*arguments)


def parse_geometry(value: Any) -> Any:
    return None if value is None else shapely.from_geojson(json.dumps(value))
