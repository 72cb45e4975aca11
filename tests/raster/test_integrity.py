import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile

from pipeline.errors import (
    EmptyFile,
    MultipleImages,
    NotAGeoTIFF,
    OverBudget,
    RasterError,
    Truncated,
    Unreadable,
)
from pipeline.raster import Budget, ReadOptions
from tests.support.factory import place_tags, read_path, write_raster, write_tagged


def options_with_budget(**budget: float) -> ReadOptions:
    return ReadOptions(budget=Budget(**budget))  # type: ignore[arg-type]


def truncate(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def make_tiff(*directories: tuple[int, list[tuple[int, int, int, int]]], size: int = 0) -> bytes:
    """Return a little-endian classic TIFF of directories, each with the next offset and its short tags."""
    data = struct.pack("<2sHI", b"II", 42, 8)
    for following, entries in directories:
        data += struct.pack("<H", len(entries))
        data += b"".join(struct.pack("<HHII", *entry) for entry in entries)
        data += struct.pack("<I", following)
    return data.ljust(size, b"\0")


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64}])
def test_a_part_of_a_file_is_rejected_although_gdal_opens_it(
    tmp_path: Path, share: float, layout: dict[str, Any]
) -> None:
    path = write_raster(tmp_path / "a.tif", width=256, height=256, **layout)
    truncate(path, int(path.stat().st_size * share))
    with rasterio.open(path) as dataset:
        assert dataset.width == 256
    with pytest.raises(Truncated, match="beyond the end"):
        read_path(path)


def test_the_first_300_bytes_of_a_file_are_truncated(tmp_path: Path) -> None:
    with pytest.raises(Truncated):
        read_path(truncate(write_raster(tmp_path / "a.tif", width=256, height=256), 300))


@pytest.mark.parametrize("big", ["YES", "NO"])
@pytest.mark.parametrize("endianness", ["LITTLE", "BIG"])
def test_every_cut_is_detected_in_classic_and_big_tiff_of_both_byte_orders(
    tmp_path: Path, big: str, endianness: str
) -> None:
    path = write_raster(tmp_path / "a.tif", width=8, height=8, BIGTIFF=big, ENDIANNESS=endianness)
    whole = path.read_bytes()
    assert read_path(path).width == 8
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(RasterError):
            read_path(path)


def test_a_cut_overview_is_detected(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=256, height=256, overviews=(2, 4))
    truncate(path, path.stat().st_size - 1)
    with pytest.raises(Truncated):
        read_path(path)


def test_a_file_without_bytes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    with pytest.raises(EmptyFile):
        read_path(tmp_path / "a.tif")


@pytest.mark.parametrize("content", [b"\0", b"hello", b"PK\3\4" + bytes(99), b"GIF89a", b"II*"])
def test_other_formats_are_not_a_geotiff(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(NotAGeoTIFF):
        read_path(tmp_path / "a.tif")


def test_a_header_without_an_image_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 0))
    with pytest.raises(Unreadable, match="no image"):
        read_path(tmp_path / "a.tif")


def test_a_cycle_of_directories_is_rejected(tmp_path: Path) -> None:
    sides = [(256, 3, 1, 1), (257, 3, 1, 1)]
    (tmp_path / "a.tif").write_bytes(make_tiff((8, sides), size=100))
    with pytest.raises(Unreadable, match="loop"):
        read_path(tmp_path / "a.tif")


def test_thousands_of_directories_are_over_the_budget(tmp_path: Path) -> None:
    entries = [(254, 4, 1, 1), (256, 3, 1, 1), (257, 3, 1, 1)]
    step = 2 + 12 * len(entries) + 4
    chain = [(8 + step * (index + 1), entries) for index in range(5000)]
    (tmp_path / "a.tif").write_bytes(make_tiff(*chain, size=8 + step * 5001))
    with pytest.raises(OverBudget, match="1000 images"):
        read_path(tmp_path / "a.tif")


def test_a_gigabyte_in_one_tag_is_over_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(make_tiff((0, [(256, 3, 1, 1), (257, 3, 1, 1), (270, 2, 2**30, 64)])))
    with path.open("r+b") as stream:
        stream.truncate(2**30 + 64)
    with pytest.raises(OverBudget, match="tag 270"):
        read_path(path)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"pixels": 99}, "pixels"),
        ({"bands": 2}, "bands"),
        ({"ifds": 1}, "images"),
        ({"tag_bytes": 40}, "tag"),
        ({"header_bytes": 100}, "header"),
    ],
)
def test_a_file_beyond_any_budget_is_rejected(
    tmp_path: Path, budget: dict[str, float], message: str
) -> None:
    path = write_raster(tmp_path / "a.tif", count=3, overviews=(2,), tags={"a": "b" * 50})
    assert read_path(path).count == 3
    with pytest.raises(OverBudget, match=message):
        read_path(path, options_with_budget(**budget))


def test_holes_of_a_sparse_file_are_not_missing(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=4096, height=4096, tiled=True, SPARSE_OK=True)
    assert path.stat().st_size < 10_000
    assert read_path(path).width == 4096


def test_an_enormous_sparse_file_takes_little_time(tmp_path: Path) -> None:
    side = 10**6
    path = write_raster(
        tmp_path / "a.tif", width=side, height=side, dtype="uint8", nodata=0, tiled=True,
        SPARSE_OK=True, BIGTIFF="YES", transform=rasterio.Affine(0.1, 0, 155_000, 0, -0.1, 463_000),
    )  # fmt: skip
    started = time.process_time()
    with pytest.raises(OverBudget, match="header"):
        read_path(path)
    assert time.process_time() - started < 0.5
    assert read_path(path, options_with_budget(header_bytes=2**29)).width == side
    assert time.process_time() - started < 5.0


def test_several_full_size_images_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(2):
            writer.write(np.zeros((10, 10), "u1"), extratags=place_tags(), metadata=None)
    with pytest.raises(MultipleImages):
        read_path(path)


@pytest.mark.parametrize("flagged", [True, False])
def test_overviews_and_masks_are_not_separate_images(tmp_path: Path, flagged: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((10, 20), "u1"), extratags=place_tags(), metadata=None)
        writer.write(np.zeros((5, 10), "u1"), metadata=None, subfiletype=1 if flagged else 0)
        writer.write(np.zeros((10, 20), bool), metadata=None, subfiletype=4)
    raster = read_path(path)
    assert (raster.layout.overviews, raster.layout.mask) == ((2,), "internal")


def test_a_smaller_image_of_other_proportions_is_a_separate_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((100, 100), "u1"), extratags=place_tags(), metadata=None)
        writer.write(np.zeros((20, 50), "u1"), metadata=None)
    with pytest.raises(MultipleImages):
        read_path(path)


def test_fewer_blocks_than_the_image_has_are_truncated(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "a.tif", "u1", rowsperstrip=1)
    with tifffile.TiffFile(path, mode="r+") as tiff_file:
        tiff_file.pages.first.tags["ImageLength"].overwrite(20)
    with pytest.raises(Truncated, match="10 of 20"):
        read_path(path)


def test_offsets_near_the_largest_number_do_not_overflow(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", BIGTIFF="YES")
    with tifffile.TiffFile(path, mode="r+") as tiff_file:
        tags = tiff_file.pages.first.tags
        tags["StripOffsets"].overwrite(2**64 - 8, dtype="Q")
    with pytest.raises(Truncated):
        read_path(path)
