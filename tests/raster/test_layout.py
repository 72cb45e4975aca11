from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.shutil import copy

from tests.support.factory import read_path, write_raster


def write_cog(path: Path, size: int = 1024, **options: Any) -> Path:
    """Write a file with GDAL's own COG driver."""
    source = write_raster(path.with_name("source.tif"), width=size, height=size)
    copy(source, path, driver="COG", **options)
    return path


@pytest.mark.parametrize("options", [{}, {"BIGTIFF": "YES"}, {"OVERVIEWS": "NONE"}])
def test_a_cog_written_by_gdal_is_a_cog(tmp_path: Path, options: dict[str, Any]) -> None:
    layout = read_path(write_cog(tmp_path / "a.tif", BLOCKSIZE=256, **options)).layout
    assert (layout.cog, layout.not_cog_because) == (True, ())
    assert (layout.block_width, layout.block_height) == (256, 256)


def test_a_small_raster_in_strips_is_a_cog(tmp_path: Path) -> None:
    assert read_path(write_raster(tmp_path / "a.tif")).layout.cog


def test_a_large_raster_in_strips_is_not_a_cog(tmp_path: Path) -> None:
    layout = read_path(write_raster(tmp_path / "a.tif", width=600, height=600)).layout
    assert layout.not_cog_because == ("its pixels are stored in strips, not in tiles",)


def test_a_raster_with_overviews_added_later_is_not_a_cog(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=1024, height=1024, tiled=True, overviews=(2, 4))
    layout = read_path(path).layout
    assert layout.overviews == (2, 4)
    assert not layout.cog


def test_a_raster_with_overviews_in_a_sidecar_is_not_a_cog(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=64, height=64)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    raster = read_path(path)
    assert raster.layout.overviews == (2, 4)
    assert raster.sidecars == ("a.tif.ovr",)
    assert raster.size == path.stat().st_size
    assert raster.layout.not_cog_because == ("its overviews are in another file",)


def test_a_broken_sidecar_of_overviews_gives_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.ovr").write_bytes(b"II*\0")
    raster = read_path(path)
    assert "broken_overviews" in [warning.code for warning in raster.warnings]


@pytest.mark.parametrize(
    ("option", "name"),
    [("lzw", "LZW"), ("deflate", "DEFLATE"), ("zstd", "ZSTD"), ("packbits", "PACKBITS"),
     ("lerc", "LERC"), ("none", None)],
)  # fmt: skip
def test_compression_has_the_name_of_gdal(tmp_path: Path, option: str, name: str | None) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", compress=option))
    assert raster.layout.compression == name


def test_strips_are_blocks_as_wide_as_the_raster(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=20, height=30, blockysize=7)
    with rasterio.open(path) as dataset:
        assert dataset.block_shapes == [(7, 20)]
    layout = read_path(path).layout
    assert (layout.block_width, layout.block_height) == (20, 7)


def test_an_internal_mask_is_reported(tmp_path: Path) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", nodata=None, mask=True))
    assert (raster.layout.mask, raster.fill_value) == ("internal", None)
    assert "mask" in [warning.code for warning in raster.warnings]


def test_a_mask_in_a_sidecar_is_reported(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "a.tif.msk", dtype="uint8", nodata=None)
    assert read_path(path).layout.mask == "sidecar"


def test_an_alpha_band_is_reported(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", count=4, dtype="uint8", nodata=None, photometric="RGB", ALPHA="YES"
    )
    assert read_path(path).layout.mask == "alpha"


def test_a_raster_without_a_mask_reports_none(tmp_path: Path) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", count=2, nodata=0))
    assert raster.layout.mask is None
