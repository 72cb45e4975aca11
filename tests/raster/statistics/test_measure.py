"""Statistics of pixels equal those of numpy on the whole array, whatever the layout."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.cli.progress import SECONDS_UNTIL_BARS
from pipeline.errors import FileChanged, OverBudget, Rejection, Unreadable, UnsupportedDtype
from pipeline.raster import Budget, PixelProgress, RasterFile, ReadOptions, Statistics
from pipeline.raster.read import read
from pipeline.raster.statistics.band import BandCounter
from pipeline.raster.statistics.measure import measure
from pipeline.raster.statistics.percentiles import PERCENTILES
from pipeline.raster.statistics.windows import BlockGrid
from pipeline.storage import find_file, list_files, literal_location
from tests.support.commands import CORPUS, RASTERSOURCES, environment, read_terminal
from tests.support.factory import RD_TRANSFORM, write_raster, write_tagged
from tests.support.needs import needs_corpus, needs_gdal
from tests.support.reading import read_all

RANDOM = np.random.default_rng(20240229)
EXACT = ReadOptions(statistics="exact")
OVERVIEW = ReadOptions(statistics="overview")


def measure_file(
    path: Path,
    options: ReadOptions = EXACT,
    progress: Callable[[PixelProgress], None] = lambda _: None,
) -> Statistics:
    file = find_file(path, [path.parent])
    return measure(file, read(file, options), options, progress)


def assert_as_numpy(statistics: Statistics, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Assert that each band has the statistics of numpy; the order of values is band, row, column."""
    assert len(statistics.bands) == len(values)
    for band, pixels, mask in zip(statistics.bands, values, valid, strict=True):
        valid_pixels = pixels[mask]
        assert band.valid == valid_pixels.size
        assert band.valid_share == valid_pixels.size / pixels.size
        if not valid_pixels.size:
            assert (band.minimum, band.maximum, band.mean, band.histogram) == (None,) * 4
            continue
        assert (band.minimum, band.maximum) == (
            valid_pixels.min().item(),
            valid_pixels.max().item(),
        )
        numbers = valid_pixels.astype("f8")
        size = float(np.abs(numbers).max())
        assert band.mean == pytest.approx(numbers.mean(), rel=1e-12, abs=1e-12 * size)
        assert band.standard_deviation == pytest.approx(numbers.std(), rel=1e-9, abs=1e-9 * size)
        expected = np.percentile(numbers, PERCENTILES)
        assert list(band.percentiles.values()) == pytest.approx(
            expected, rel=1e-12, abs=1e-15 * size
        )
        assert band.histogram
        counts, _ = np.histogram(numbers, len(band.histogram.counts))
        assert list(band.histogram.counts) == counts.tolist()


def random_values(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (RANDOM.normal(size=shape) * 1000).astype(kind)
    limits = np.iinfo(kind.str)
    return RANDOM.integers(limits.min, limits.max, shape, kind.str, endpoint=True)


@pytest.mark.parametrize(
    "dtype",
    [
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float32",
        "float64",
    ],
)
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_statistics_are_those_of_numpy_for_every_type(
    tmp_path: Path, dtype: str, interleave: str
) -> None:
    values = random_values(dtype, (2, 70, 90))
    values[:, 20:40, 10:30] = 7
    path = write_raster(
        tmp_path / "a.tif", dtype=dtype, width=90, height=70, count=2, nodata=7, values=values,
        tiled=True, blockxsize=16, blockysize=32, interleave=interleave, compress="deflate",
    )  # fmt: skip
    assert_as_numpy(measure_file(path), values, values != 7)


def test_half_precision_floats_are_read(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "a.tif", "f2")
    band = measure_file(path).bands[0]
    assert (band.minimum, band.maximum, band.valid) == (0.0, 0.0, 100)


@pytest.mark.parametrize(
    ("dtype", "extremes"),
    [
        ("uint64", [0, 1, 2**53 + 1, 2**64 - 1]),
        ("int64", [-(2**63), -(2**53) - 1, 2**53 + 1, 2**63 - 1]),
    ],
)
def test_integers_beyond_doubles_are_exact(tmp_path: Path, dtype: str, extremes: list[int]) -> None:
    values = np.array(extremes, dtype).reshape(1, 2, 2)
    path = write_raster(
        tmp_path / "a.tif", dtype=dtype, width=2, height=2, nodata=None, values=values
    )
    (band,) = measure_file(path).bands
    assert (band.minimum, band.maximum) == (extremes[0], extremes[-1])
    assert measure_minimum(tmp_path, dtype, extremes) == extremes[1]


def measure_minimum(folder: Path, dtype: str, extremes: list[int]) -> float | None:
    """Return the minimum of a file whose smallest value is nodata."""
    values = np.array(extremes, dtype).reshape(1, 2, 2)
    path = write_raster(
        folder / "b.tif", dtype=dtype, width=2, height=2, nodata=extremes[0], values=values
    )
    return measure_file(path).bands[0].minimum


def test_nan_and_infinities_are_left_out(tmp_path: Path) -> None:
    values = random_values("float32", (1, 30, 30))
    values[0, 0, :10], values[0, 1, :5], values[0, 2, :5] = np.nan, np.inf, -np.inf
    for nodata in (None, np.nan, -np.inf):
        path = write_raster(tmp_path / "a.tif", width=30, height=30, nodata=nodata, values=values)
        assert_as_numpy(measure_file(path), values, np.isfinite(values))


def test_a_mask_counts_as_well_as_nodata(tmp_path: Path) -> None:
    values = random_values("int16", (2, 40, 50))
    values[:, :, :5] = -1
    mask = RANDOM.integers(0, 2, (40, 50)).astype(bool)
    path = write_raster(
        tmp_path / "a.tif", dtype="int16", width=50, height=40, count=2, nodata=-1, values=values,
        mask=True,
    )  # fmt: skip
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert_as_numpy(measure_file(path), values, mask & (values != -1))


def test_an_alpha_band_is_a_mask_of_the_others(tmp_path: Path) -> None:
    values = random_values("uint8", (4, 40, 50))
    values[3, :20] = 0
    path = write_raster(
        tmp_path / "a.tif", dtype="uint8", width=50, height=40, count=4, nodata=None,
        values=values, photometric="rgb", alpha="yes",
    )  # fmt: skip
    opaque = np.broadcast_to(values[3] > 0, values.shape).copy()
    opaque[3] = True
    assert_as_numpy(measure_file(path), values, opaque)


def test_a_band_without_valid_pixels_has_no_values_and_no_outline(tmp_path: Path) -> None:
    values = np.full((1, 10, 10), -9999)
    statistics = measure_file(write_raster(tmp_path / "a.tif", values=values))
    assert_as_numpy(statistics, values, values != -9999)
    assert statistics.valid_outline.is_empty


def test_a_single_pixel_has_statistics(tmp_path: Path) -> None:
    values = np.full((1, 1, 1), 2.5)
    (band,) = measure_file(write_raster(tmp_path / "a.tif", width=1, height=1, values=values)).bands
    assert (band.minimum, band.mean, band.standard_deviation) == (2.5, 2.5, 0)
    assert set(band.percentiles.values()) == {2.5}
    assert band.histogram
    assert band.histogram.counts == (1,)


def test_values_near_the_limits_of_doubles_do_not_fail(tmp_path: Path) -> None:
    values = np.array([[[-1.7e308, 1.7e308], [1.7e308, 1.7e308]]])
    path = write_raster(tmp_path / "a.tif", dtype="float64", width=2, height=2, values=values)
    (band,) = measure_file(path).bands
    assert (band.minimum, band.maximum) == (-1.7e308, 1.7e308)
    assert band.standard_deviation is None


def test_a_small_spread_about_a_large_mean_is_not_lost() -> None:
    values = 1e9 + RANDOM.normal(size=100_000)
    counter = BandCounter(values.dtype)
    for _ in range(counter.passes):
        for chunk in np.array_split(values, 37):
            counter.add(chunk)
        counter.end_pass()
    assert counter.result(values.size).standard_deviation == pytest.approx(values.std(), rel=1e-9)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=50),
    st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_percentiles_are_those_of_numpy_however_values_arrive(
    numbers: list[float], chunks: int
) -> None:
    values = np.array(numbers, "f4")
    counter = BandCounter(values.dtype)
    for _ in range(counter.passes):
        for chunk in np.array_split(values, chunks):
            counter.add(chunk)
        counter.end_pass()
    percentiles = list(counter.result(values.size).percentiles.values())
    expected = np.percentile(values.astype("f8"), PERCENTILES)
    assert percentiles == pytest.approx(
        expected, rel=1e-9, abs=1e-9 * float(np.abs(values).max()) + 1e-300
    )


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    block=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    max_pixels=st.integers(1, 500),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_windows_cover_each_pixel_outside_holes_once(
    size: tuple[int, int], block: tuple[int, int], max_pixels: int, seed: int
) -> None:
    (width, height), (columns, rows) = size, block
    columns, rows = min(columns, width), min(rows, height)
    shape = (-(-height // rows), -(-width // columns))
    full = np.random.default_rng(seed).integers(0, 2, shape).astype(bool)
    grid = BlockGrid(width, height, columns, rows, full)
    seen = np.zeros((height, width), int)
    for window in grid.windows(max_pixels):
        assert window.width * window.height <= max(max_pixels, columns * rows)
        part = seen[window.row_off :, window.col_off :][: window.height, : window.width]
        assert part.shape == (window.height, window.width)
        part += 1
    expected = np.repeat(np.repeat(full, rows, 0), columns, 1)[:height, :width]
    assert (seen == expected).all()
    assert grid.pixels() == expected.sum()


LAYOUTS = [
    {"tiled": True, "blockxsize": 16, "blockysize": 16},
    {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band"},
    {"blockysize": 4},
    {"blockysize": 4, "interleave": "band", "compress": "lzw"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("nodata", [None, -1])
def test_holes_of_a_sparse_file_have_the_values_that_gdal_reads(
    tmp_path: Path, layout: dict[str, Any], nodata: float | None
) -> None:
    path = write_raster(
        tmp_path / "a.tif", width=100, height=90, count=2, nodata=nodata, SPARSE_OK=True, **layout
    )
    with rasterio.open(path, "r+") as dataset:
        dataset.write(random_values("float32", (8, 40)), 1, window=((20, 28), (10, 50)))
        dataset.write(random_values("float32", (30, 9)), 2, window=((50, 80), (90, 99)))
    with rasterio.open(path) as dataset:
        values = dataset.read()
    assert_as_numpy(measure_file(path), values, values != nodata if nodata else values == values)


def write_sparse_million(folder: Path, **options: Any) -> Path:
    """Write a million columns by a million rows, which take disk space only for their index."""
    transform = RD_TRANSFORM @ RD_TRANSFORM.scale(1e-2)
    return write_raster(
        folder / "huge.tif", width=10**6, height=10**6, transform=transform, tiled=True,
        blockxsize=1024, blockysize=1024, SPARSE_OK=True, BIGTIFF="YES", **options,
    )  # fmt: skip


def test_a_huge_sparse_raster_is_counted_and_not_read(tmp_path: Path) -> None:
    path = write_sparse_million(tmp_path, dtype="uint8", nodata=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((10, 10), 200, "u1"), 1, window=((500_000, 500_010), (0, 10)))
    (band,) = measure_file(path).bands
    assert (band.minimum, band.maximum, band.valid) == (0, 200, 10**12)
    assert band.mean == pytest.approx(200 * 100 / 10**12)
    assert band.histogram
    assert sum(band.histogram.counts) == 10**12


def test_more_pixels_than_the_budget_give_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=101, height=100)
    with pytest.raises(OverBudget, match="would need 10100 values, more than the limit of 10000"):
        measure_file(path, replace(EXACT, budget=Budget(statistics_pixels=10_000)))
    options = replace(EXACT, budget=Budget(statistics_pixels=10_000))
    (outcome,) = read_all([find_file(path, [tmp_path])], options)
    assert isinstance(outcome, RasterFile)
    assert outcome.statistics is None
    assert [warning.code for warning in outcome.warnings] == ["no_statistics"]


def test_a_block_larger_than_the_budget_is_not_unpacked(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", width=64, height=64, tiled=True, blockxsize=64, blockysize=64
    )
    with pytest.raises(OverBudget, match="write it in tiles"):
        measure_file(path, replace(EXACT, budget=Budget(block_bytes=16_000)))


def test_complex_numbers_have_no_statistics(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", dtype="complex64", nodata=None)
    with pytest.raises(UnsupportedDtype, match="no order"):
        measure_file(path)


def test_statistics_of_an_overview_are_marked_as_approximate(tmp_path: Path) -> None:
    values = random_values("int16", (1, 64, 64))
    path = write_raster(
        tmp_path / "a.tif", dtype="int16", width=64, height=64, nodata=None, values=values,
        overviews=[2, 4],
    )  # fmt: skip
    approximate = measure_file(path, OVERVIEW)
    assert (approximate.approximate, approximate.overview) == (True, 2)
    with rasterio.open(path, overview_level=0) as overview:
        assert_as_numpy(approximate, overview.read(), np.ones((1, 32, 32), bool))
    exact = measure_file(path, EXACT)
    assert (exact.approximate, exact.overview) == (False, None)
    assert_as_numpy(exact, values, np.ones((1, 64, 64), bool))


def test_overviews_in_a_sidecar_serve_as_well(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=64, height=64)
    write_tagged(tmp_path / "a.tif.ovr", "f4", subfiletype=1)
    assert measure_file(path, OVERVIEW).overview == 6


def test_empty_overviews_are_skipped(tmp_path: Path) -> None:
    values = np.full((1, 64, 64), -9999.0)
    values[0, 31, 31] = 5.0  # the overview takes another pixel
    path = write_raster(tmp_path / "a.tif", width=64, height=64, values=values, overviews=[8])
    statistics = measure_file(path, OVERVIEW)
    assert (statistics.overview, statistics.bands[0].valid, statistics.bands[0].mean) == (
        None,
        1,
        5.0,
    )


def test_progress_grows_to_its_total(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=300, height=300, count=20, nodata=None)
    updates: list[PixelProgress] = []
    measure_file(path, EXACT, updates.append)
    assert [update.done for update in updates] == sorted({update.done for update in updates})
    assert {update.total for update in updates} == {updates[-1].done} == {2 * 20 * 300 * 300}


def test_a_broken_block_rejects_the_file(tmp_path: Path) -> None:
    values = random_values("float32", (1, 64, 64))
    path = write_raster(
        tmp_path / "a.tif", width=64, height=64, values=values, compress="deflate", tiled=True,
        blockxsize=16, blockysize=16,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="cannot be read"):
        measure_file(path)
    (outcome,) = read_all([find_file(path, [tmp_path])], OVERVIEW)
    assert isinstance(outcome, Rejection)
    assert outcome.code == "unreadable"


def test_a_file_that_changed_since_it_was_described_is_changing(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    file = find_file(path, [tmp_path])
    raster = read(file)
    write_raster(path, width=11)
    with pytest.raises(FileChanged):
        measure(file, raster, EXACT)


@needs_gdal
@needs_corpus
def test_statistics_are_those_of_gdalinfo_over_the_corpus() -> None:
    files = [path for path in CORPUS.rglob("*.[tT][iI][fF]") if path.stat().st_size < 300_000]
    locations = [literal_location(path) for path in files]
    options = replace(EXACT, budget=Budget(statistics_pixels=300_000))
    compared = 0
    for outcome in read_all(list_files(locations, [CORPUS]), options):
        # Old versions of gdalinfo count masked pixels too.
        if isinstance(outcome, RasterFile) and outcome.statistics and not outcome.layout.mask:
            path = unquote(outcome.uri.removeprefix("file://"))
            compared += compare_with_gdalinfo(path, outcome.statistics)
    assert compared > 20


def compare_with_gdalinfo(path: str, statistics: Statistics) -> int:
    """Compare statistics with gdalinfo, which skips bands without valid pixels; return the number of bands."""
    command = ["gdalinfo", "-json", "-stats", "--config", "GDAL_PAM_ENABLED", "NO", path]
    done = subprocess.run(command, capture_output=True, check=False)
    bands = json.loads(done.stdout)["bands"]
    compared = 0
    for band, ours in zip(bands, statistics.bands, strict=True):
        metadata = band.get("metadata", {}).get("", {})
        if "STATISTICS_MEAN" not in metadata or "inf" in str(metadata):
            continue
        expected = [
            float(metadata[f"STATISTICS_{name}"])
            for name in ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV")
        ]
        figures = [ours.minimum, ours.maximum, ours.mean, ours.standard_deviation]
        assert figures == pytest.approx(expected, rel=1e-6, abs=1e-6), path
        compared += 1
    return compared


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file with 144 MB of pixels."""
    path = tmp_path_factory.mktemp("large") / "large.tif"
    side = 6000
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=1, dtype="float32",
        crs="EPSG:28992", transform=RD_TRANSFORM, compress="lzw",
        tiled=True, blockxsize=512, blockysize=512,
    ) as dataset:  # fmt: skip
        dataset.write(np.broadcast_to(np.arange(side, dtype="f4") // 60, (side, side)), 1)
    return path


RUN_AND_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command and prints how many kB its largest process took."""


def test_a_large_raster_shows_its_progress_and_takes_little_memory(large: Path) -> None:
    inspect = [*RASTERSOURCES, "inspect", "--json", "--stats", large]
    terminal, program_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", RUN_AND_MEASURE, *inspect], start_new_session=True,
        stdout=subprocess.PIPE, stderr=program_end, env=environment(TERM="xterm"),
    ) as process:  # fmt: skip
        os.close(program_end)
        pause_reading(process, large)
        printed = read_terminal(terminal)
        assert process.stdout
        line, kilobytes = process.stdout.read().splitlines()
    os.close(terminal)
    (band,) = json.loads(line)["statistics"]["bands"]
    assert (band["min"], band["max"], band["mean"]) == (0, 99, pytest.approx(49.5))
    assert "large.tif" in printed
    assert int(kilobytes) < 220_000


def pause_reading(command: subprocess.Popen[bytes], path: Path) -> None:
    """Pause the processes that read a file until a progress bar is due, even on the fastest machine."""
    while command.poll() is None and not is_open_in_session(path, command.pid):
        time.sleep(0.001)
    os.killpg(command.pid, signal.SIGSTOP)
    time.sleep(SECONDS_UNTIL_BARS + 0.5)
    os.killpg(command.pid, signal.SIGCONT)


def is_open_in_session(path: Path, session: int) -> bool:
    """Return whether a process of the session has the file open."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            opened = (process / "fd").iterdir()
            if os.getsid(int(process.name)) == session and path in map(Path.readlink, opened):
                return True
    return False
