"""From files to rows that can be queried: ours, gdaltindex, gdalinfo, rio-stac with pypgstac, and a floor."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.cluster import COMMAND, Database, new_database, run
from benchmarks.measure import Figures, Results, Work, seconds
from benchmarks.peers import PEERS, peer
from benchmarks.stac import STAC_COLLECTION
from benchmarks.tiffs import make_rasters
from pipeline.database.private_cluster.cluster import Cluster

SOURCES = """
[[source]]
id = "benchmark"
files = "{folder}"
organisation = "Benchmark"
access_modifier = "Public"
settle_seconds = 0
"""
GDALINFO_FILES = 100
"""gdalinfo starts a process for each file, so fewer files are enough."""


def compare_registration(
    results: Results, cluster: Cluster, work: Path, count: int, rounds: int
) -> None:
    """Measure files/s of each contender; each begins with an empty target, and all files are in the page cache."""
    paths = make_rasters(work / "rasters", count)
    (work / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    for path in paths:
        path.read_bytes()
    contenders: dict[str, Callable[[], Figures]] = {
        "ours": lambda: register(cluster, work, count),
        "sync": lambda: first_sync(cluster, work, count),
        "floor": lambda: read_and_copy(cluster, paths),
    }
    others: dict[str, Work] = {
        "gdaltindex": lambda: gdaltindex(work, count),
        "gdalinfo": lambda: gdalinfo(paths[:GDALINFO_FILES]),
        "pypgstac": lambda: rio_stac(cluster, work, count),
    }
    for program, contender in others.items():
        if peer(program):
            contenders[program.replace("pypgstac", "rio-stac")] = contender
        else:
            results.note(f"{program} is skipped: it is not installed (make bench-peers).")
    results.compare("registration", "small rasters", "files/s", count, contenders, rounds)


def rate(count: int, work: Callable[[], object]) -> Figures:
    """Return files/s."""
    return {"files/s": count / seconds(work)}


def require(rows: object, count: int) -> None:
    """End the benchmark when rows are missing."""
    if int(str(rows)) != count:
        raise SystemExit(f"{rows} rows for {count} files")


def count_files(database: Database) -> object:
    """Return how many files are registered."""
    return database.execute("SELECT count(*) FROM raster_files WHERE state = 'present'")[0][0]


def register(cluster: Cluster, work: Path, count: int) -> Figures:
    """Measure `rastersources register`."""
    database = new_database(cluster, "registered", migrated=True)
    command = [
        *COMMAND,
        "register",
        work / "rasters",
        "--organisation",
        "Benchmark",
        "--create",
        "--access-modifier",
        "Public",
    ]
    figures = rate(count, lambda: run(command, database.ours))
    require(count_files(database), count)
    return figures


def first_sync(cluster: Cluster, work: Path, count: int) -> Figures:
    """Measure the first `rastersources sync` of the same files."""
    database = new_database(cluster, "synced", migrated=True)
    (work / "sources.toml").write_text(SOURCES.format(folder=work / "rasters"))
    figures = rate(count, lambda: run([*COMMAND, "sync", "--create"], database.ours, work))
    require(count_files(database), count)
    return figures


def gdaltindex(work: Path, count: int) -> Figures:
    """Measure GDAL's index of paths and outlines, in a GeoPackage."""
    index = work / "index.gpkg"
    index.unlink(missing_ok=True)
    command = [
        "gdaltindex",
        "-f",
        "GPKG",
        "-t_srs",
        "EPSG:4326",
        "-lyr_name",
        "tiles",
        index,
        "--optfile",
        work / "list.txt",
    ]
    figures = rate(count, lambda: run(command, os.environ))
    printed = run(["ogrinfo", "-q", "-sql", "SELECT count(*) AS n FROM tiles", index], os.environ)
    require(printed.rpartition("=")[2], count)
    return figures


def gdalinfo(paths: list[Path]) -> Figures:
    """Measure `gdalinfo -json`, a process for each file."""

    def work() -> None:
        for path in paths:
            json.loads(run(["gdalinfo", "-json", path], os.environ))

    return rate(len(paths), work)


def rio_stac(cluster: Cluster, work: Path, count: int) -> Figures:
    """Measure items of rio-stac in two processes, and their way into pgstac."""
    database = new_database(cluster, "pgstac")
    database.execute("CREATE EXTENSION btree_gist")
    run([PEERS / "pypgstac", "migrate"], database.peers)
    (work / "collection.ndjson").write_text(json.dumps(STAC_COLLECTION) + "\n")
    run([PEERS / "pypgstac", "load", "collections", work / "collection.ndjson"], database.peers)
    script = Path(__file__).with_name("stac_items.py")

    def load() -> None:
        run([PEERS / "python", script, work / "list.txt", work / "items.ndjson"], os.environ)
        run([PEERS / "pypgstac", "load", "items", work / "items.ndjson"], database.peers)

    figures = rate(count, load)
    require(database.execute("SELECT count(*) FROM pgstac.items")[0][0], count)
    return figures


def read_and_copy(cluster: Cluster, paths: list[Path]) -> Figures:
    """Measure what every program must do: read 16 KiB of each file, and COPY a row into a table with indexes."""
    database = new_database(cluster, "floor")
    database.execute(
        "CREATE TABLE files (id bigserial PRIMARY KEY, path text UNIQUE, size bigint, bounds geometry(Polygon, 4326))"
    )
    database.execute("CREATE INDEX ON files USING gist (bounds)")

    def work() -> None:
        statement = "COPY files (path, size, bounds) FROM STDIN"
        with database.connect() as connection, connection.cursor().copy(statement) as copy:
            for index, path in enumerate(paths):
                descriptor = os.open(path, os.O_RDONLY)
                os.read(descriptor, 16384)
                size = os.fstat(descriptor).st_size
                os.close(descriptor)
                x, y = 3 + index % 991 / 250, 50 + index % 997 / 250
                ring = f"{x} {y}, {x + 0.01} {y}, {x + 0.01} {y + 0.01}, {x} {y + 0.01}, {x} {y}"
                copy.write_row((str(path), size, f"SRID=4326;POLYGON(({ring}))"))

    figures = rate(len(paths), work)
    require(database.execute("SELECT count(*) FROM files")[0][0], len(paths))
    return figures
