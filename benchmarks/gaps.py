"""Measure the report of gaps on sources of 100,000 files, in seconds and against counting their files.

    .venv/bin/python -m benchmarks.gaps [FILES]

Inserts the rows of FILES (100,000) raster files into a new private cluster, and leaves out one in a hundred. The
sources are a series of 100 tiles, a mosaic, a series of one tile, and a series of tiles that is three quarters empty.
"""

import sys
import time
from collections.abc import Callable
from math import isqrt
from typing import TypeVar

from pyproj import CRS
from sqlalchemy import Engine, text

from benchmarks.cluster import private_database
from pipeline.catalogue.gaps import find_gaps
from pipeline.database.engine import make_engine

T = TypeVar("T")

ADD_SYSTEM = "INSERT INTO coordinate_systems (wkt, projection) VALUES (:wkt, 'EPSG:28992')"
ADD_SOURCE = """
    INSERT INTO raster_sources (name, organisation_id, temporal, declared_interval)
    SELECT :name, id, :temporal, CASE WHEN :temporal THEN interval '5 minutes' END FROM organisations RETURNING id
"""
# Steps of columns x rows tiles, each of 1,000 x 1,000 pixels of half a metre.
ADD_FILES = """
    INSERT INTO raster_files (
        source_id, uri, fingerprint, size, width, height, band_count, transform, coordinate_system_id, rotated,
        origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, west, south, east, north, footprint,
        operation_name, proj_version, dtype, bands, times, area_or_point, layout)
    SELECT :source, concat_ws('/', 'file://', step, x, y), 'f', 1, 1000, 1000, 1,
        ARRAY[0.5, 0, 10000 + 500 * x, 0, -0.5, 300000 + 500 * y], system.id, false,
        10000 + 500 * x, 299500 + 500 * y, 10500 + 500 * x, 300000 + 500 * y, 0.5, -0.5, 5, 52, 6, 53,
        ST_GeomFromText('MULTIPOLYGON EMPTY', 4326), 'any', '9', 'f4', '[]',
        CASE WHEN :temporal THEN ARRAY[timestamptz '2024-01-01T00:00:00Z' + step * interval '5 minutes'] ELSE '{}' END,
        'Area', '{}'
    FROM coordinate_systems AS system, generate_series(1, :steps) AS step,
         generate_series(1, :columns) AS x, generate_series(1, :rows) AS y
    WHERE hashint8(1000003 * CAST(step AS bigint) + 1009 * x + y) & 1023 > :lacking
"""


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    side = isqrt(count)
    cases = {
        "a series of 100 tiles": (count // 100, 10, 10, 10),
        "a mosaic": (1, side, side, 10),
        "a series of one tile": (count, 1, 1, 10),
        "a series, three quarters empty": (count // 25, 10, 10, 760),
    }
    with private_database() as database:
        engine = make_engine(database.url)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO organisations (name) VALUES ('Owner')"))
            connection.execute(text(ADD_SYSTEM), {"wkt": CRS.from_epsg(28992).to_wkt()})
        for name, (steps, columns, rows, lacking) in cases.items():
            add(engine, name, steps=steps, columns=columns, rows=rows, lacking=lacking)
        with engine.begin() as connection:
            connection.connection.driver_connection.execute("ANALYZE")
        for name in cases:
            measure(engine, name)
        engine.dispose()


def add(engine: Engine, name: str, **values: int) -> None:
    temporal = values["steps"] > 1
    with engine.begin() as connection:
        source = connection.execute(
            text(ADD_SOURCE), {"name": name, "temporal": temporal}
        ).scalar_one()
        connection.execute(text(ADD_FILES), {"source": source, "temporal": temporal, **values})


def measure(engine: Engine, name: str) -> None:
    counting, files = timed(lambda: count_files(engine, name))
    seconds, gaps = timed(lambda: next(find_gaps(engine, name, "lizard")))
    result = (
        f"{gaps.series.missing_steps if gaps.series else 0} steps missing, {gaps.holes.count} holes"
    )
    if gaps.tiles:
        result += f", {sum(run.steps for run in gaps.tiles.incomplete)} incomplete steps"
    print(f"{name:32} {files:7} files {seconds:6.1f} s {seconds / counting:7.0f} x; {result}")


def count_files(engine: Engine, name: str) -> int:
    query = "SELECT count(*) FROM raster_files JOIN raster_sources AS s ON s.id = source_id WHERE s.name = :name"
    with engine.connect() as connection:
        return int(connection.execute(text(query), {"name": name}).scalar_one())


def timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result


if __name__ == "__main__":
    main()
