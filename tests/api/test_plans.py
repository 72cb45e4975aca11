"""On 100,000 rows, every filter with a selective value uses an index."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.select_rows import page_statement

ROWS = 100_000
FILL = """
INSERT INTO organisations (uuid, name)
SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Organisation ' || n
FROM generate_series(1, 2000) AS n;
INSERT INTO users (username) SELECT 'supplier ' || n FROM generate_series(1, 2000) AS n;
INSERT INTO raster_sources (uuid, name, organisation_id, access_modifier, supplier_id, supplier_code, file_count,
    west, south, east, north, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype,
    first_value_timestamp, last_value_timestamp, created, last_modified, temporal)
SELECT ('10000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Raster ' || left(md5(n::text), 12),
    organisation.id,
    CASE WHEN n % 500 = 0 THEN 200 ELSE 0 END, supplier.id, 'code-' || left(md5('c' || n), 12), 1,
    -180 + n % 3590 / 10.0, -90 + n / 3590 * 6, -179.9 + n % 3590 / 10.0, -89.9 + n / 3590 * 6, 0, 0, 1, 1,
    1, -1, n, 'f4',
    timestamptz '2000-01-01' + n * interval '1 hour', timestamptz '2000-01-01' + n * interval '1 hour',
    timestamptz '2010-01-01' + n * interval '1 minute', timestamptz '2010-01-01' + n * interval '1 minute', n % 1000 = 0
FROM generate_series(1, :rows) AS n
JOIN organisations AS organisation ON organisation.name = 'Organisation ' || 1 + n % 2000
JOIN users AS supplier ON supplier.username = 'supplier ' || 1 + n % 2000;
INSERT INTO layers (uuid, name, organisation_id, source)
SELECT ('20000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Layer ' || n, organisation.id,
    jsonb_build_object('name', 'r', 'graph', jsonb_build_object('r', jsonb_build_array(
        'lizard_nxt.blocks.LizardRasterSource', '10000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))))
FROM generate_series(1, 2000) AS n JOIN organisations AS organisation ON organisation.name = 'Organisation 1';
INSERT INTO scenarios (name, organisation_id, access_modifier)
SELECT 'Scenario ' || n, id, 0 FROM generate_series(1, 20) AS n JOIN organisations ON name = 'Organisation 1';
INSERT INTO scenario_sources
SELECT id, ('10000000-0000-0000-0000-' || lpad(to_hex(id), 12, '0'))::uuid FROM scenarios;
"""
TIMES = {"": "2005-03-01", "exact": "2005-03-01", "lt": "2000-01-01T05:00:00Z", "lte": "2000-01-01T05:00:00Z",
           "gt": "2011-05-28T22:00:00Z", "gte": "2011-05-28T22:00:00Z", "range": "2001-01-01,2001-01-02",
           "isnull": "true"}  # fmt: skip
CREATED = TIMES | {"lt": "2010-01-01T00:05:00Z", "lte": "2010-01-01T00:05:00Z", "gt": "2010-03-11T10:30:00Z",
                  "gte": "2010-03-11T10:30:00Z", "range": "2010-01-02,2010-01-02T00:10:00Z"}  # fmt: skip
NAME = {"": "Raster c4ca4238a0b9", "contains": "4238a0b9", "icontains": "4238A0b9",
        "startswith": "Raster c4ca42", "istartswith": "raster C4ca42", "endswith": "4238a0b9", "iendswith": "4238A0b9",
        "in": "Raster c4ca4238a0b9,x", "regex": "4238a0b9", "iregex": "4238A0B9",
        "isnull": "true"}  # fmt: skip
CODE = {lookup: value.replace("Raster ", "code-") for lookup, value in NAME.items()}
UUID = {"": "10000000-0000-0000-0000-000000000001"}
VALUES: dict[str, dict[str, str]] = {
    "name": NAME,
    "supplier_code": CODE,
    "supplier": {"": "supplier 7"},
    "supplier__isnull": {"": "true"},
    "organisation__name": {"": "Organisation 7", "in": "Organisation 7,x"},
    "organisation": {"": "00000000000000000000000000000007"},
    "organisation__uuid": {"": "00000000-0000-0000-0000-000000000007"},
    "uuid": UUID,
    "layers__uuid": {"": "20000000-0000-0000-0000-000000000001"},
    "access_modifier": {"": "Private"},
    "temporal": {"": "true"},
    "first_value_timestamp": TIMES,
    "last_value_timestamp": TIMES,
    "created": CREATED,
    "last_modified": CREATED,
    "scenario__isnull": {"": "false"},
    "writable": {"": "true"},
    "in_bbox": {"": "4,51,4.05,51.05"},
    "bbox": {"": "179.95,51,-179.95,51.05"},
    "point": {"": "4.05,51.05"},
    "geometry": {"": "POLYGON ((4 51, 4.1 51, 4.1 51.1, 4 51))"},
}
CASES = [
    (f"{name}__{lookup}" if lookup else name, value)
    for name, values in VALUES.items()
    for lookup, value in values.items()
] + [("geometry", "POLYGON ((179.95 51, 180.05 51, 180.05 51.05, 179.95 51))")]


@pytest.fixture(scope="module")
def filled(engine: Engine) -> Iterator[Connection]:
    """Add 100,000 rows without the indexes, and build these afterwards, which takes a third of the time."""
    with engine.begin() as connection:
        indexes = connection.execute(text(SECONDARY)).all()
        for index in indexes:
            connection.execute(text(f"DROP INDEX {index.indexname}"))
        for statement in FILL.split(";\n"):
            if statement.strip():
                connection.execute(text(statement), {"rows": ROWS} if ":rows" in statement else {})
        for index in indexes:
            connection.execute(text(index.indexdef))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        yield connection


SECONDARY = """
SELECT indexname, indexdef FROM pg_indexes
JOIN pg_class ON relname = indexname JOIN pg_index ON indexrelid = pg_class.oid
WHERE tablename = 'raster_sources' AND NOT indisunique
"""


@pytest.fixture(scope="module")
def caller(filled: Connection) -> Caller:
    """An administrator of one of two thousand organisations."""
    organisation_id = filled.execute(
        text("SELECT id FROM organisations WHERE name = 'Organisation 7'")
    ).scalar_one()
    return Caller(
        user_id=1, administers=frozenset({organisation_id}), reads=frozenset({organisation_id})
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and the nodes below it, except those that never run."""
    if plan.get("One-Time Filter") == "false":
        return
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def find_scans(connection: Connection, caller: Caller, parameter: str, value: str) -> list[str]:
    """Return the nodes that read raster_sources in the plan of a list."""
    list_filter, lookup = filters_by_parameter(RASTER_SOURCES.filters)[parameter]
    where = [list_filter.condition(list_filter.parse(lookup, value), caller)]
    statement = page_statement(RASTER_SOURCES, caller, where, "", 10, 0)
    compiled = statement.compile(
        dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
    )
    plan = connection.exec_driver_sql(
        f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params
    ).scalar_one()
    return [
        node["Node Type"]
        for node in nodes(plan[0]["Plan"])
        if node.get("Relation Name") == "raster_sources"
    ]


@pytest.mark.parametrize(("parameter", "value"), CASES, ids=[name for name, _ in CASES])
@pytest.mark.parametrize("who", ["anyone", "administrator"])
def test_a_selective_filter_does_not_scan_the_whole_table(
    filled: Connection, caller: Caller, who: str, parameter: str, value: str
) -> None:
    scans = find_scans(filled, caller if who == "administrator" else ANONYMOUS, parameter, value)
    assert "Seq Scan" not in scans


def test_every_filter_has_a_case() -> None:
    assert {each.name for each in RASTER_SOURCES.filters} == set(VALUES)
