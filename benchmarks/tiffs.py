"""GeoTIFFs for benchmarks, each made from a number alone."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from struct import pack

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

THEMES = ("waterdiepte", "maaiveld", "neerslag", "hittestress", "landgebruik", "bodemdaling")
PIXELS = (("float32", -9999.0), ("uint8", 255), ("int16", -32768))


def make_rasters(folder: Path, count: int) -> list[Path]:
    """Make files as water boards have them: 64 to 512 pixels, tiled and compressed, one in five cloud-optimised."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(make_raster, folder), range(count), chunksize=50))


def make_raster(folder: Path, number: int) -> Path:
    """Make one file, in nested folders of organisation, theme and year."""
    random = np.random.default_rng([4, number])
    dtype, nodata = PIXELS[number % 3]
    height, width = (int(side) for side in random.integers(64, 513, 2))
    pixel = float(random.choice([0.5, 1, 5, 25]))
    west, south = (
        15_000 + 50 * int(random.integers(5000)),
        310_000 + 50 * int(random.integers(6000)),
    )
    values = np.add.outer(np.linspace(0, 40, height), np.linspace(0, 40, width)).astype(dtype)
    values[:: height // 8, : width // 8] = nodata
    theme, year = THEMES[number % len(THEMES)], 2010 + number % 15
    path = folder / f"org{number % 20:02d}" / theme / str(year) / f"{theme}_{year}_{number:07d}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {"driver": "COG", "blocksize": 128} if number % 5 == 0 else {
        "driver": "GTiff", "tiled": True, "blockxsize": 128, "blockysize": 128,
    }  # fmt: skip
    with rasterio.open(
        path, "w", height=height, width=width, count=1, dtype=dtype, nodata=nodata, crs="EPSG:28992",
        compress="deflate", transform=from_origin(west, south + height * pixel, pixel, pixel), **layout,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
        if number % 2:
            dataset.update_tags(
                TIFFTAG_DATETIME=f"{year}:{1 + number % 12:02d}:{1 + number % 28:02d} 12:00:00"
            )
    return path


def make_files(folder: Path, numbers: Sequence[int]) -> None:
    """Make small files that lie side by side, in folders of a thousand: copies of a file with other origins."""
    origin = 10_000.0, 400_000.0
    before, after = small_file(origin).split(pack("<2d", *origin))
    for number in numbers:
        target = folder / f"{number // 1000:03d}"
        target.mkdir(parents=True, exist_ok=True)
        new_origin = pack("<2d", origin[0] + 2 * (number % 1000), origin[1] + 2 * (number // 1000))
        (target / f"{number:06d}.tif").write_bytes(before + new_origin + after)


def small_file(origin: tuple[float, float]) -> bytes:
    """Return a GeoTIFF of 4 x 4 pixels on the RD grid."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=4, height=4, count=1, dtype="float32", nodata=-9999.0,
            crs="EPSG:28992", transform=from_origin(*origin, 0.5, 0.5),
        ):  # fmt: skip
            pass
        data: bytes = memory.read()
        return data
