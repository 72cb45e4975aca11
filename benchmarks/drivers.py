"""psycopg 3 against asyncpg on our work: pages of ten records as JSON, and bulk COPY; ratios within one run.

    .venv/bin/python -m benchmarks.drivers [ROWS]

Makes a throw-away database in the private cluster, or in the one of RASTERSOURCES_DATABASE_URL.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from pipeline.api.links import Links
from pipeline.api.resources.json_rows import list_query, list_values, shared_values
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.selection import parse_selection
from pipeline.catalogue.access import ANONYMOUS
from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.private_cluster.cluster import Cluster, default_home

CLIENTS = 8
SECONDS = 3.0
NAME = "rastersources_benchmark_drivers"
COLUMNS = ("name", "organisation_id", "access_modifier", "file_count", "west", "south", "east", "north",
           "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y",
           "size", "dtype")  # fmt: skip
Record = tuple[object, ...]
Read = Callable[[int], Awaitable[None]]


def main(rows: int) -> None:
    with database() as url:
        records = list(make_records(rows))
        copy = {
            "psycopg": copy_by_psycopg(url, records),
            "asyncpg": asyncio.run(copy_by_asyncpg(url, records)),
        }
        report(f"COPY of {rows} records, rows/s", copy)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        for clients in (1, CLIENTS):
            report(
                f"pages/s, {clients} clients",
                asyncio.run(pages(url, clients)),
            )


def report(title: str, figures: dict[str, float]) -> None:
    """Print a line with figures and their ratio."""
    listed = ", ".join(f"{driver} {figure:,.0f}" for driver, figure in figures.items())
    print(f"{title}: {listed}; asyncpg/psycopg {figures['asyncpg'] / figures['psycopg']:.2f}")


@contextmanager
def database() -> Iterator[str]:
    """Yield the URL of a migrated, empty database."""
    url_of_environment = os.environ.get("RASTERSOURCES_DATABASE_URL")
    home = default_home(Path(__file__).resolve().parent.parent)
    with nullcontext(url_of_environment) if url_of_environment else Cluster(home).lease() as server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(NAME)))
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template1").format(sql.Identifier(NAME))
            )
        url = make_url(server).set(database=NAME).render_as_string(hide_password=False)
        engine = make_engine(url)
        migrate(engine)
        engine.dispose()
        yield url
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NAME))
            )


def make_records(rows: int) -> Iterator[Record]:
    """Yield records with boxes of 0.1 degree, spread over the Netherlands."""
    for index in range(rows):
        west, south = 3 + index % 400 / 100, 50 + index // 400 % 300 / 100
        yield (f"raster {index}", 1, 0, 1, west, south, west + 0.1, south + 0.1,
               0.0, 0.0, 1000.0, 1000.0, 0.5, -0.5, 1000 + index, "f4")  # fmt: skip


def copy_by_psycopg(url: str, records: list[Record]) -> float:
    """Return the rows per second."""
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO organisations (name) VALUES ('Owner')")
        begin = time.perf_counter()
        with connection.cursor().copy(
            f"COPY raster_sources ({', '.join(COLUMNS)}) FROM STDIN"
        ) as copy:
            for record in records:
                copy.write_row(record)
        seconds = time.perf_counter() - begin
        connection.rollback()
        connection.execute(
            "INSERT INTO organisations (name) OVERRIDING SYSTEM VALUE VALUES ('Owner')"
        )
    return len(records) / seconds


async def copy_by_asyncpg(url: str, records: list[Record]) -> float:
    """Return the rows per second."""
    connection = await asyncpg.connect(url)
    owner = await connection.fetchval("SELECT id FROM organisations")
    owned = [(record[0], owner, *record[2:]) for record in records]
    begin = time.perf_counter()
    await connection.copy_records_to_table("raster_sources", records=owned, columns=COLUMNS)
    seconds = time.perf_counter() - begin
    await connection.close()
    return len(records) / seconds


async def pages(url: str, clients: int) -> dict[str, float]:
    """Return pages per second of each driver, measured in turns."""
    rates = {}
    for driver, open_reader in (("psycopg", by_psycopg), ("asyncpg", by_asyncpg)) * 2:
        async with AsyncExitStack() as stack:
            reads = [await stack.enter_async_context(open_reader(url)) for _ in range(clients)]
            rates[driver] = await rate(reads)
    return rates


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[Read]:
    """Yield a function that reads a page."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = psycopg.AsyncRawCursor(connection)

        async def read(index: int) -> None:
            query, values = page(index)
            await cursor.execute(query, values, prepare=True)
            await cursor.fetchone()

        yield read


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Read]:
    """Yield a function that reads a page."""
    connection = await asyncpg.connect(url)
    statement = await connection.prepare(page(0)[0])

    async def read(index: int) -> None:
        await statement.fetchrow(*page(index)[1])

    yield read
    await connection.close()


async def rate(reads: list[Read]) -> float:
    """Return calls per second of one client for each function."""
    end = time.perf_counter() + SECONDS

    async def client(index: int, read: Read) -> int:
        calls = 0
        while time.perf_counter() < end:
            await read(index * 7919 + calls)
            calls += 1
        return calls

    return sum(await asyncio.gather(*itertools.starmap(client, enumerate(reads)))) / SECONDS


def page(index: int) -> tuple[str, list[Any]]:
    """Return the API's statement of ten records in a box of a tenth of a degree, and its values."""
    west, south = 3 + index % 400 / 100, 50 + index % 300 / 100
    box = {"in_bbox": f"{west},{south},{west + 0.1},{south + 0.1}"}
    selection = parse_selection(box, RASTER_SOURCES.entity, ANONYMOUS)
    query = list_query(RASTER_SOURCES, selection, ANONYMOUS)
    values = {**shared_values(Links("http://localhost"), ANONYMOUS), **list_values(selection)}
    return query.text, [values[name] for name in query.names]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
