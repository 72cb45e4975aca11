"""Composes SQL conditions from filters in CQL2.

As in SQL, a comparison with null is null, and a row matches if the whole filter is true.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Double, and_, any_, collate, func, literal_column, not_, or_
from sqlalchemy.dialects.postgresql import array

from pipeline.catalogue.cql2 import Kind, Node


def _divide(a: Any, b: Any) -> Any:
    """Return a quotient of floating-point numbers; it is null for a division by zero."""
    return a / func.nullif(b, 0, type_=Double())  # with the type Integer it would become a NUMERIC


COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "div": lambda a, b: func.trunc(_divide(a, b)),
    "%": lambda a, b: func.remainder(a, b, type_=Double()),  # a text with each part once
    "^": lambda a, b: func.power(a, b),
}
SPATIAL = {
    "s_equals": "ST_Equals", "s_touches": "ST_Touches", "s_within": "ST_Within", "s_overlaps": "ST_Overlaps",
    "s_crosses": "ST_Crosses", "s_contains": "ST_Contains",
}  # fmt: skip
TEMPORAL: Mapping[str, Callable[[Any, Any, Any, Any], ColumnElement[bool]]] = {
    "t_after": lambda s, _e, _start, end: s > end,
    "t_before": lambda _s, e, start, _end: e < start,
    "t_contains": lambda s, e, start, end: and_(s < start, e > end),
    "t_disjoint": lambda s, e, start, end: or_(s > end, e < start),
    "t_during": lambda s, e, start, end: and_(s > start, e < end),
    "t_equals": lambda s, e, start, end: and_(s == start, e == end),
    "t_finishedby": lambda s, e, start, end: and_(s < start, e == end),
    "t_finishes": lambda s, e, start, end: and_(s > start, e == end),
    "t_intersects": lambda s, e, start, end: and_(s <= end, e >= start),
    "t_meets": lambda _s, e, start, _end: e == start,
    "t_metby": lambda s, _e, _start, end: s == end,
    "t_overlappedby": lambda s, e, start, end: and_(s > start, s < end, e > end),
    "t_overlaps": lambda s, e, start, end: and_(s < start, e > start, e < end),
    "t_startedby": lambda s, e, start, end: and_(s == start, e > end),
    "t_starts": lambda s, e, start, end: and_(s == start, e < end),
}

NULLS = {
    Kind.NUMBER: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.TIME: "timestamptz",
    Kind.GEOMETRY: "geometry",
}
Values = Callable[[int, Kind], ColumnElement[Any]]
"""Takes the index of a value and its kind, and returns its parameter."""


def condition(
    node: Node, columns: Mapping[str, ColumnElement[Any]], values: Values
) -> ColumnElement[Any]:
    """Return a filter, or a part of it, as an SQL expression."""
    if node.op == "property":
        return columns[node.name]
    if node.op == "null":
        return literal_column(f"NULL::{NULLS.get(node.kind, 'text')}")
    if node.op == "value":
        return values(node.values[-1], node.kind)
    if node.op in ("s_intersects", "s_disjoint"):
        met = _intersects(node.parts, columns, values)
        return met if node.op == "s_intersects" else not_(met)
    if node.op in TEMPORAL:
        ends = [end for part in node.parts for end in _ends(part, columns, values)]
        return TEMPORAL[node.op](*ends)
    parts = [condition(part, columns, values) for part in node.parts]
    if node.op in SPATIAL:
        return getattr(func, SPATIAL[node.op])(*parts)  # type: ignore[no-any-return]
    if node.op in COMPARISONS or node.op in ("between", "in"):
        return _compare(node, parts)
    return _apply(node.op, parts)


def can_fail(node: Node) -> bool:
    """Return whether PostgreSQL can fail to compute a filter for some rows, as where a number becomes too large."""
    return node.op in ARITHMETIC or any(map(can_fail, node.parts))


def _compare(node: Node, parts: list[ColumnElement[Any]]) -> ColumnElement[bool]:
    if node.op == "in":
        return parts[0] == any_(array(parts[1:]))
    if node.parts[0].kind is Kind.TEXT and node.op not in ("=", "<>"):
        parts = [collate(part, "C") for part in parts]
    if node.op == "between":
        return and_(parts[0] >= parts[1], parts[0] <= parts[2])
    return COMPARISONS[node.op](*parts)  # type: ignore[no-any-return]


def _apply(op: str, parts: list[ColumnElement[Any]]) -> ColumnElement[Any]:
    if op in ARITHMETIC:
        return ARITHMETIC[op](*parts)  # type: ignore[no-any-return]
    if op in ("and", "or"):
        return and_(*parts) if op == "and" else or_(*parts)
    if op == "not":
        return not_(parts[0])
    if op == "isnull":
        return parts[0].is_(None)
    return func.lower(parts[0]) if op == "casei" else parts[0].like(parts[1])


def _intersects(
    parts: Sequence[Node], columns: Mapping[str, ColumnElement[Any]], values: Values
) -> ColumnElement[bool]:
    """Test each copy of a geometry, so that one that touches the antimeridian intersects features on both sides."""
    first, second = (
        [values(place, part.kind) for place in part.values[:-1]]
        if part.op == "value"
        else [condition(part, columns, values)]
        for part in parts
    )
    return or_(
        *(
            func.ST_Intersects(left_parts, right_parts)
            for left_parts in first
            for right_parts in second
        )
    )


def _ends(
    node: Node, columns: Mapping[str, ColumnElement[Any]], values: Values
) -> list[ColumnElement[Any]]:
    """Return start and end of an interval; for a time, both are that time."""
    if node.op == "interval":
        return [condition(part, columns, values) for part in node.parts]
    return [condition(node, columns, values)] * 2
