"""Our records compared with gdalinfo and rasterio, on real and on generated files."""

import json
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RasterError
from pipeline.raster import RasterFile
from tests.support.commands import CORPUS
from tests.support.factory import read_path, write_raster
from tests.support.needs import needs_corpus, needs_gdal

GDALINFO = shutil.which("gdalinfo")
GDAL_TYPES = {
    "u1": "Byte", "i1": "Int8", "u2": "UInt16", "i2": "Int16", "u4": "UInt32", "i4": "Int32",
    "u8": "UInt64", "i8": "Int64", "f2": "Float32", "f4": "Float32", "f8": "Float64",
    "c8": "CFloat32", "c16": "CFloat64",
}  # fmt: skip


def list_corpus() -> list[Any]:
    """Return the paths of the corpus as parameters of a test; without a corpus, one parameter that is skipped."""
    paths = sorted(CORPUS.glob("*/*.[tT][iI][fF]*"))
    files = [path for path in paths if path.suffix.lower() in (".tif", ".tiff")]
    return files or [pytest.param(CORPUS, marks=needs_corpus)]


def read_or_none(path: Path) -> RasterFile | None:
    try:
        return read_path(path)
    except RasterError:
        return None


def run_gdalinfo(path: Path) -> dict[str, Any]:
    assert GDALINFO is not None
    done = subprocess.run(
        [GDALINFO, "-json", "-nofl", "-noct", "-norat", path],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def assert_as_gdalinfo(raster: RasterFile, info: dict[str, Any]) -> None:
    assert [raster.width, raster.height] == info["size"]
    assert raster.count == len(info["bands"])
    assert info["bands"][0]["type"] in (GDAL_TYPES[raster.dtype], "Byte")
    if "geoTransform" in info:
        transform = raster.georeference.transform
        assert transform.to_gdal() == pytest.approx(info["geoTransform"], rel=1e-9)
    structure = info["metadata"].get("IMAGE_STRUCTURE", {})
    if structure.get("LAYOUT") == "COG":
        assert raster.layout.cog
    assert_same_nodata(raster.fill_value, info["bands"][0].get("noDataValue"))
    assert len(raster.layout.overviews) == len(info["bands"][0].get("overviews", []))


def assert_same_nodata(ours: str | None, theirs: Any) -> None:
    if theirs is None:  # GDAL drops values that are out of range
        return
    value = float(theirs)
    assert ours is not None
    assert float(ours) == pytest.approx(value, rel=1e-7, nan_ok=True)


@needs_gdal
@pytest.mark.parametrize("path", list_corpus(), ids=lambda path: path.name)
def test_gdalinfo_agrees_on_the_corpus(path: Path) -> None:
    raster = read_or_none(path)
    if raster is not None:
        assert_as_gdalinfo(raster, run_gdalinfo(path))


@pytest.mark.parametrize("path", list_corpus(), ids=lambda path: path.name)
def test_the_crs_cache_changes_no_record(path: Path) -> None:
    first = read_or_none(path)
    assert read_or_none(path) == first


@pytest.mark.parametrize("path", list_corpus(), ids=lambda path: path.name)
def test_rasterio_agrees_on_the_corpus(path: Path) -> None:
    raster = read_or_none(path)
    if raster is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as dataset:
            assert_as_rasterio(raster, dataset)


def assert_as_rasterio(raster: RasterFile, dataset: rasterio.DatasetReader) -> None:
    assert (raster.width, raster.height, raster.count) == (
        dataset.width, dataset.height, dataset.count,
    )  # fmt: skip
    assert raster.dtype in ("f2", np.dtype(dataset.dtypes[0]).str[1:])
    assert raster.area_or_point == dataset.tags().get("AREA_OR_POINT", "Area")
    if not dataset.gcps[0]:
        assert raster.georeference.transform == dataset.transform
    assert list(raster.layout.overviews) == dataset.overviews(1)
    assert [band.description for band in raster.bands] == list(dataset.descriptions)
    height, width = dataset.block_shapes[0]
    assert raster.layout.block_width == width
    # GDAL splits very tall strips into lines internally.
    assert raster.layout.block_height == height or height == 1
    for band, nodata in zip(raster.bands, dataset.nodatavals, strict=True):
        assert_same_nodata(band.nodata, nodata)


CRSES = {
    "EPSG:28992": (10_000.0, 300_000.0, 280_000.0, 620_000.0),
    "EPSG:4326": (-170.0, -60.0, 170.0, 60.0),
    "EPSG:32631": (200_000.0, 100_000.0, 800_000.0, 9_000_000.0),
    "EPSG:3857": (-1.9e7, -1.5e7, 1.9e7, 1.5e7),
    "EPSG:3035": (2_600_000.0, 1_500_000.0, 6_500_000.0, 5_000_000.0),
}
"""Boxes well inside the area of use of each CRS: west, south, east, north."""

NODATA = {
    "uint8": st.integers(0, 255),
    "int8": st.integers(-128, 127),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
}


@st.composite
def rasters(draw: st.DrawFn) -> dict[str, Any]:
    crs = draw(st.sampled_from(sorted(CRSES)))
    west, south, east, north = CRSES[crs]
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    x = draw(st.floats(west, (west + east) / 2))
    y = draw(st.floats((south + north) / 2, north))
    pixel = draw(st.floats(1e-4, 1.0)) * (north - south) / 100
    up = draw(st.booleans())
    dtype = draw(st.sampled_from(sorted(NODATA)))
    tiling = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    return {
        "width": width,
        "height": height,
        "count": draw(st.integers(1, 3)),
        "dtype": dtype,
        "nodata": draw(st.none() | NODATA[dtype]),
        "crs": crs,
        "transform": Affine(pixel, 0, x, 0, pixel if up else -pixel, y - up * pixel * height),
        **draw(st.sampled_from([{}, tiling])),
        "compress": draw(st.sampled_from(["none", "deflate", "lzw"])),
        "BIGTIFF": draw(st.sampled_from(["YES", "NO"])),
        "ENDIANNESS": draw(st.sampled_from(["LITTLE", "BIG"])),
        "tags": {"AREA_OR_POINT": draw(st.sampled_from(["Area", "Point"]))},
    }


@settings(max_examples=60, deadline=None)
@given(rasters())
def test_rasterio_agrees_on_generated_rasters(options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_raster(Path(folder) / "a.tif", **options)
        raster = read_path(path)
        assert read_path(path) == raster
        with rasterio.open(path) as dataset:
            assert_as_rasterio(raster, dataset)
    assert raster.georeference.projection == options["crs"]
    assert raster.georeference.transform.almost_equals(options["transform"], 1e-6)
    assert raster.area_or_point == options["tags"]["AREA_OR_POINT"]
    nodata = options["nodata"]
    assert (raster.fill_value is None) == (nodata is None)
    if isinstance(nodata, int):
        assert raster.fill_value == str(nodata)
    elif nodata is not None:
        assert float(str(raster.fill_value)) == pytest.approx(nodata, rel=0, nan_ok=True)


@needs_gdal
@settings(max_examples=15, deadline=None)
@given(rasters())
def test_gdalinfo_agrees_on_generated_rasters(options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_raster(Path(folder) / "a.tif", **options)
        assert_as_gdalinfo(read_path(path), run_gdalinfo(path))
