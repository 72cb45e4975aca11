"""The pages for people at large catalogues: first pages, tiles, the bytes of a pan, and memory while people pan."""

import math
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from benchmarks.cluster import COMMAND, Database, new_database, run, serve_ours
from benchmarks.measure import Figures, Results, Work, quantile
from benchmarks.start import memory_of
from pipeline.database.private_cluster.cluster import Cluster

PEOPLE = 10
SECONDS = 8.0
"""The seconds for which they pan."""
AT_ONCE = 6
"""The connections of a browser to a server."""
SIDE = 100_000
"""Columns and rows of the large raster."""
MIDDLE = 5.45, 52.5
"""Longitude and latitude of the middle of the made-up catalogues."""
PROCESSES = "serve", "pipeline.raster.pixels.process", "pipeline.raster.workers.process"
"""Words in the commands of the processes of a server."""
HTML = {"Accept": "text/html"}
Tile = tuple[int, int, int]


def compare_pages(results: Results, cluster: Cluster, rows: int, work: Path, rounds: int) -> None:
    """Measure the pages at the catalogue of the lists, or a new one, to which a large raster is added."""
    database = find_catalogue(cluster, rows)
    uuid = register_large_raster(database, work / "large.tif")
    with serve_ours(database) as address:
        table, first_map = ["/"], [footprints(tile) for tile in view(MIDDLE, 7)]
        cases: dict[tuple[str, str], tuple[Work, int]] = {
            ("first page of the table", "s"): (lambda: {"s": fetch(address, table)[0]}, rounds),
            ("first page of the map", "s"): (lambda: {"s": fetch(address, first_map)[0]}, rounds),
            ("pan of the map", "kB"): (lambda: {"kB": fetch(address, pan())[1] / 1000}, 1),
            ("tile of 10^5 x 10^5 pixels", "ms"): (partial(time_tiles, address, uuid), rounds),
            ("ten people pan", "MiB"): (partial(memory_while_panning, address, uuid), 1),
        }
        for (name, unit), (ours, times) in cases.items():
            results.compare("pages", name, unit, rows, {"ours": ours}, times)


def find_catalogue(cluster: Cluster, rows: int) -> Database:
    """Return the catalogue of the lists with so many records; fill one if there is none."""
    name = f"catalogue_{rows}"
    query = "SELECT 1 FROM pg_database WHERE datname = %s"
    if Database(cluster, "postgres").execute(query, name):
        return Database(cluster, name)
    database = new_database(cluster, name, migrated=True)
    database.run_file("records.sql", rows=rows)
    database.run_file("ours.sql")
    database.execute("VACUUM ANALYZE")
    return database


def register_large_raster(database: Database, path: Path) -> str:
    """Register a sparse raster with overviews; return its uuid."""
    if not path.exists():
        write_large_raster(path)
    # The made-up records have ids of their own.
    database.execute(
        "SELECT setval(pg_get_serial_sequence('raster_sources', 'id'), max(id)) FROM raster_sources"
    )
    ((owner,),) = database.execute("SELECT name FROM organisations ORDER BY id LIMIT 1")
    options = ["--organisation", str(owner), "--access-modifier", "Public", "--quiet"]
    run([*COMMAND, "register", path, *options], database.ours)
    ((uuid,),) = database.execute("SELECT uuid FROM raster_sources WHERE name = 'large'")
    return str(uuid)


def write_large_raster(path: Path) -> None:
    """Write values along the diagonal, and overviews."""
    profile = {
        "driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint8", "nodata": 0,
        "crs": "EPSG:28992", "transform": from_origin(100_000, 500_000, 1, 1), "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "SPARSE_OK": True,
    }  # fmt: skip
    slope = np.add.outer(np.arange(4096), np.arange(4096)) // 8 % 250 + 1
    with rasterio.open(path, "w", **profile) as dataset:
        for corner in range(0, SIDE - 4096, 12_000):
            dataset.write(slope.astype("u1"), 1, window=Window(corner, corner, 4096, 4096))
    sparse = {"SPARSE_OK_OVERVIEW": True, "COMPRESS_OVERVIEW": "DEFLATE"}
    with rasterio.Env(**sparse), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2**level for level in range(1, 9)])


def view(middle: tuple[float, float], zoom: int, pixels: int = 700) -> list[Tile]:
    """Return the tiles of a map of so many pixels around a place."""
    x, y = tile_position(middle, zoom)
    reach = pixels / 256 / 2
    columns = range(math.floor(x - reach), math.floor(x + reach) + 1)
    rows = range(math.floor(y - reach), math.floor(y + reach) + 1)
    return [(zoom, column, row) for row in rows for column in columns]


def tile_position(place: tuple[float, float], zoom: int) -> tuple[float, float]:
    """Return the position of a place on earth, in columns and rows of tiles."""
    longitude, latitude = place
    sinus = math.asinh(math.tan(math.radians(latitude)))
    return (longitude + 180) / 360 * 2**zoom, (1 - sinus / math.pi) / 2 * 2**zoom


def pan() -> list[str]:
    """Return the vector tiles of a map that zooms in on Utrecht and then pans eight times by a third of its width."""
    tiles = dict.fromkeys(tile for zoom in range(7, 12) for tile in view((5.12, 52.09), zoom))
    for step in range(9):
        east = 5.12 + step * 700 / 3 / 256 * 360 / 2**11
        tiles.update(dict.fromkeys(view((east, 52.09), 11)))
    return [footprints(tile) for tile in tiles]


def footprints(tile: Tile) -> str:
    """Return the path of a vector tile."""
    return "/map/footprints/{}/{}/{}.mvt".format(*tile)


def pixels(uuid: str, tile: Tile) -> str:
    """Return the path of a picture."""
    return f"/api/v4/rastersources/{uuid}/tiles/" + "{}/{}/{}.png".format(*tile)


def fetch(address: str, paths: Sequence[str]) -> tuple[float, int]:
    """Return the seconds and the bytes of all paths, as a browser asks for them: some at once, the answers packed."""
    with httpx.Client(base_url=address, headers=HTML, timeout=60) as client:

        def ask(path: str) -> int:
            with client.stream("GET", path) as answer:
                answer.raise_for_status()
                return sum(map(len, answer.iter_raw()))

        started = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            sent = sum(threads.map(ask, paths))
        return time.monotonic() - started, sent


def large_tiles(zooms: Sequence[int]) -> Iterator[Tile]:
    """Yield tiles along the diagonal of the large raster, where it has values."""
    for zoom in zooms:
        for east in (4.8, 5.1, 5.5):
            x, y = tile_position((east, 52.5 - (east - 4.6) * 0.6), zoom)
            yield zoom, math.floor(x), math.floor(y)


def time_tiles(address: str, uuid: str) -> Figures:
    """Return the milliseconds of the slowest of tiles of all zoom levels, one after the other."""
    paths = [pixels(uuid, tile) for tile in large_tiles(range(7, 18))]
    fetch(address, [*paths[:3], *paths[:3]])  # opens the file in each process
    times = [1000 * fetch(address, [path])[0] for path in paths]
    return {"ms": max(times), "p50_ms": quantile(times, 0.5), "p99_ms": max(times)}


def memory_while_panning(address: str, uuid: str) -> Figures:
    """Return the largest sum of the memory of all processes of the server, and the tiles that it sent."""
    paths = [*pan(), *(pixels(uuid, tile) for tile in large_tiles(range(7, 18)))]
    end = time.monotonic() + SECONDS

    def pan_as_person(seed: int) -> int:
        draw, sent = random.Random(seed), 0
        with httpx.Client(base_url=address, headers=HTML, timeout=60) as client:
            while time.monotonic() < end:
                client.get(draw.choice(paths)).raise_for_status()
                sent += 1
        return sent

    largest = 0.0
    with ThreadPoolExecutor(PEOPLE) as people:
        futures = [people.submit(pan_as_person, seed) for seed in range(PEOPLE)]
        while time.monotonic() < end:
            largest = max(largest, sum(size for name in PROCESSES for size in memory_of(name)))
            time.sleep(0.5)
    return {"MiB": largest, "tiles": sum(future.result() for future in futures)}
