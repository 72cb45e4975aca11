"""PostgreSQL writes the same JSON as Python, for every field, filter, order and caller."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, pairwise, product
from math import ceil
from statistics import median
from time import process_time
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from httpx import Client
from psycopg import RawCursor
from sqlalchemy import Connection, Engine, text

from pipeline.api.links import Links
from pipeline.api.resources.field import represent
from pipeline.api.resources.json_rows import (
    detail_query,
    list_query,
    list_values,
    shared_values,
)
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.selection import parse_selection
from pipeline.catalogue.access import ANONYMOUS, Caller, make_caller
from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.select_rows import page_statement, row_statement
from pipeline.database.queries import NumberedQuery
from tests.api.conftest import SOURCES, Add

ENTITY = RASTER_SOURCES.entity
ODD_TEXTS = [
    'quote " and \\ backslash', "tab\tnewline\ncarriage\rbell\x07form\x0cback\x08", "\x01\x1f\x7f\x80\x9f",
    "\u2028\u2029</script>&", "日本 Ünïcode ß İ 𐍈🗺", "{}[]:,null", "%(start)s %s $1 :name", "x" * 255,
]  # fmt: skip
ODD_NUMBERS = [
    float("-inf"), -1.7976931348623157e308, -1e22, -123456789012345680.0, -1e16, -1e15, -999999999999999.9, -0.1,
    -5e-324, -0.0, 1e-7, 0.1 + 0.2, 1 / 3, 5.0, 123456.789, 999999999999999.0, 1e15, 1e21, 2.5e300, float("inf"),
]  # fmt: skip
"""Odd numbers in ascending order."""
SECOND = timedelta(seconds=1)
ODD_TIMES = [
    datetime(1, 1, 1, tzinfo=UTC), datetime(99, 12, 31, 23, 59, 59, 999999, UTC), datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 12, 0, 0, 1, UTC), datetime(2024, 2, 29, 12, 0, 0, 120000, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
]  # fmt: skip
ODD_INTERVALS = [
    timedelta(microseconds=1), SECOND, timedelta(hours=23, minutes=59), timedelta(days=1), timedelta(hours=36),
    timedelta(days=400, seconds=1, microseconds=500000), timedelta(days=99999999),
]  # fmt: skip
LINKS = [
    Links("http://test"),
    Links("https://example.org/a%20path", "json"),
    Links('http://quote"and\\backslash', "api"),
]
VALUES: Mapping[str, list[str]] = {
    "name": ["a", "A", "%", "odd 1", "quote", "ß", "", "odd 1,odd 2", "1, a"],
    "boolean": ["true", "false"],
    "time": ["2024-02-29T12:00:00.000001Z", "1970-01-01", "9999-12-31T23:59:59.999999Z"],
    "range": ["1970-01-01,2024-03-01"],
    "access_modifier": ["Public", "100", "private", "Hidden"],
    "spatial": [
        "4,51,5,52", "-180,-90,180,90", "170,-50,-170,50", "180,-1,180,1", "POLYGON ((4 51, 5 51, 5 52, 4 51))",
    ],
    "point": ["4.5,51.5", "180,0", "-179.5,0"],
    "geometry": ["POINT (4.5 51.5)", "POLYGON ((179 -1, 181 -1, 181 1, 179 1, 179 -1))"],
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(
    engine: Engine, add_source: Add, people: dict[str, str], add_organisation: Any, add_user: Any
) -> list[Any]:
    """Add rows with ordinary and odd values, of each access modifier, owner and supplier."""
    supplier, user = add_user("supplier"), add_user('odd "user" \\')
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE organisations SET raster_storage_capacity = 1 WHERE name = 'Owner'")
        )
    owners = ["Owner", 'Other "owner" \\ ñ', "Third"]
    sources = []
    for number, (access, owner) in enumerate(product((0, 100, 200, 300), owners)):
        sources.append(
            add_source(
                f"a {number}",
                organisation=owner,
                access_modifier=access,
                supplier_id=[None, supplier, user][number % 3],
                supplier_code=[None, "", "A", "a"][number % 4],
                temporal=number % 2 == 0,
                description=[None, "", "text"][number % 3],
            )
        )
    sources += [add_source(f"odd {n}", description=value, supplier_code=value[:50], fill_value=value)
             for n, value in enumerate(ODD_TEXTS)]  # fmt: skip
    sources += [add_source(value) for value in ODD_TEXTS]
    for low, high in pairwise(ODD_NUMBERS):
        sources.append(
            add_source(
                "number", origin_x=low, upper_bound_x=high, origin_y=low, upper_bound_y=high,
                pixelsize_x=low or 1.0, pixelsize_y=high or -1.0, size=2**63 - 1,
            )
        )  # fmt: skip
    sources.append(add_source("nan", pixelsize_x=float("nan"), size=0))
    for timestamp in ODD_TIMES:
        sources.append(add_source("time", created=timestamp, last_modified=timestamp, first_value_timestamp=timestamp,
                               last_value_timestamp=ODD_TIMES[-1]))  # fmt: skip
    sources += [
        add_source("interval", interval=interval, temporal=True) for interval in ODD_INTERVALS
    ]
    sources.append(add_source("across", west=179.0, east=-179.0, south=-1.0, north=1.0))
    sources.append(add_source("edges", west=-180.0, east=180.0, south=-90.0, north=90.0))
    nulls = dict.fromkeys(
        ("west", "south", "east", "north", "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "pixelsize_x",
         "pixelsize_y", "size", "dtype", "fill_value", "projection", "first_value_timestamp", "last_value_timestamp")
    )  # fmt: skip
    sources.append(add_source("empty", file_count=0, **nulls))
    add_dependents(engine, sources)
    return sources


def add_dependents(engine: Engine, sources: list[Any]) -> None:
    """Let layers, label types and scenarios use some of the rows: none, one and several."""
    with engine.begin() as connection:
        for table in ("layers", "label_types"):
            for number, used in enumerate((sources[:1], sources[:3], sources[1:2])):
                graph = {
                    str(n): ["lizard_nxt.blocks.LizardRasterSource", str(row.uuid)]
                    for n, row in enumerate(used)
                }
                connection.execute(
                    text(f"""INSERT INTO {table} (name, organisation_id, source)
                             SELECT :name, id, CAST(:source AS jsonb) FROM organisations WHERE name = 'Owner'"""),
                    {"name": f"l {number}", "source": orjson.dumps({"name": "0", "graph": graph}).decode()},
                )  # fmt: skip
        for access in (0, 200):
            connection.execute(
                text("""WITH made AS (INSERT INTO scenarios (name, organisation_id, access_modifier)
                        SELECT 's', id, :access FROM organisations WHERE name = 'Owner' RETURNING id)
                        INSERT INTO scenario_sources SELECT id, :uuid FROM made"""),
                {"access": access, "uuid": sources[access // 100].uuid},
            )


@pytest.fixture(scope="module")
def callers(engine: Engine, rows: list[Any]) -> dict[str, Caller]:
    """Make every kind of caller."""
    query = """SELECT users.id, username, array_remove(array_agg(organisation_id), NULL) AS organisations,
                      array_remove(array_agg(role), NULL) AS roles
               FROM users LEFT JOIN roles ON user_id = users.id WHERE username IN
               ('user', 'supplier', 'admin', 'manager', 'stranger') GROUP BY 1, 2"""
    with engine.connect() as connection:
        callers = {
            row.username: make_caller(
                row.id, row.username, "", zip(row.organisations, row.roles, strict=True)
            )
            for row in connection.execute(text(query))
        }
        third = connection.execute(
            text("SELECT id FROM organisations WHERE name = 'Third'")
        ).scalar_one()
    supplier = callers["supplier"]
    both = {next(iter(supplier.supplies)): "supplier", third: "admin"}
    callers["both"] = make_caller(supplier.user_id or 0, "both", "", list(both.items()))
    return {"anonymous": ANONYMOUS, **callers}


@pytest.fixture(scope="module")
def connection(engine: Engine, rows: list[Any]) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection


def run(connection: Connection, query: NumberedQuery, values: Mapping[str, Any]) -> Any:
    """Run a query; return its only row."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    cursor = RawCursor(driver)
    return cursor.execute(query.text, [values[name] for name in query.names]).fetchone()


def without_spaces(json: str) -> bytes:
    """Return a JSON text as orjson writes it, which keeps 1 and 1.0, 0.0 and -0.0, and orders of names apart."""
    return orjson.dumps(orjson.loads(json))


def values_of(parameter: str) -> list[str]:
    """Return values for a parameter."""
    field, lookup = filters_by_parameter(ENTITY.filters)[parameter]
    if field.name in ("in_bbox", "bbox"):
        return VALUES["spatial"]
    if lookup in ("isnull", "range"):
        return VALUES["range" if lookup == "range" else "boolean"]
    if "uuid" in field.name or field.name == "organisation":
        return [str(uuid4())]
    for kind, examples in (("timestamp", "time"), ("created", "time"), ("last_modified", "time")):
        if kind in field.name:
            return VALUES[examples]
    if field.name in ("temporal", "writable", "scenario__isnull", "supplier__isnull"):
        return VALUES["boolean"]
    return VALUES.get(field.name, VALUES["name"])


def assert_same_list(
    connection: Connection, caller: Caller, query: Mapping[str, str], links: Links = LINKS[0]
) -> int:
    """Check that a list is the same in both ways; return its length."""
    selection = parse_selection(query, ENTITY, caller)
    paging = selection.paging
    statement = page_statement(
        ENTITY, caller, selection.where(caller), selection.ordering, paging.size, paging.offset
    )
    python_rows = connection.execute(statement).all()
    expected = orjson.dumps([represent(RASTER_SOURCES.fields, row, links) for row in python_rows])
    total, results = run(
        connection,
        list_query(RASTER_SOURCES, selection, caller),
        {**shared_values(links, caller), **list_values(selection)},
    )
    assert without_spaces(results) == expected, (query, caller)
    if python_rows:
        assert total == python_rows[0].total
    return int(total)


PARAMETERS = sorted(filters_by_parameter(ENTITY.filters))


def pair_in_turn(callers: dict[str, Caller], values: Sequence[Any], start: int) -> Iterator[Any]:
    """Pair each value with three callers or more, and each caller with a value; `start` makes other pairs."""
    turns = islice(cycle(callers.values()), start, None)
    times = max(3, ceil(len(callers) / len(values)))
    return ((next(turns), value) for value in values for _ in range(times))


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_filter_finds_the_same_for_every_caller(
    connection: Connection, callers: dict[str, Caller], rows: list[Any], parameter: str
) -> None:
    values = values_of(parameter)
    if "uuid" in parameter or parameter.startswith("organisation"):
        query = {
            "uuid": "SELECT uuid FROM raster_sources ORDER BY id LIMIT 2",
            "layers__uuid": "SELECT uuid FROM layers ORDER BY id LIMIT 2",
        }.get(
            parameter.removesuffix("__exact").removesuffix("__in"),
            "SELECT uuid FROM organisations ORDER BY id",
        )
        uuids = [str(uuid) for (uuid,) in connection.execute(text(query))]
        if "name" not in parameter:
            values = [*values, uuids[0], ",".join(uuids), ","]
    for caller, value in pair_in_turn(callers, values, PARAMETERS.index(parameter)):
        assert_same_list(connection, caller, {parameter: value})


ORDERS = ["", "-id", "id,name", *ENTITY.orders, *(f"-{name}" for name in ENTITY.orders)]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_and_page_is_the_same(
    connection: Connection, callers: dict[str, Caller], order: str
) -> None:
    extras: list[dict[str, str]] = [{}, {"name__contains": "a"}, {"temporal": "true"}]
    pages = cycle(
        ({"page_size": "1000"}, {"page_size": "7", "page": "2"}, {"limit": "3", "offset": "999"})
    )
    for (caller, extra), page in zip(
        pair_in_turn(callers, extras, ORDERS.index(order)), pages, strict=False
    ):
        assert_same_list(connection, caller, {"ordering": order, **extra, **page})


def test_every_row_and_link_is_the_same(
    connection: Connection, callers: dict[str, Caller], rows: list[Any]
) -> None:
    pairs = [(caller, LINKS[0]) for caller in callers.values()]
    pairs += product((callers["anonymous"], callers["both"]), LINKS[1:])
    for caller, links in pairs:
        count = assert_same_list(connection, caller, {"page_size": "1000"}, links)
        assert count > 12
        for row in rows:
            python_row = connection.execute(
                row_statement(ENTITY, caller, ENTITY.table.c.uuid == row.uuid)
            ).one_or_none()
            json_row = run(
                connection,
                detail_query(RASTER_SOURCES, caller.logged_in),
                {**shared_values(links, caller), "uuid": row.uuid},
            )
            assert (python_row is None) == (json_row is None)
            if python_row:
                expected = orjson.dumps(represent(RASTER_SOURCES.fields, python_row, links))
                assert without_spaces(json_row[0]) == expected


def test_combined_filters_find_the_same(connection: Connection, callers: dict[str, Caller]) -> None:
    combined = {
        "in_bbox": "4,51,5,52", "name__icontains": "A", "access_modifier": "Public", "created__lt": "2030-01-01",
        "organisation__name": "Owner", "supplier__isnull": "false", "writable": "false",
    }  # fmt: skip
    for caller in callers.values():
        assert_same_list(connection, caller, combined)


def test_the_server_answers_the_same_to_programs_as_on_its_pages(
    client: Client, rows: list[Any]
) -> None:
    """Python makes the rows of pages."""
    page = client.get(SOURCES, params={"page_size": "1000", "format": "api"})
    listed = client.get(SOURCES, params={"page_size": "1000"}).json()
    assert listed["count"] == len(listed["results"])
    for row in listed["results"]:
        assert str(row["uuid"]) in page.text


def test_requests_of_one_shape_share_a_statement() -> None:
    def query(**parameters: str) -> NumberedQuery:
        return list_query(RASTER_SOURCES, parse_selection(parameters, ENTITY, ANONYMOUS), ANONYMOUS)

    assert query(in_bbox="1,2,3,4") is query(in_bbox="5,6,7,8", page_size="3")
    assert query(in_bbox="1,2,3,4") is not query(in_bbox="179,2,-179,4")
    assert query(page="2") is query(page="10", access_modifier="") is query(offset="90")
    assert query(page="11") is not query(page="10")
    assert query(temporal="true") is not query(temporal="false")
    assert query(organisation=str(uuid4())) is not query(organisation=f"{uuid4()},{uuid4()}")
    assert query(name__icontains="a") is query(name__icontains="%b_")


def test_a_page_as_json_takes_half_the_time_of_rows_in_python_or_less(
    connection: Connection, rows: list[Any]
) -> None:
    selection = parse_selection({"page_size": "100"}, ENTITY, ANONYMOUS)
    statement = page_statement(
        ENTITY, ANONYMOUS, selection.where(ANONYMOUS), selection.ordering, 100, 0
    )
    query = list_query(RASTER_SOURCES, selection, ANONYMOUS)
    values = {**shared_values(LINKS[0], ANONYMOUS), **list_values(selection)}

    def by_python() -> object:
        page = connection.execute(statement).all()
        return orjson.dumps([represent(RASTER_SOURCES.fields, row, LINKS[0]) for row in page])

    def by_sql() -> object:
        return run(connection, query, values)

    seconds: dict[Callable[[], object], list[float]] = {by_python: [], by_sql: []}
    for make_page in [by_python, by_sql] * 10:
        began = process_time()
        make_page()
        seconds[make_page].append(process_time() - began)
    assert median(seconds[by_python]) >= 2 * median(seconds[by_sql])
