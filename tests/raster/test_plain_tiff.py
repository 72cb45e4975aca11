"""Files that we describe by their tags get the record that GDAL gives them, field by field."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy as copy_raster

from pipeline.errors import RasterError
from pipeline.raster import RasterFile
from pipeline.raster.crs_cache import CRSCache
from pipeline.raster.file_access import OpenFile
from pipeline.raster.open_dataset import open_dataset
from pipeline.raster.plain_tiff import PlainFiles
from tests.raster.test_differential import list_corpus
from tests.support.factory import read_path, write_raster
from tests.support.fuzz import mutate, seeds

Outcome = RasterFile | tuple[str, str]
FEET = "+proj=lcc +lat_1=41 +lat_2=40.6 +lat_0=40.1 +lon_0=-74 +x_0=300000 +y_0=0 +datum=NAD83 +units=us-ft"


@pytest.fixture
def opened_by_gdal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files that GDAL opens; no file is in the caches at the start."""
    clear_caches(monkeypatch)
    paths: list[Path] = []

    def open_and_list(open_file: OpenFile, **options: Any) -> Any:
        paths.append(open_file.stored.path)
        return open_dataset(open_file, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.raster.read.open_dataset", open_and_list)
        yield paths


def clear_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.raster.read._CRS_CACHE", CRSCache())
    monkeypatch.setattr("pipeline.raster.read._PLAIN_FILES", PlainFiles())


def read_outcome(path: Path) -> Outcome:
    try:
        return read_path(path)
    except RasterError as error:
        return error.code, error.message


def assert_same_by_gdal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that a file gets the same record with empty caches, so that GDAL opens it."""
    ours = read_outcome(path)
    with monkeypatch.context() as patch:
        clear_caches(patch)
        assert read_outcome(path) == ours


VARIANTS: dict[str, dict[str, Any]] = {
    **{dtype: {"dtype": dtype, "nodata": 0} for dtype in
       ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float64")},
    "complex64": {"dtype": "complex64", "nodata": None},
    "strips": {"blockysize": 7},
    "strips, deflate": {"compress": "deflate", "blockysize": 7},
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw", "predictor": 2},
    "zstd": {"compress": "zstd", "tiled": True, "blockxsize": 16, "blockysize": 16},
    "packbits": {"compress": "packbits"},
    "big": {"BIGTIFF": "YES"},
    "big-endian": {"ENDIANNESS": "BIG", "count": 3, "dtype": "int16"},
    "big, big-endian": {"BIGTIFF": "YES", "ENDIANNESS": "BIG", "dtype": "uint8", "nodata": 7},
    "by band": {"count": 3, "interleave": "band"},
    "by pixel": {"count": 3, "interleave": "pixel"},
    "colours": {"count": 3, "dtype": "uint8", "photometric": "RGB", "nodata": None},
    "alpha": {"count": 4, "dtype": "uint8", "photometric": "RGB", "ALPHA": "YES", "nodata": None},
    "sparse": {"SPARSE_OK": "TRUE", "compress": "deflate", "nodata": None},
    "overviews": {"overviews": (2, 4), "width": 64, "height": 48},
    "mask": {"mask": True, "nodata": None, "compress": "deflate"},
    "mask and overviews": {"mask": True, "overviews": (2,), "width": 64, "height": 64},
    "time": {"tags": {"TIFFTAG_DATETIME": "2024:02:03 04:05:06", "TIFFTAG_SOFTWARE": "a program"}},
    "metadata": {"tags": {"STATION": "a b", "DATE": "2020-01-02", "TIME": "03:04:05"}},
    "times of bands": {"count": 2, "band_tags": [{"TIME": f"2020-01-0{n}T00:00"} for n in (1, 2)]},
    "descriptions": {"count": 2, "descriptions": ["water depth", "2020-01-01T00:00:00Z"]},
    "netCDF": {"tags": {"time#units": "days since 2000-01-01", "time#calendar": "standard"},
               "band_tags": [{"NETCDF_DIM_time": "12.5"}]},
    "acquired": {"imagery": {"ACQUISITIONDATETIME": "2024-01-01 00:00:00"}},
    "point": {"tags": {"AREA_OR_POINT": "Point"}},
    "geographic": {"crs": "EPSG:4326", "transform": Affine(0.1, 0, 5, 0, -0.1, 52)},
    "compound": {"crs": "EPSG:28992+5709"},
    "feet": {"crs": "EPSG:2263", "transform": Affine(10, 0, 980_000, 0, -10, 200_000)},
    "user-defined": {"crs": FEET, "transform": Affine(10, 0, 980_000, 0, -10, 200_000)},
    "no CRS": {"crs": None},
    "rotated": {"transform": Affine(10, 1, 155_000, 1, -10, 463_000)},
    "south up": {"transform": Affine(10, 0, 155_000, 0, 10, 463_000)},
    "nodata nan": {"nodata": float("nan")},
    "nodata beyond": {"dtype": "uint8", "nodata": None, "tags": {"NODATA_VALUES": "300"}},
}  # fmt: skip
NOT_PLAIN = {"acquired", "rotated", "south up", "nodata beyond"}
"""Variants that are not plain: other domains of metadata, no scale, reserved names."""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_second_file_of_a_kind_has_the_record_that_gdal_gives_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_by_gdal: list[Path]
) -> None:
    options = VARIANTS[name]
    first = write_raster(tmp_path / "first.tif", **options)
    size: dict[str, Any] = (
        {"width": 48, "height": 80} if "overviews" in options else {"width": 23, "height": 31}
    )
    transform = options.get("transform", Affine(10, 0, 155_000, 0, -10, 463_000))
    other = {**options, **size, "transform": transform @ Affine.translation(3, 5)}
    second = write_raster(tmp_path / "second.tif", **other)
    read_outcome(first)
    opened_by_gdal.clear()
    read_outcome(second)
    assert bool(opened_by_gdal) == (name in NOT_PLAIN)
    assert_same_by_gdal(second, monkeypatch)


@pytest.mark.parametrize(
    "name", ["time", "metadata", "times of bands", "netCDF", "overviews", "point"]
)
def test_later_files_of_a_kind_differ_in_place_and_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_by_gdal: list[Path]
) -> None:
    for index in range(4):
        options = {
            **VARIANTS[name],
            "transform": Affine(10, 0, 155_000 + 70 * index, 0, -10, 463_000),
        }
        if name == "time":
            options["tags"] = {**options["tags"], "TIFFTAG_DATETIME": f"2024:02:03 04:05:0{index}"}
        path = write_raster(tmp_path / f"{index}.tif", **options)
        opened_by_gdal.clear()
        read_outcome(path)
        assert bool(opened_by_gdal) == (index == 0)
        with monkeypatch.context() as patch:
            assert_same_by_gdal(path, patch)


@pytest.mark.parametrize("path", list_corpus(), ids=lambda path: path.name)
def test_the_corpus_has_the_records_of_gdal(
    path: Path, monkeypatch: pytest.MonkeyPatch, opened_by_gdal: list[Path]
) -> None:
    read_outcome(path)
    assert opened_by_gdal or isinstance(read_outcome(path), tuple)
    assert_same_by_gdal(path, monkeypatch)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mutants_of_remembered_files_have_the_records_of_gdal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_by_gdal: list[Path]
) -> None:
    originals = seeds(tmp_path)
    path, plain_count = tmp_path / "mutant.tif", 0
    for data in originals:
        path.write_bytes(data)
        read_outcome(path)
    generator = random.Random(20240101)
    for _ in range(400):
        path.write_bytes(mutate(generator, originals))
        opened_by_gdal.clear()
        plain_count += isinstance(read_outcome(path), RasterFile) and not opened_by_gdal
        assert_same_by_gdal(path, monkeypatch)
    assert plain_count >= 20


def test_every_file_of_an_ordinary_folder_is_plain(
    tmp_path: Path, opened_by_gdal: list[Path]
) -> None:
    """COGs and others, with and without a time, in three types: the same kinds as in benchmarks/tiffs.py."""
    paths = [write_cog_or_tiles(tmp_path / f"{index}.tif", index) for index in range(60)]
    for path in paths[:30]:
        read_outcome(path)
    opened_by_gdal.clear()
    assert all(isinstance(read_outcome(path), RasterFile) for path in paths)
    assert opened_by_gdal == []


def write_cog_or_tiles(path: Path, index: int) -> Path:
    """Write a COG with one level of overviews for every fifth index, and tiles for others."""
    dtype, nodata = (("float32", -9999.0), ("uint8", 255), ("int16", -32768))[index % 3]
    size: dict[str, Any] = {"width": 140 + index, "height": 150 + index}
    tags = {"TIFFTAG_DATETIME": f"2024:01:02 03:04:{index:02}"} if index % 2 else None
    transform = Affine(5.0, 0.0, 15_000.0 + 50 * index, 0.0, -5.0, 320_000.0 + 50 * index)
    plain = write_raster(
        path, dtype=dtype, nodata=nodata, **size, tags=tags, transform=transform, compress="deflate",
        tiled=True, blockxsize=128, blockysize=128,
    )  # fmt: skip
    if index % 5 == 0:
        with MemoryFile(plain.read_bytes()) as memory, memory.open() as dataset:
            copy_raster(dataset, path, driver="COG", blocksize=128, compress="deflate")
    return path


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"tags": {"OVERVIEW_FILE": "other.tif"}}, id="a reserved name"),
        pytest.param({"tags": {"TITLE": "a < b & c"}}, id="text with escapes"),
        pytest.param({"tags": {"TITLE": "caf\u00e9"}}, id="text beyond ASCII"),
        pytest.param({"nodata": None}, id="other tags"),
        pytest.param({"dtype": "int16"}, id="another type"),
        pytest.param({"crs": "EPSG:32631"}, id="another CRS"),
        pytest.param({"compress": "zstd"}, id="another compression"),
        pytest.param({"BIGTIFF": "YES"}, id="a BigTIFF"),
    ],
)
def test_a_file_that_differs_in_kind_is_opened_by_gdal(
    change: dict[str, Any], tmp_path: Path, opened_by_gdal: list[Path]
) -> None:
    common: dict[str, Any] = {"tags": {"TITLE": "a title"}}
    read_outcome(write_raster(tmp_path / "first.tif", **common))
    opened_by_gdal.clear()
    read_outcome(write_raster(tmp_path / "second.tif", **{**common, **change}))
    assert opened_by_gdal


def test_values_that_change_nothing_keep_a_file_plain(
    tmp_path: Path, opened_by_gdal: list[Path]
) -> None:
    read_outcome(write_raster(tmp_path / "first.tif", tags={"TITLE": "a title"}))
    opened_by_gdal.clear()
    pixels = np.full((1, 10, 10), 3)
    second = write_raster(
        tmp_path / "b.tif", tags={"TITLE": "b", "X": "1"}, nodata=3, values=pixels
    )
    assert isinstance(read_outcome(second), RasterFile)
    assert opened_by_gdal == []
