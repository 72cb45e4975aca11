"""psycopg 3 against asyncpg on our work: a page of ten records with its count, and bulk COPY; ratios within one run.

    .venv/bin/python -m benchmarks.drivers [ROWS]

Makes a throw-away database in the private cluster, or in the one of RASTERSOURCES_DATABASE_URL.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import asyncpg
import psycopg
from psycopg import sql
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.private_cluster.cluster import Cluster, default_home
from pipeline.database.tables import organisations, raster_sources

CLIENTS = 8
SECONDS = 3.0
NAME = "rastersources_benchmark_drivers"
COLUMNS = ("name", "organisation_id", "access_modifier", "file_count", "west", "south", "east", "north",
           "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y",
           "size", "dtype")  # fmt: skip
Record = tuple[object, ...]


def main(rows: int) -> None:
    """Measure and print."""
    with database() as url:
        records = list(made_records(rows))
        copy = {
            "psycopg": copy_by_psycopg(url, records),
            "asyncpg": asyncio.run(copy_by_asyncpg(url, records)),
        }
        report(f"COPY of {rows} records, rows/s", copy)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        for clients in (1, CLIENTS):
            report(
                f"pages/s through SQLAlchemy, {clients} clients",
                asyncio.run(pages(url, clients)),
            )


def report(what: str, figures: dict[str, float]) -> None:
    """One line: figures and their ratio."""
    shown = ", ".join(f"{driver} {figure:,.0f}" for driver, figure in figures.items())
    print(f"{what}: {shown}; asyncpg/psycopg {figures['asyncpg'] / figures['psycopg']:.2f}")


@contextmanager
def database() -> Iterator[str]:
    """URL of a migrated, empty database."""
    given = os.environ.get("RASTERSOURCES_DATABASE_URL")
    home = default_home(Path(__file__).resolve().parent.parent)
    with nullcontext(given) if given else Cluster(home).lease() as server:
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


def made_records(rows: int) -> Iterator[Record]:
    """Boxes of 0.1 degree spread over the Netherlands."""
    for n in range(rows):
        west, south = 3 + n % 400 / 100, 50 + n // 400 % 300 / 100
        yield (f"raster {n}", 1, 0, 1, west, south, west + 0.1, south + 0.1,
               0.0, 0.0, 1000.0, 1000.0, 0.5, -0.5, 1000 + n, "f4")  # fmt: skip


def copy_by_psycopg(url: str, records: list[Record]) -> float:
    """Rows per second."""
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
    """Rows per second."""
    connection = await asyncpg.connect(url)
    owner = await connection.fetchval("SELECT id FROM organisations")
    owned = [(record[0], owner, *record[2:]) for record in records]
    begin = time.perf_counter()
    await connection.copy_records_to_table("raster_sources", records=owned, columns=COLUMNS)
    seconds = time.perf_counter() - begin
    await connection.close()
    return len(records) / seconds


async def pages(url: str, clients: int) -> dict[str, float]:
    """Pages per second of each driver, measured in turns."""
    found = {}
    for driver in ("psycopg", "asyncpg", "psycopg", "asyncpg"):
        engine = create_async_engine(make_url(url).set(drivername=f"postgresql+{driver}"), pool_size=clients,
                                     isolation_level="AUTOCOMMIT")  # fmt: skip
        found[driver] = await rate(lambda n, engine=engine: one_page(engine, n), clients)
        await engine.dispose()
    return found


async def rate(call: Callable[[int], Awaitable[None]], clients: int) -> float:
    """Calls per second of so many clients."""
    await asyncio.gather(*(call(n) for n in range(clients)))
    end = time.perf_counter() + SECONDS

    async def client(number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            await call(number * 7919 + done)
            done += 1
        return done

    return sum(await asyncio.gather(*(client(number) for number in range(clients)))) / SECONDS


async def one_page(engine: AsyncEngine, number: int) -> None:
    """Fetch ten records and their count, in one round trip."""
    west, south = 3 + number % 400 / 100, 50 + number % 300 / 100
    async with engine.connect() as connection:
        (await connection.execute(page_statement(west, south))).all()


def page_statement(west: float, south: float) -> Select[tuple[object, ...]]:
    """Ten records in a box of a tenth of a degree, and how many there are."""
    box = raster_sources.c.extent.op("&&")(
        func.ST_MakeEnvelope(west, south, west + 0.1, south + 0.1, 4326)
    )
    here: ColumnElement[bool] = (raster_sources.c.access_modifier == 0) & box
    page = (
        select(raster_sources.c.id).where(here).order_by(raster_sources.c.id).limit(10).subquery()
    )
    count = select(func.count()).select_from(raster_sources).where(here).scalar_subquery()
    shown = [column for column in raster_sources.c if column.name not in ("extent", "notices")]
    return (
        select(count, *shown, organisations.c.uuid, organisations.c.name)
        .join_from(page, raster_sources, page.c.id == raster_sources.c.id)
        .join(organisations, organisations.c.id == raster_sources.c.organisation_id)
        .order_by(page.c.id)
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
