"""Random filters in CQL2, in both forms, find the rows that an evaluation in Python finds."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import cql2
import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Connection,
    DateTime,
    Double,
    Engine,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    table,
    text,
)

from pipeline.api.resources.json_rows import DIALECT
from pipeline.catalogue.cql2 import Kind, read_filter
from pipeline.catalogue.cql2_sql import condition
from pipeline.catalogue.cql2_text import parse_text
from pipeline.catalogue.lookups import BadValue
from tests.support.cql2_evaluation import (
    COMPARE,
    KINDS,
    SPATIAL,
    TEMPORAL,
    Expression,
    evaluate,
)

SQL = {Kind.NUMBER: "double precision", Kind.TEXT: "text", Kind.BOOLEAN: "boolean", Kind.TIME: "timestamptz",
       Kind.GEOMETRY: "geometry"}  # fmt: skip
TYPES: dict[Kind, Any] = {
    Kind.NUMBER: Double(), Kind.TEXT: Text(), Kind.BOOLEAN: Boolean(), Kind.TIME: DateTime(timezone=True),
}  # fmt: skip
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = ["a", "B", "ab", "a%b", "A_b", "", "b\\", "it's"]


def day(days: int) -> str:
    return (FIRST + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def box(x: int, y: int, size: int) -> dict[str, Any]:
    corners = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    return {"type": "Polygon", "coordinates": [corners]}


def make_rows() -> list[dict[str, Any]]:
    """Return rows with many combinations of a few values and nulls."""
    return [
        {
            "size": None if index % 7 == 6 else index % 5 - 1,
            "level": None if index % 11 == 3 else index % 3 / 2,
            "name": None if index % 13 == 5 else NAMES[index % 8],
            "title": NAMES[index % 5],
            "flag": [True, False, None][index % 3],
            "start": None if index % 17 == 1 else day(index % 4),
            "end": day(index % 4 + index % 3),
            "place": None if index % 19 == 2 else box(index % 4, index % 3, 1 + index % 2),
        }
        for index in range(60)
    ]


ROWS = make_rows()


@pytest.fixture(scope="module")
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection to a database with ROWS in a table."""
    with engine.connect() as connection:
        columns = ", ".join(f'"{name}" {SQL[kind]}' for name, kind in KINDS.items())
        connection.execute(text(f"CREATE TEMPORARY TABLE things (id integer, {columns})"))
        values = ", ".join(
            f"ST_GeomFromGeoJSON(:{name})"
            if kind is Kind.GEOMETRY
            else f"CAST(:{name} AS {SQL[kind]})"
            for name, kind in KINDS.items()
        )
        records = [
            {**row, "id": index, "place": json.dumps(row["place"]) if row["place"] else None}
            for index, row in enumerate(ROWS)
        ]
        connection.execute(text(f"INSERT INTO things VALUES (:id, {values})"), records)
        yield connection


THINGS = table("things", column("id"), *(column(name) for name in KINDS))


def find_rows(connection: Connection, expression: Expression) -> list[int]:
    """Return the ids of the rows that PostgreSQL finds."""
    filter = read_filter(expression, KINDS)

    def value(index: int, kind: Kind) -> Any:
        parameter = literal(filter.values[index])
        return (
            func.geometry(cast(parameter, Text))
            if kind is Kind.GEOMETRY
            else cast(parameter, TYPES[kind])
        )

    where = condition(filter.shape, {name: THINGS.c[name] for name in KINDS}, value)
    statement = select(THINGS.c.id).where(where).order_by(THINGS.c.id)
    return list(connection.execute(statement).scalars())


# Random filters.

SIZE = {"property": "size"}


def operation(op: str, *arguments: Any) -> Expression:
    return {"op": op, "args": list(arguments)}


def prop(*names: str) -> st.SearchStrategy[Expression]:
    return st.sampled_from(names).map(lambda name: {"property": name})


def operations(ops: Any, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Expression]:
    return st.builds(operation, st.sampled_from(list(ops)), *arguments)


numbers = st.recursive(
    prop("size", "level") | st.sampled_from([-2, -1, 0, 0.5, 1, 2, 3]),
    lambda inner: (
        operations(["+", "-", "*", "/", "div", "%"], inner, inner)
        | st.builds(
            lambda base, power: operation("^", base, power), inner, st.sampled_from([0, 1, 2])
        )
    ),
    max_leaves=4,
)
plain_texts = prop("name", "title") | st.sampled_from(NAMES)
texts = plain_texts | plain_texts.map(lambda part: operation("casei", part))
patterns = st.lists(st.sampled_from(["a", "B", "%", "_", "\\%", "\\_", "b"]), max_size=4).map(
    "".join
)
times = prop("start", "end") | st.integers(-1, 6).map(lambda n: {"timestamp": day(n)})
interval_ends = st.integers(-1, 6).map(day)
intervals = (
    st.just({"interval": [{"property": "start"}, {"property": "end"}]})
    | st.tuples(st.integers(-1, 5), st.integers(0, 3)).map(
        lambda p: {"interval": [day(p[0]), day(p[0] + p[1])]}
    )
    | interval_ends.map(lambda end: {"interval": ["..", end]})
    | interval_ends.map(lambda start: {"interval": [start, ".."]})
)
places = (
    prop("place")
    | st.builds(box, st.integers(0, 4), st.integers(0, 4), st.integers(1, 3))
    | st.tuples(st.integers(0, 5), st.integers(0, 5)).map(
        lambda p: {"type": "Point", "coordinates": list(p)}
    )
    | st.integers(0, 5).map(lambda x: {"type": "LineString", "coordinates": [[x, 0], [x, 5]]})
)
predicates = (
    operations(COMPARE, numbers, numbers)
    | operations(COMPARE, texts, texts)
    | operations(COMPARE, times, times)
    | operations(["=", "<>"], prop("flag"), st.booleans())
    | prop("flag")
    | operations(["between"], numbers, numbers, numbers)
    | operations(["in"], numbers, st.lists(numbers, min_size=1, max_size=3))
    | operations(["in"], texts, st.lists(texts, min_size=1, max_size=3))
    | operations(["like"], texts, patterns)
    | operations(["isNull"], prop(*KINDS))
    | operations(SPATIAL, places, places)
    | operations(TEMPORAL, times | intervals, times | intervals)
)
filters = st.recursive(
    predicates,
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).flatmap(
            lambda parts: st.sampled_from(["and", "or"]).map(lambda op: operation(op, *parts))
        )
        | inner.map(lambda part: operation("not", part))
    ),
    max_leaves=5,
)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(expression=filters)
@example(expression=operation("=", SIZE, operation("/", -2, operation("/", -2, SIZE))))
@example(
    expression=operation(
        "=", SIZE, operation("+", SIZE, operation("%", SIZE, operation("/", SIZE, 3)))
    )
)
def test_random_filters_find_what_a_plain_evaluation_finds(
    connection: Connection, expression: Expression
) -> None:
    expected = [index for index, row in enumerate(ROWS) if evaluate(expression, row) is True]
    assert find_rows(connection, expression) == expected


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(expression=filters)
def test_the_text_form_finds_the_same_rows(connection: Connection, expression: Expression) -> None:
    cql_text = cql2.parse_json(json.dumps(expression)).to_text()
    parsed = parse_text(cql_text)
    assert find_rows(connection, parsed) == find_rows(connection, expression)
    assert lower_operators(parsed) == lower_operators(cql2.parse_text(cql_text).to_json())


def lower_operators(part: Any) -> Any:
    """Return a filter with its operators in lower case."""
    if isinstance(part, dict):
        return {
            key: value.lower() if key == "op" else lower_operators(value)
            for key, value in part.items()
        }
    return [lower_operators(item) for item in part] if isinstance(part, list | tuple) else part


REFERENCE_TEXTS = [
    "a AND b AND c OR d", "a OR b AND NOT c", "a - b * c / 2 + d % 3 div 4 = -1 ^ 2 ^ 3", "a=b AND(c<>d)",
    "(a + 1) * 2 >= .5e1 - 1", "\"a b\" = 'it''s' and \"a\"\"b\" Is Not Null", "(((a)))", "a\n=\r\n1", "NOT NOT flag",
    "proj:code NOT IN ('a', 'b') AND a.b NOT between 1. and 1e3", "é like 'a\\%'", "(a = 1) = TRUE AND false = b",
    "foo(1, 'a', (a < b)) = 2", "-size < +3 and - (a + b) < 1", "point = 1 OR polygon < 2",
    "casei(a)\nLIKE\tcasei('X%')",
    "T_During(start, Interval('..', DATE('2024-01-01'))) OR T_AFTER(start, TIMESTAMP('2024-01-01T00:00:00Z'))",
    "S_Intersects(a, MULTIPOINT(1 2, 3 4)) AND s_equals(a, geometrycollection (POINT(1 -2), LINESTRING(0 0,1 1.5)))",
    "S_WITHIN(a, POLYGON ((0 0, 1 0, 1 1, 0 0), (0.2 0.1, 0.3 0.1, 0.3 0.2, 0.2 0.1)))",
    "s_within(a, bbox(1, -2.5, 3, 4))",
]  # fmt: skip


@pytest.mark.parametrize("cql_text", REFERENCE_TEXTS)
def test_a_text_is_read_as_by_the_reference(cql_text: str) -> None:
    assert lower_operators(parse_text(cql_text)) == lower_operators(
        cql2.parse_text(cql_text.replace(" .5", " 0.5")).to_json()
    )


TEXTS = {
    "size > 1 AND NOT flag = true": operation(
        "and", operation(">", {"property": "size"}, 1), operation("not", operation("=", {"property": "flag"}, True))
    ),
    "name NOT LIKE 'a%' OR name IS NULL": operation(
        "or", operation("not", operation("like", {"property": "name"}, "a%")), operation("isNull", {"property": "name"})
    ),
    "size + 1 BETWEEN 0 AND level * 4": operation(
        "between", operation("+", {"property": "size"}, 1), 0, operation("*", {"property": "level"}, 4)
    ),
    "CASEI(name) IN (CASEI('b'), CASEI('AB'))": operation(
        "in", operation("casei", {"property": "name"}), [operation("casei", "b"), operation("casei", "AB")]
    ),
    "S_INTERSECTS(place, POINT(2 2))": operation(
        "s_intersects", {"property": "place"}, {"type": "Point", "coordinates": [2, 2]}
    ),
    "S_WITHIN(place, BBOX(0, 0, 3, 3))": operation("s_within", {"property": "place"}, box(0, 0, 3)),
    "T_DURING(INTERVAL(start, end), INTERVAL('2023-12-31', '2024-01-03T00:00:00Z'))": operation(
        "t_during", {"interval": [{"property": "start"}, {"property": "end"}]}, {"interval": [day(-1), day(2)]}
    ),
    "T_DURING(start, INTERVAL(DATE('2024-01-01'), DATE('2024-01-02')))": operation(
        "t_during", {"property": "start"}, {"interval": [day(0), "2024-01-02T23:59:59.999999Z"]}
    ),
    "size % 2 % 3 IN (level * 2, 1)": operation(
        "in", operation("%", operation("%", {"property": "size"}, 2), 3),
        [operation("*", {"property": "level"}, 2), 1],
    ),
    "start = DATE('2024-01-02')": operation("=", {"property": "start"}, {"timestamp": day(1)}),
    "start >= '2024-01-02T00:00:00Z'": operation(">=", {"property": "start"}, {"timestamp": day(1)}),
}  # fmt: skip


@pytest.mark.parametrize("cql_text", TEXTS)
def test_a_text_finds_the_expected_rows(connection: Connection, cql_text: str) -> None:
    expected = [index for index, row in enumerate(ROWS) if evaluate(TEXTS[cql_text], row) is True]
    assert 0 < len(expected) < len(ROWS)
    assert find_rows(connection, parse_text(cql_text)) == expected


@pytest.mark.parametrize(
    "cql_text",
    [
        "(" * 33 + "size = 1" + ")" * 33, "-" * 7_900 + "1 = size", "+".join("1" * 3_999) + " = 1",
        "NOT " * 1_900 + "size = 1", "x" * 8_001, "(" * 32, "1 + (" * 30 + "1", "NOT (" * 16, "size =", "", "'a", '"a',
        "S_INTERSECTS(place, POINT(1 2", "a < b < c", "- - 1 = size", "size = 1 1", "(size = 1", "size = 1)", "a = #",
        "NULL IS NULL", "size NOT = 1", "size = 1e999", "size = 'a'", "flag > 1", "accenti(name) = 'a'", "nothing = 1",
        "size IN ()", "name LIKE title + 1", "1", "size", "name LIKE title", "flag BETWEEN flag AND flag",
        "INTERVAL(start, end) IS NULL",
        "start = TIMESTAMP('infinity')", "start = 1e999", "T_DURING(start, INTERVAL('-infinity', 'infinity'))",
        "T_DURING(start, INTERVAL('..', 1e999))", "start = TIMESTAMP('0001-01-01T00:00:00+01:00')",
        "start = DATE('10000-01-01')", "size + 1e999 = 1", "size = -1e999", "size IN (1, 1e999)",
        *(f"S_INTERSECTS(place, {shape})" for shape in (
            "POINT(1e999 1)", "POINT(1 -1e999)", "POINT(nan 1)", "POINT Z(1 2 1e999)", "MULTIPOINT(1 2, 1e999 2)",
            "LINESTRING(0 0, 1e999 1e999, 1 1)", "POLYGON((0 0, 1e999 0, 1 1, 0 0))", "BBOX(0, 0, 1e999, 1, 1, 1)",
            "GEOMETRYCOLLECTION(POINT(1 2), POINT(1e999 2))", "BBOX(0, 0, 1e999, 1)",
        )),
    ],
    ids=lambda cql_text: cql_text[:20],
)  # fmt: skip
def test_a_text_that_is_not_a_filter_is_refused(cql_text: str) -> None:
    with pytest.raises(BadValue):
        read_filter(parse_text(cql_text), KINDS)


@pytest.mark.parametrize(
    "cql_text",
    [
        " % ".join(["size"] * 12) + " = 1",
        "(" * 12 + "flag" + " IN (flag, TRUE))" * 12,
        "size" + " div size" * 11 + " BETWEEN 1 AND 2",
    ],
)
def test_the_size_of_a_statement_is_bounded_by_that_of_its_filter(
    connection: Connection, cql_text: str
) -> None:
    expression = parse_text(cql_text)
    columns = {name: THINGS.c[name] for name in KINDS}
    where = condition(
        read_filter(expression, KINDS).shape, columns, lambda *_: func.current_value()
    )
    parts = len(re.findall("size|flag|TRUE|[0-9]+", cql_text))
    names = re.findall(r"things\.|current_value", str(where.compile(dialect=DIALECT)))
    assert len(names) <= 2 * parts
    find_rows(connection, expression)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("POLYGON((180 -1, 190 -1, 190 1, 180 1, 180 -1))", shapely.box(-180, -1, -170, 1)),
        ("POLYGON((-190 -1, -180 -1, -180 1, -190 1, -190 -1))", shapely.box(170, -1, 180, 1)),
        (
            "POLYGON((170 -1, 190 -1, 190 1, 170 1, 170 -1))",
            shapely.MultiPolygon([shapely.box(170, -1, 180, 1), shapely.box(-180, -1, -170, 1)]),
        ),
        (
            "LINESTRING(180 0, 190 0)",
            shapely.LineString([(-180, 0), (-170, 0)]),
        ),
        ("MULTIPOINT(179 0, 190 0)", shapely.MultiPoint([(179, 0), (-170, 0)])),
    ],
)
def test_a_geometry_beyond_the_antimeridian_is_cut_there(
    connection: Connection, shape: str, expected: shapely.Geometry
) -> None:
    filter = read_filter(parse_text(f"S_WITHIN(place, {shape})"), KINDS)
    assert shapely.equals(shapely.from_wkb(filter.values[-1]), expected)
    for name in SPATIAL:
        find_rows(connection, parse_text(f"{name}(place, {shape})"))


def test_a_collection_beyond_the_antimeridian_meets_both_sides(connection: Connection) -> None:
    line = "LINESTRING(190 0, 182 0)"
    near = f"S_INTERSECTS({{}}, GEOMETRYCOLLECTION({line}, POINT(10 5)))"
    everything = list(range(len(ROWS)))
    assert find_rows(connection, parse_text(near.format("POINT(-175 0)"))) == everything
    assert find_rows(connection, parse_text(near.format("POINT(10 5)"))) == everything
    assert find_rows(connection, parse_text(near.format("POINT(175 0)"))) == []
