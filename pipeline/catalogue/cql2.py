"""Parses filters in the JSON form of CQL2 (OGC 21-065r2).

`read_filter` checks names and types, and separates the values of an expression from its shape. For each shape a
statement is composed once (`pipeline/catalogue/cql2_sql.py`); the values are its parameters.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import shapely
from shapely import affinity

from pipeline.catalogue.cql2_text import MAX_DEPTH
from pipeline.catalogue.lookups import BadValue, parse_timestamp
from pipeline.catalogue.spatial_filters import parse_geometry, shape_text, shifted_shapes

MAX_NODES = 2_000
"""Maximum number of operators, properties and values of a filter."""
DAY = timedelta(days=1) - timedelta(microseconds=1)
EARTH = shapely.box(-180, -90, 180, 90)


class Kind(StrEnum):
    """Types of properties and values; the texts appear in messages."""

    NUMBER = "a number"
    TEXT = "a text"
    BOOLEAN = "a boolean"
    TIME = "a time"
    INTERVAL = "an interval"
    GEOMETRY = "a geometry"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Node:
    """A part of the shape of a filter."""

    op: str
    """An operator, `property`, `value` or `interval`; `null` stands for a property that no feature has."""
    kind: Kind
    parts: tuple["Node", ...] = ()
    name: str = ""
    """The name of a property."""
    values: tuple[int, ...] = ()
    """The indexes of its values in `Cql2Filter.values`."""


@dataclass(frozen=True)
class Cql2Filter:
    """A filter: its shape, and its values in order."""

    shape: Node
    values: tuple[Any, ...]
    is_costly: bool
    """Whether it can take long, because it has a large geometry or patterns with several wildcards."""
    properties: frozenset[str]
    """The properties that it tests."""


def read_filter(
    expression: Any, properties: Mapping[str, Kind], *, strict: bool = True
) -> Cql2Filter:
    """Parse a filter in the JSON form; raise BadValue if it is invalid.

    With `strict`, a property that no feature has is invalid; otherwise its value is null.
    """
    reader = _Reader(properties, strict)
    shape = reader.read(expression, 0)
    if shape.kind is not Kind.BOOLEAN:
        raise BadValue("The filter must be true or false for each item, such as a comparison.")
    return Cql2Filter(shape, tuple(reader.values), reader.is_costly, frozenset(reader.tested))


@dataclass
class _Reader:
    """Reads the parts of a filter and collects their values."""

    properties: Mapping[str, Kind]
    is_strict: bool
    values: list[Any] = field(default_factory=list)
    tested: set[str] = field(default_factory=set)
    nodes: int = 0
    is_costly: bool = False

    def read(self, part: Any, depth: int) -> Node:
        """Parse a part of a filter."""
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise BadValue(f"The filter has more than {MAX_DEPTH} levels or {MAX_NODES} parts.")
        if isinstance(part, bool):
            return self.value(part, Kind.BOOLEAN)
        if isinstance(part, int | float):
            return self.value(_finite(part), Kind.NUMBER)
        if isinstance(part, str):
            return self.value(_without_null(part), Kind.TEXT)
        if isinstance(part, dict):
            return self.read_object(part, depth)
        raise BadValue("The filter has a part that is not an operator, a property or a value.")

    def read_object(self, part: dict[str, Any], depth: int) -> Node:
        """Parse an object: an operator, a property, or a value in the form of an object."""
        if "op" in part:
            return self.read_operator(part, depth)
        if "property" in part:
            return self.read_property(part["property"])
        if "timestamp" in part or "date" in part:
            return self.value(_time(part.get("timestamp", part.get("date"))), Kind.TIME)
        if "interval" in part:
            return self.read_interval(part["interval"], depth)
        if "bbox" in part or "type" in part:
            return self.read_geometry(part)
        raise BadValue("The filter has an object that is not an operator, a property or a value.")

    def value(self, value: Any, kind: Kind) -> Node:
        """Store a value and return its node."""
        self.values.append(value)
        return Node("value", kind, values=(len(self.values) - 1,))

    def read_property(self, name: Any) -> Node:
        """Parse a property."""
        if not isinstance(name, str):
            raise BadValue("The name of a property must be a text.")
        name = name.removeprefix("properties.")
        if name in self.properties:
            self.tested.add(name)
            return Node("property", self.properties[name], name=name)
        if self.is_strict:
            raise BadValue(f"{name:.100} is not a queryable; see the list of queryables.")
        return Node("null", Kind.UNKNOWN)

    def read_interval(self, ends: Any, depth: int) -> Node:
        """Parse an interval of two times; `..` means an open end."""
        if not isinstance(ends, list) or len(ends) != 2:
            raise BadValue("An interval must have two ends.")
        nodes = []
        for end, limit in zip(ends, ("-infinity", "infinity"), strict=True):
            end = end.get("date", end) if isinstance(end, dict) else end
            if isinstance(end, dict):
                node = self.read(end, depth + 1)
            elif end == "..":
                node = self.value(limit, Kind.TIME)
            else:
                node = self.value(
                    _end_of_day(end) if limit == "infinity" else _time(end), Kind.TIME
                )
            nodes.append(self.expect(node, Kind.TIME))
        return Node("interval", Kind.INTERVAL, tuple(nodes))

    def read_geometry(self, part: dict[str, Any]) -> Node:
        """Parse a geometry; its values are the copies within -180..180 degrees, then the whole as one shape."""
        shape = box_shape(part["bbox"]) if "bbox" in part else parse_geometry(json.dumps(part))
        self.is_costly |= shapely.get_num_coordinates(shape) > SIMPLE_POINTS
        name = "collection" if shape.geom_type == "GeometryCollection" else ""
        copy = shape if name else _within_earth(shape)  # only the copies of a collection are read
        texts = [*shifted_shapes(shape), shape_text(copy)]
        self.values += texts
        first = len(self.values) - len(texts)
        return Node(
            "value", Kind.GEOMETRY, name=name, values=tuple(range(first, first + len(texts)))
        )

    def read_operator(self, part: dict[str, Any], depth: int) -> Node:
        """Parse an operator with its arguments."""
        name, arguments = part["op"], part.get("args")
        op = OPERATORS.get(name.lower()) if isinstance(name, str) else None
        if op is None:
            raise BadValue(f"{name!s:.100} is not a supported operator.")
        if not isinstance(arguments, list) or not op.least <= len(arguments) <= op.most:
            raise BadValue(f"{op.name} has the wrong number of arguments.")
        return op.read(self, op.name, arguments, depth + 1)

    def read_all(self, arguments: Sequence[Any], depth: int) -> list[Node]:
        """Parse the arguments of an operator."""
        return [self.read(argument, depth) for argument in arguments]

    def expect(self, node: Node, *kinds: Kind) -> Node:
        """Return a node that has one of the kinds; convert a text where a time is expected. Raises BadValue."""
        if node.kind in kinds:
            return node
        if node.kind is Kind.UNKNOWN:
            return Node("null", kinds[0])
        if node.kind is Kind.TEXT and node.op == "value" and Kind.TIME in kinds:
            self.values[node.values[0]] = _time(self.values[node.values[0]])
            return Node("value", Kind.TIME, values=node.values)
        raise BadValue(f"Expected {' or '.join(kinds)} instead of {node.kind}.")

    def same(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Return nodes of a common kind, which can be compared with each other. Raises BadValue."""
        kinds = [node.kind for node in nodes if node.kind is not Kind.UNKNOWN] or [Kind.TEXT]
        kind = Kind.TIME if Kind.TIME in kinds else kinds[0]
        if kind in (Kind.GEOMETRY, Kind.INTERVAL):
            raise BadValue(f"{kind.capitalize()} cannot be compared; use a function for it.")
        return tuple(self.expect(node, kind) for node in nodes)


def _read_logical(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    nodes = [reader.expect(node, Kind.BOOLEAN) for node in reader.read_all(arguments, depth)]
    return Node(op, Kind.BOOLEAN, tuple(nodes))


def _read_comparison(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    return Node(op, Kind.BOOLEAN, reader.same(reader.read_all(arguments, depth)))


def _read_between(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    if len(arguments) == 2 and isinstance(arguments[1], list) and len(arguments[1]) == 2:
        arguments = [arguments[0], *arguments[1]]  # the form in drafts of the standard
    if len(arguments) != 3:
        raise BadValue("between must have three arguments.")
    node = _read_comparison(reader, op, arguments, depth)
    # PostgreSQL evaluates the first argument twice, so nesting would double the work each time.
    if node.parts[0].kind is Kind.BOOLEAN:
        raise BadValue("The arguments of between must be numbers, texts or times.")
    return node


def _read_in(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    if not isinstance(arguments[1], list) or not arguments[1]:
        raise BadValue("The second argument of in must be a list of values.")
    return Node(
        op, Kind.BOOLEAN, reader.same(reader.read_all([arguments[0], *arguments[1]], depth))
    )


def _read_is_null(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    node = reader.read(arguments[0], depth)
    if node.kind is Kind.INTERVAL:
        raise BadValue("isNull takes no interval; test its ends.")
    return Node(op, Kind.BOOLEAN, (node,))


def _read_like(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    nodes = [reader.expect(node, Kind.TEXT) for node in reader.read_all(arguments, depth)]
    places = _places(nodes[1])
    if not places:
        raise BadValue("The pattern of like must be a text.")
    pattern = str(reader.values[places[0]])
    if re.sub(r"\\\\", "", pattern).endswith("\\"):
        raise BadValue("The pattern of like must not end in a backslash.")
    reader.is_costly |= pattern.count("%") > SIMPLE_WILDCARDS
    return Node(op, Kind.BOOLEAN, tuple(nodes))


def _read_case(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    return Node(op, Kind.TEXT, (reader.expect(reader.read(arguments[0], depth), Kind.TEXT),))


def _read_arithmetic(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    nodes = [reader.expect(node, Kind.NUMBER) for node in reader.read_all(arguments, depth)]
    return Node(op, Kind.NUMBER, tuple(nodes))


def _read_spatial(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    nodes = [reader.expect(node, Kind.GEOMETRY) for node in reader.read_all(arguments, depth)]
    if op not in ("s_intersects", "s_disjoint") and any(
        node.name == "collection" for node in nodes
    ):
        raise BadValue(f"{op} does not accept a GeometryCollection.")
    return Node(op, Kind.BOOLEAN, tuple(nodes))


def _read_temporal(reader: _Reader, op: str, arguments: list[Any], depth: int) -> Node:
    nodes = []
    for argument in arguments:
        if isinstance(argument, dict) and "date" in argument:
            argument = {"interval": [argument["date"]] * 2}
        nodes.append(reader.expect(reader.read(argument, depth), Kind.TIME, Kind.INTERVAL))
    return Node(op, Kind.BOOLEAN, tuple(nodes))


SIMPLE_POINTS = 200
"""A geometry with more points is costly."""
SIMPLE_WILDCARDS = 3
"""A pattern with more wildcards is costly."""


@dataclass(frozen=True)
class _Operator:
    """How an operator is parsed, and how many arguments it has."""

    name: str
    read: Callable[[_Reader, str, list[Any], int], Node]
    least: int = 2
    most: int = 2


COMPARISONS = ("=", "<>", "<", ">", "<=", ">=")
ARITHMETIC = ("+", "-", "*", "/", "div", "%", "^")
SPATIAL = ("s_equals", "s_touches", "s_within", "s_overlaps", "s_crosses", "s_contains")
TEMPORAL = (
    "t_after", "t_before", "t_contains", "t_disjoint", "t_during", "t_equals", "t_finishedby", "t_finishes",
    "t_intersects", "t_meets", "t_metby", "t_overlappedby", "t_overlaps", "t_startedby", "t_starts",
)  # fmt: skip
OPERATORS: Mapping[str, _Operator] = {
    operator.name: operator
    for operator in (
        _Operator("and", _read_logical, 1, MAX_NODES),
        _Operator("or", _read_logical, 1, MAX_NODES),
        _Operator("not", _read_logical, 1, 1),
        *(_Operator(name, _read_comparison) for name in COMPARISONS),
        _Operator("between", _read_between, 2, 3),
        _Operator("in", _read_in),
        _Operator("isnull", _read_is_null, 1, 1),
        _Operator("like", _read_like),
        _Operator("casei", _read_case, 1, 1),
        *(_Operator(name, _read_arithmetic) for name in ARITHMETIC),
        *(_Operator(name, _read_spatial) for name in ("s_intersects", "s_disjoint", *SPATIAL)),
        *(_Operator(name, _read_temporal) for name in TEMPORAL),
    )
}


def _places(node: Node) -> list[int]:
    """Return the indexes of all values below a node."""
    return [*node.values, *(place for part in node.parts for place in _places(part))]


def _finite(number: float) -> float:
    try:
        value = float(number)
    except OverflowError as error:
        raise BadValue("The filter has a number that is too large.") from error
    if not math.isfinite(value):
        raise BadValue("The filter has a number that is not finite.")
    return value


def _without_null(text: str) -> str:
    if "\x00" in text:
        raise BadValue("Null characters are not allowed.")
    return text


def _time(text: Any) -> str:
    """Return a time in ISO 8601, for PostgreSQL. Raises BadValue."""
    if not isinstance(text, str):
        raise BadValue("A time must be a text such as 2016-06-21T06:05:00Z.")
    return parse_timestamp(text).isoformat()


def _end_of_day(text: Any) -> str:
    """Return a time; for a date it is the last moment of the day."""
    time = _time(text)
    is_date = re.fullmatch(r"\s*\d{4}-\d{2}-\d{2}\s*", text)
    return (datetime.fromisoformat(time).astimezone(UTC) + DAY).isoformat() if is_date else time


def box_shape(box: Any) -> shapely.Geometry:
    """Return the shape of a box of 4 or 6 numbers in degrees; west > east crosses the antimeridian. Raises BadValue."""
    if not isinstance(box, list | tuple) or len(box) not in (4, 6):
        raise BadValue("A box must have four numbers, west,south,east,north, or six with heights.")
    if not all(isinstance(side, int | float) and not isinstance(side, bool) for side in box):
        raise BadValue("A box must have numbers in degrees only.")
    sides = [_finite(side) for side in box]
    west, south, east, north = (*sides[:2], *sides[len(sides) // 2 :][:2])
    if not -90 <= south <= north <= 90:
        raise BadValue(
            "The latitudes of a box must lie from -90 to 90 degrees, with the south first."
        )
    if max(abs(west), abs(east)) > 180:
        raise BadValue("The longitudes of a box must lie from -180 to 180 degrees.")
    east += 360 if west > east else 0
    if west < east and south < north:
        return shapely.box(west, south, east, north)
    return (
        shapely.LineString([(west, south), (east, north)])
        if (west, south) != (east, north)
        else shapely.Point(west, south)
    )


def _within_earth(shape: shapely.Geometry) -> shapely.Geometry:
    """Return a shape within -180..180 degrees, cut at the antimeridian."""
    west, _, east, _ = shape.bounds
    if west >= -180 and east <= 180:
        return shape
    turned = (affinity.translate(shape, turn) for turn in (-360.0, 0.0, 360.0))
    pieces = shapely.get_parts([shapely.intersection(copy, EARTH) for copy in turned])
    # Copies that only touch the edge leave points or lines there, which are not parts of a polygon.
    own = shapely.get_dimensions(pieces) == shapely.get_dimensions(shape)
    return shapely.union_all(pieces[own])
