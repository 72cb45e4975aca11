"""`?format=geojson`, `csv` and `geoparquet`: independent readers find all rows of the pages of JSON."""

import asyncio
import csv
import io
import json
import socket
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import shapely
from httpx import Client, Response
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from pipeline.api import whole_lists
from pipeline.api.config import ApiConfig
from pipeline.api.geoparquet_process import write_geoparquet
from pipeline.api.list_formats import BoundingBox
from pipeline.api.whole_lists import Batch
from pipeline.catalogue.search import SHOWN
from tests.api.conftest import FULL, SOURCES, Add, As, client_of, serve
from tests.support.commands import run
from tests.support.database import execute, rows
from tests.support.geoparquet import check_geoparquet
from tests.support.waiting import wait_until

FIJI = {"west": 177.0, "south": -20.5, "east": -178.25, "north": -16.0}
FORMATS = ("geojson", "csv", "geoparquet")
GEOJSON, CSV, PARQUET = "application/geo+json", "text/csv", "application/vnd.apache.parquet"
ODD_TEXT = '=1+1, "quoted"\r\nand ünïcode 🗺; +-@\t\\'
TIMES = "created", "last_modified", "first_value_timestamp", "last_value_timestamp"
SIDES = "west", "south", "east", "north"


@pytest.fixture(scope="module")
def catalogue(engine: Engine, add_source: Add, people: dict[str, str], as_: As) -> None:
    """Add a series with odd texts, and sources that are empty, private, used, or across the antimeridian."""
    add_source(
        ODD_TEXT,
        description="",
        supplier_code="a",
        interval="1 day 00:05:00.5",
        temporal=True,
        first_value_timestamp="2024-02-29T12:00:00.123456Z",
        last_value_timestamp="9999-12-31T23:59:59.999999Z",
    )
    used = add_source("used", size=2**53 + 1, origin_x=1e-7, upper_bound_x=123456789012345680.0)
    add_source("Fiji", **FIJI)
    derived = FULL.keys() - {"access_modifier", "file_count"}
    add_source("empty", file_count=0, **dict.fromkeys(derived))
    add_source("private", access_modifier=200, south=-3.0)
    owner = rows(engine, "SELECT uuid FROM organisations WHERE name = 'Owner'")[0].uuid
    raster = ["lizard_nxt.blocks.LizardRasterSource", str(used.uuid)]
    graph = {"graph": {"raster": raster}, "name": "raster"}
    for name in ("rasters", "rasters", "labeltypes"):
        body = {"name": "a", "organisation": str(owner), "source": graph}
        as_("admin").post(f"/api/v4/{name}/", json=body).raise_for_status()


def read_pages(client: Client, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of all pages of JSON."""
    rows, page = [], client.get(SOURCES, params={**query, "page_size": "2"}).json()
    while True:
        rows += page["results"]
        if not page["next"]:
            return rows
        page = client.get(page["next"]).json()


def flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of a row of JSON, as tables have them."""
    owner, bounds = row["organisation"], row["spatial_bounds"] or dict.fromkeys(SIDES)
    others = {name: row[name] for name in row if name != "spatial_bounds"}
    return {**others, **bounds, "organisation": owner["name"], "organisation_uuid": owner["uuid"]}


def as_text(value: Any) -> str:
    """Return a value as CSV writes it."""
    if value is None or isinstance(value, list):
        return " ".join(value or ())
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_csv(answer: Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def read_parquet(answer: Response) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    return table


def ask(client: Client, query: dict[str, str], format: str) -> Response:
    return client.get(SOURCES, params={**query, "format": format}).raise_for_status()


QUERIES: list[tuple[str, dict[str, str]]] = [
    ("", {}),
    ("admin", {"ordering": "-name"}),
    ("user", {"ordering": "size,-created"}),
    ("stranger", {"name__icontains": "I"}),
    ("", {"in_bbox": "170,-30,-170,0"}),
    ("", {"organisation__name": "Owner", "layers__uuid": "", "supplier__isnull": "true"}),
    ("admin", {"name__iregex": "^(fiji|private|used)$", "ordering": "-id"}),
    ("admin", {"writable": "true", "temporal": "false"}),
    ("", {"name": "none of this name"}),
]


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(("caller", "query"), QUERIES, ids=str)
def test_geojson_and_csv_have_the_rows_of_the_pages(
    client: Client, as_: As, caller: str, query: dict[str, str]
) -> None:
    reader = as_(caller) if caller else client
    expected = read_pages(reader, query)
    collection = json.loads(ask(reader, query, "geojson").content)
    assert collection["type"] == "FeatureCollection"
    assert [feature["properties"] for feature in collection["features"]] == expected
    assert [feature["id"] for feature in collection["features"]] == [row["uuid"] for row in expected]  # fmt: skip
    table = read_csv(ask(reader, query, "csv"))
    assert len(table) == len(expected)
    for cells, row in zip(table, map(flatten, expected), strict=True):
        assert {name: cells[name] for name in row} == {name: as_text(row[name]) for name in row}
        assert cells.keys() - row.keys() == {"file_count"}
        assert [*cells][: len(SHOWN)] == list(SHOWN)


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(("caller", "query"), [QUERIES[1], QUERIES[-1]], ids=str)
def test_geoparquet_has_the_rows_of_the_pages_in_their_types(
    as_: As, client: Client, caller: str, query: dict[str, str]
) -> None:
    reader = as_(caller) if caller else client
    expected = [flatten(row) for row in read_pages(reader, query)]
    answer = ask(reader, query, "geoparquet")
    table = read_parquet(answer)
    assert len(table) == len(expected)
    for cells, row in zip(table, expected, strict=True):
        for name in TIMES:
            row[name] = row[name] and datetime.fromisoformat(row[name])
        assert {name: cells[name] for name in row} == row
        assert {name: type(cells[name]) for name in row} == {name: type(row[name]) for name in row}
        assert cells.keys() - row.keys() == {"file_count", "geometry", "bbox"}
    by_name = {cells["name"]: cells for cells in table}
    if expected:
        assert by_name["empty"]["geometry"] is None
        assert by_name["empty"]["bbox"] is None
        assert by_name["Fiji"]["bbox"] == {"xmin": -180, "ymin": -20.5, "xmax": 180, "ymax": -16}
        assert by_name["used"]["bbox"] == {"xmin": 4, "ymin": 51, "xmax": 5, "ymax": 52}
        assert shapely.from_wkb(by_name["used"]["geometry"]).equals(shapely.box(4, 51, 5, 52))
        assert shapely.from_wkb(by_name["Fiji"]["geometry"]).equals(FIJI_SHAPE)
    column = check_geoparquet(io.BytesIO(answer.content))
    assert column.get("bbox") == ([-180, -20.5, 180, 52] if expected else None)
    assert column["covering"]["bbox"]["ymax"] == ["bbox", "ymax"]


FIJI_SHAPE = shapely.MultiPolygon(
    [shapely.box(177, -20.5, 180, -16), shapely.box(-180, -20.5, -178.25, -16)]
)


@pytest.mark.usefixtures("catalogue")
def test_geojson_follows_its_standard(client: Client) -> None:
    """RFC 7946: rings are counterclockwise and cut at the antimeridian, and bounds go from west to east."""
    collection = json.loads(ask(client, {"ordering": "name"}, "geojson").content)
    features = {feature["properties"]["name"]: feature for feature in collection["features"]}
    shape = shapely.geometry.shape(features["Fiji"]["geometry"])
    assert shape.equals(FIJI_SHAPE)
    assert all(shapely.is_ccw(part.exterior) for part in shape.geoms)
    assert features["Fiji"]["bbox"] == [177, -20.5, -178.25, -16]
    assert features["empty"]["geometry"] is None
    assert "bbox" not in features["empty"]
    assert collection["bbox"] == [4, -20.5, -178.25, 52]
    fiji = json.loads(ask(client, {"name": "Fiji"}, "geojson").content)
    assert fiji["bbox"] == [177, -20.5, -178.25, -16]


@pytest.mark.usefixtures("catalogue")
def test_csv_follows_its_standard(client: Client) -> None:
    """RFC 4180: lines end with CRLF, and quotes are doubled. Formulas of spreadsheets stay texts."""
    content = ask(client, {}, "csv").content.decode()
    assert content.endswith("\r\n")
    assert '"=1+1, ""quoted""\r\nand ünïcode 🗺; +-@\t\\"' in content


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("format", FORMATS)
def test_a_list_without_rows_is_a_valid_file(client: Client, format: str) -> None:
    answer = ask(client, {"name": "none"}, format)
    if format == "geojson":
        assert answer.json() == {"type": "FeatureCollection", "features": []}
    elif format == "csv":
        assert answer.text.count("\r\n") == 1
    else:
        assert read_parquet(answer) == []


@pytest.mark.usefixtures("catalogue")
def test_hyperlinks_carry_no_format(client: Client) -> None:
    for format in ("geojson", "csv"):
        assert "format=" not in ask(client, {}, format).text


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (GEOJSON, GEOJSON),
        (CSV, CSV),
        ("text/csv, */*;q=0.1", CSV),
        ("application/geo+json;q=0.5, text/csv", CSV),
        ("application/json, text/csv;q=0.9", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
    ],
)
def test_the_accept_header_chooses_a_format(client: Client, accept: str, kind: str) -> None:
    answer = client.get(SOURCES, params={"name": "used"}, headers={"Accept": accept})
    assert answer.headers["content-type"].split(";")[0] == kind
    assert "Accept" in answer.headers["vary"]


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("format", "kind", "ending"),
    [
        ("geojson", GEOJSON, "geojson"),
        ("csv", f"{CSV}; charset=utf-8; header=present", "csv"),
        ("geoparquet", PARQUET, "parquet"),
    ],
)
def test_head_has_the_headers_of_get(client: Client, format: str, kind: str, ending: str) -> None:
    answers = [
        client.request(method, SOURCES, params={"format": format}) for method in ("HEAD", "GET")
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        disposition = f'attachment; filename="rastersources.{ending}"'
        assert answer.headers["content-disposition"] == disposition
        assert answer.headers["cache-control"] == "private, no-cache"
        assert "content-length" not in answer.headers
    assert (answers[0].content, bool(answers[1].content)) == (b"", True)


@pytest.mark.usefixtures("catalogue")
def test_parameters_of_pages_are_ignored_and_named(client: Client) -> None:
    answer = ask(client, {"page": "7", "page_size": "1"}, "csv")
    assert len(read_csv(answer)) == 4
    assert answer.headers["warning"] == (
        '299 - "format=csv sends all rows and ignores page page_size."'
    )


@pytest.mark.usefixtures("catalogue")
def test_a_list_with_more_rows_than_the_limit_is_400(database_url: str, engine: Engine) -> None:
    with client_of(ApiConfig(database_url, list_rows=2)) as client:
        for query, count in (({}, "4"), ({"name__regex": "."}, "More than 2")):
            answer = client.get(SOURCES, params={**query, "format": "csv"})
            assert answer.status_code == 400
            assert answer.json()["detail"] == {
                "format": [
                    f"{count} rows match, but this format has at most 2; "
                    "add filters, or read the pages of format=json."
                ]
            }
            assert client.head(SOURCES, params={**query, "format": "csv"}).status_code == 400
        assert len(read_csv(ask(client, {"name__in": "Fiji,used"}, "csv"))) == 2
        assert len(read_csv(ask(client, {"name__regex": "^[Fu]"}, "csv"))) == 2


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"format": "xml"}, "format"),
        ({"format": "csv", "created": "yesterday"}, "created"),
        ({"format": "geoparquet", "ordering": "colour"}, "ordering"),
        ({"format": "geojson", "name__regex": "("}, "name__regex"),
    ],
    ids=str,
)
def test_an_invalid_format_or_filter_is_400(
    client: Client, query: dict[str, str], named: str
) -> None:
    answer = client.get(SOURCES, params=query)
    assert answer.status_code == 400
    assert list(answer.json()["detail"]) == [named]


@pytest.mark.usefixtures("catalogue")
def test_other_urls_do_not_have_these_formats(client: Client, engine: Engine) -> None:
    (row,) = rows(engine, "SELECT uuid FROM raster_sources WHERE name = 'used'")
    for path in (f"{SOURCES}{row.uuid}/", "/api/v4/organisations/"):
        assert client.get(path, params={"format": "csv"}).status_code == 400


def test_http_1_0_is_rejected_because_it_cannot_report_a_broken_list(client: Client) -> None:
    address = client.base_url
    request = f"GET {SOURCES}?format=csv HTTP/1.0\r\nHost: {address.host}\r\n\r\n"

    async def answer() -> bytes:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request.encode())
        content = await reader.read()
        writer.close()
        return content

    content = asyncio.run(answer())
    assert b" 400 " in content.split(b"\r\n")[0]
    assert b"proxy_http_version 1.1" in content


@contextmanager
def read_in_parts(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iterator[bytes]]:
    """Read the first part of a list that is larger than the buffers of server and client; yield the others."""
    monkeypatch.setattr(whole_lists, "ROWS_AT_ONCE", 1)
    query = {"format": "geojson", "name__startswith": "large"}
    with (
        Client(base_url=address, timeout=30) as client,
        client.stream("GET", SOURCES, params=query) as answer,
    ):
        parts = answer.iter_bytes(2**16)
        next(parts)
        yield parts


@pytest.fixture
def large(engine: Engine, add_source: Add) -> Iterator[None]:
    """Add five rows of 8 MB."""
    for number in range(5):
        add_source(f"large {number}", description="x" * 2**23)
    yield
    execute(engine, "DELETE FROM raster_sources WHERE name LIKE 'large%' OR name = 'renamed'")


@pytest.mark.usefixtures("large")
def test_all_rows_are_of_one_state_of_the_catalogue(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_in_parts(str(client.base_url), monkeypatch) as parts:
        execute(engine, "UPDATE raster_sources SET name = 'renamed' WHERE name = 'large 3'")
        execute(engine, "DELETE FROM raster_sources WHERE name = 'large 4'")
        content = b"".join(parts)
    for number in range(1, 5):
        assert b'"name":"large %d"' % number in content
    assert content.endswith(b"}\n")


@pytest.mark.usefixtures("large")
def test_a_row_may_be_long(client: Client) -> None:
    found = read_parquet(ask(client, {"name__startswith": "large"}, "geoparquet"))
    assert [len(row["description"]) for row in found] == [2**23] * 5


STREAMING = (
    "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'FETCH FORWARD%'"
)


@pytest.mark.usefixtures("large")
def test_an_error_breaks_the_connection(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with read_in_parts(str(client.base_url), monkeypatch) as parts:
        execute(engine, f"SELECT pg_terminate_backend(pid) {STREAMING}")
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


@pytest.mark.usefixtures("large")
def test_a_list_that_takes_too_long_breaks_the_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serve(ApiConfig(database_url, list_seconds=0.001)) as address,
        pytest.raises(httpx.RemoteProtocolError),
        read_in_parts(address, monkeypatch) as parts,
    ):
        list(parts)


@pytest.mark.usefixtures("large")
def test_a_client_that_leaves_ends_the_query_and_frees_its_slot(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):  # there are two slots
        with read_in_parts(str(client.base_url), monkeypatch):
            wait_until(lambda: len(rows(engine, f"SELECT pid {STREAMING}")) == 1)
        wait_until(lambda: not rows(engine, f"SELECT pid {STREAMING}"))


def test_a_client_that_leaves_before_the_first_row_ends_the_query(
    client: Client, engine: Engine
) -> None:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    address = client.base_url.host, client.base_url.port
    with engine.connect() as other:
        other.execute(text("LOCK TABLE raster_sources"))
        with socket.create_connection(address) as connection:
            connection.sendall(f"GET {SOURCES}?format=csv HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wait_until(lambda: bool(rows(engine, query)))
        wait_until(lambda: not rows(engine, query), seconds=15)  # its time limit is 30 seconds
        other.rollback()


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "is closed"])
def test_the_process_that_writes_geoparquet_ends_with_its_reader(fails: bool) -> None:
    processes = []

    async def batches() -> AsyncGenerator[Batch, None]:
        yield [('{"name":"a"}',)]
        if fails:
            raise ZeroDivisionError
        await asyncio.sleep(60)

    async def read() -> None:
        parts = write_geoparquet(batches())
        start = asyncio.create_subprocess_exec

        async def start_and_record(*arguments: Any, **options: Any) -> Any:
            process = await start(*arguments, **options)
            processes.append(process)
            return process

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "create_subprocess_exec", start_and_record)
            if fails:
                with pytest.raises(ZeroDivisionError):
                    [part async for part in parts]
            else:
                await anext(parts)  # the first bytes of the file
                await parts.aclose()
        assert processes[0].returncode not in (None, 0)

    asyncio.run(read())


boxes = st.tuples(st.integers(-180, 180), st.integers(-180, 180), st.integers(-90, 89))


@given(st.lists(boxes, min_size=1, max_size=4))
def test_the_bounds_of_a_collection_contain_each_box(listed: list[tuple[int, int, int]]) -> None:
    around = BoundingBox()
    for west, east, south in listed:
        around.add(west, south, east, south + 1)
    box = around.box()
    assert box
    covered = degrees(box[0], box[2])
    for west, east, south in listed:
        assert degrees(west, east) <= covered
        assert box[1] <= south <= south + 1 <= box[3]


def degrees(west: float, east: float) -> set[int]:
    """Return the degrees of longitude between two sides, from west to east."""
    width = int(east - west) % 360 if east - west != 360 else 360
    return {int(west + step + 180) % 360 for step in range(width)}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([(4, 5)], (4, 5)),
        ([(-10, 5), (20, 30)], (-10, 30)),
        ([(177, -178)], (177, -178)),
        ([(170, 175), (-178, -170)], (170, -170)),
        ([(-180, 180), (3, 4)], (-180, 180)),
        ([(0, -180), (-180, 0)], (-180, 180)),
        ([(179, -179), (-1, 1)], (-180, 180)),
        ([(4.1, 5.3), (0.1, 180)], (0.1, 180)),
    ],
    ids=str,
)
def test_the_bounds_of_a_collection_cross_the_antimeridian_where_that_is_narrower(
    listed: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    around = BoundingBox()
    for west, east in listed:
        around.add(west, 0, east, 1)
    box = around.box()
    assert box
    assert (box[0], box[2]) == expected


def test_the_api_does_not_import_the_library_of_parquet() -> None:
    run([sys.executable, "-c", "import sys, pipeline.api.server; assert 'pyarrow' not in sys.modules"])  # fmt: skip
