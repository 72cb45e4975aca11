"""Pictures of large files without overviews, and of many files."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.errors import CatalogueError
from pipeline.raster import Budget
from pipeline.raster.pixels.blocks import Area
from pipeline.raster.pixels.client import PixelProcess
from pipeline.raster.pixels.nearest import WindowGrid, whole, whole_pixels
from pipeline.raster.pixels.process import release_memory
from pipeline.raster.pixels.requests import Picture, PixelFile, PixelLimits, Sample, Window
from tests.raster.pixels.test_pixel_process import LIMITS, pixel_file, window_of
from tests.support.factory import RD_TRANSFORM, read_path, write_raster
from tests.support.png import read_png

WIDE, HIGH = 5000, 4200
TOO_FEW = PixelLimits(20, WIDE * HIGH // 2)


@pytest.fixture
def process() -> Iterator[PixelProcess]:
    process = PixelProcess(Budget())
    yield process
    process.close()


def write_stripes(path: Path, **creation: Any) -> Path:
    """Write a file in which each value fills 25 columns, with a hole of nodata."""
    values = np.broadcast_to((np.arange(WIDE) // 25).astype("u1"), (1, HIGH, WIDE)).copy()
    values[:, 2000:3000, 1000:2000] = 255
    return write_raster(
        path, width=WIDE, height=HIGH, dtype="uint8", nodata=255, values=values, **creation
    )


def draw(
    process: PixelProcess, files: list[PixelFile], window: Window, limits: PixelLimits = LIMITS
) -> NDArray[Any]:
    """Draw a picture; return its values, with -1 where it is transparent."""
    pixels = read_png(process.ask(Picture(files, window, "grey", 0, 254), limits))
    values = np.rint(pixels[:, :, 0] * 254.0 / 255)
    return np.where(pixels[:, :, 3] == 255, values, -1).astype(int)


@pytest.mark.parametrize(
    "layout",
    [
        {"tiled": True, "compress": "deflate"},
        {"blockysize": 1, "compress": "lzw"},
        {"blockysize": 100},
    ],
)
def test_a_large_file_without_overviews_is_drawn(
    process: PixelProcess, tmp_path: Path, layout: dict[str, Any]
) -> None:
    raster = read_path(write_stripes(tmp_path / "a.tif", **layout))
    whole_file = window_of(raster, 0, 0, WIDE, HIGH)
    window = Window(
        *(whole_file.west, whole_file.south, whole_file.east, whole_file.north), 500, 420, None
    )
    with pytest.raises(CatalogueError, match="gdaladdo"):
        draw(process, [pixel_file(raster)], window, TOO_FEW)
    drawn = draw(process, [pixel_file(raster)], window)
    expected = np.broadcast_to((np.arange(500) * 10 + 5) // 25, (420, 500))
    hole = np.zeros((420, 500), bool)
    hole[200:300, 100:200] = True
    edge = np.zeros((420, 500), bool)
    edge[199:301, 99:201] = True
    edge[201:299, 101:199] = False
    assert (drawn[hole & ~edge] == -1).all()
    # A pixel of the copy covers 2.4 pixels of the file, so it may show the next stripe.
    assert np.abs(drawn - expected)[~hole & ~edge].max() <= 1
    assert (draw(process, [pixel_file(raster)], window, TOO_FEW) == drawn).all(), (
        "the copy is not kept"
    )
    near = window_of(raster, 900, 1900, 300, 300)
    exact = np.broadcast_to(np.arange(900, 1200) // 25, (300, 300)).copy()
    exact[100:, 100:] = -1
    np.testing.assert_array_equal(draw(process, [pixel_file(raster)], near), exact)


def test_statistics_of_a_large_file_without_overviews_cover_all_its_parts(
    process: PixelProcess, tmp_path: Path
) -> None:
    raster = read_path(write_stripes(tmp_path / "a.tif", tiled=True))
    statistics = process.ask(Sample([pixel_file(raster)]), LIMITS)
    hole = 1000 * 1000 / (WIDE * HIGH)
    assert (statistics.minimum, statistics.maximum, statistics.approximate) == (0, 199, True)
    assert statistics.valid_share == pytest.approx(1 - hole, abs=0.001)


def test_more_files_than_are_kept_open_are_drawn_together(
    process: PixelProcess, tmp_path: Path
) -> None:
    """Draw nine by nine files of ten by ten pixels."""
    rasters = [
        read_path(
            write_raster(
                tmp_path / f"{index}.tif", values=np.full((1, 10, 10), index),
                transform=RD_TRANSFORM @ Affine.translation(index % 9 * 10, index // 9 * 10),
            )
        )
        for index in range(81)
    ]  # fmt: skip
    window = window_of(rasters[0], 0, 0, 90, 90)
    expected = np.kron(np.arange(81).reshape(9, 9), np.ones((10, 10), int))
    files = [pixel_file(raster) for raster in rasters]
    np.testing.assert_array_equal(draw(process, files, window), expected)
    descriptors = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    assert descriptors < 60


@pytest.mark.parametrize("approximate", [True, False])
@pytest.mark.parametrize("crs", [None, "EPSG:3857", "EPSG:4326", "EPSG:25831"])
def test_the_part_of_a_window_that_meets_a_file_holds_all_its_pixels(
    crs: str | None, approximate: bool
) -> None:
    random = np.random.default_rng(3)
    to_window = Transformer.from_crs("EPSG:28992", crs or "EPSG:28992", always_xy=True)
    windows_that_meet = 0
    for _ in range(100):
        x, y = random.uniform(20_000, 280_000), random.uniform(310_000, 610_000)
        size, reach = 10 ** random.uniform(0, 2.5), 10 ** random.uniform(2, 6)
        west, south, east, north = to_window.transform_bounds(
            x - reach, y - reach, x + reach, y + reach
        )
        window = Window(west, south, east, north, 128, 100, crs)
        grid = WindowGrid(window, CRS("EPSG:28992").to_wkt(), approximate=approximate)
        shift = random.uniform(-1.5, 1.5, 2) * reach
        turn = Affine.rotation(random.choice([0, 0, 30, 200]))
        transform = (
            Affine.translation(x + shift[0], y + shift[1]) @ turn @ Affine.scale(size, -size)
        )
        columns, rows = grid.pixels(whole(window), transform)
        inside = whole_pixels(columns, 150)[1] & whole_pixels(rows, 90)[1]
        part = grid.part_that_meets(whole(window), transform, 150, 90) or Area(0, 0, 0, 0)
        outside = inside.copy()
        outside[part.row : part.row + part.height, part.column : part.column + part.width] = False
        assert not outside.any(), (window, transform, part)
        windows_that_meet += bool(inside.any())
    assert windows_that_meet > 20


def test_much_freed_memory_goes_back_to_the_system() -> None:
    blocks, kept = [], []
    for _ in range(3000):
        blocks.append(bytearray(40_000))
        # These bytes lie between the blocks, so that the allocator keeps their memory.
        kept.append(bytearray(600))
    full = resident_bytes()
    blocks.clear()
    release_memory()
    assert resident_bytes() < full - 80_000_000
    assert len(kept) == 3000


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
