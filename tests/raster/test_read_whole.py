"""Our verdict from the header whether a file is whole agrees with GDAL, which reads all pixels."""

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from pipeline.errors import RasterError, Truncated, Unreadable
from pipeline.raster import RasterFile
from pipeline.raster.budget import Budget
from pipeline.raster.file_access import open_local_file
from pipeline.raster.statistics.windows import block_grid
from pipeline.raster.tiff import read_directories
from pipeline.storage import find_file
from tests.support.factory import read_path, write_raster
from tests.support.handmade_tiff import HandmadeTiff, make_pixels, make_tiff

LAYOUTS = [
    (compress, tiled, big)
    for compress in ("none", "lzw", "deflate", "packbits")
    for tiled in (False, True)
    for big in (False, True)
]


@contextmanager
def collect_gdal_warnings() -> Iterator[list[str]]:
    gdal_warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: gdal_warnings.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("rasterio._env")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield gdal_warnings
    finally:
        logger.removeHandler(handler)


def read_by_gdal(path: Path) -> tuple[Any, list[str]]:
    """Return all pixels, None where GDAL fails, and its warnings."""
    with collect_gdal_warnings() as gdal_warnings:
        try:
            with rasterio.open(path, driver="GTiff") as dataset:
                return dataset.read(), gdal_warnings
        except RasterioError:
            return None, gdal_warnings


def verdict(path: Path) -> str:
    """Return `registered`, or the code of the rejection."""
    try:
        read_path(path)
    except RasterError as error:
        return error.code
    return "registered"


def warning_codes(raster: RasterFile) -> list[str]:
    return [warning.code for warning in raster.warnings]


def assert_as_gdal(path: Path, pixels: Any) -> None:
    """Assert that a file is registered if GDAL reads it without a warning, and rejected if GDAL fails."""
    gdal_pixels, gdal_warnings = read_by_gdal(path)
    ours = verdict(path)
    if gdal_pixels is None:
        assert ours in ("truncated", "unreadable", "not_a_geotiff", "empty_file"), path.stat()
    elif not gdal_warnings:
        assert (gdal_pixels == pixels).all()
        assert ours == "registered", path.stat()


@pytest.mark.parametrize(("compress", "tiled", "big"), LAYOUTS)
@pytest.mark.parametrize("header_last", [False, True])
def test_a_cut_file_is_registered_only_if_gdal_reads_all_pixels(
    tmp_path: Path, compress: str, tiled: bool, big: bool, header_last: bool
) -> None:
    image = make_tiff(compress, tiled)
    image.big, image.header_last = big, header_last
    whole = image.data()
    sizes = {*range(0, len(whole), len(whole) // 20), *range(len(whole) - 12, len(whole) + 1)}
    for size in sorted(sizes):
        path = tmp_path / "a.tif"
        path.write_bytes(whole[:size])
        assert_as_gdal(path, make_pixels())
    assert verdict(path) == "registered"


@pytest.mark.parametrize(
    "layout",
    [{}, {"interleave": "band"}, {"nbits": 1}, {"nbits": 12, "dtype": "uint16"}, {"sparse_ok": True},
     {"compress": "jpeg", "photometric": "ycbcr"}, {"compress": "zstd", "predictor": 2}],
    ids=str,
)  # fmt: skip
def test_a_cut_file_of_gdal_is_registered_only_if_gdal_reads_all_pixels(
    tmp_path: Path, layout: dict[str, Any]
) -> None:
    pixels = (make_pixels((3, 70, 90)) > 120).astype("uint8")
    options = {"dtype": "uint8", "nodata": None, "compress": "none", **layout}
    path = write_raster(tmp_path / "a.tif", width=90, height=70, count=3, values=pixels, **options)
    original, _ = read_by_gdal(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), len(whole) // 30), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:size])
        assert_as_gdal(path, original)


@pytest.mark.parametrize(("compress", "tiled", "big"), LAYOUTS)
@pytest.mark.parametrize("extra", [-1, 1, 2000, 10**9])
def test_a_wrong_length_of_the_last_block_is_judged_as_in_gdal(
    tmp_path: Path, compress: str, tiled: bool, big: bool, extra: int
) -> None:
    image = make_tiff(compress, tiled)
    image.big = big
    image.counts = [len(block) for block in image.blocks]
    image.counts[-1] += extra
    path = image.write(tmp_path / "a.tif")
    gdal_pixels, _ = read_by_gdal(path)
    if extra > 0:
        assert (verdict(path) == "registered") == (gdal_pixels is not None)
        assert (gdal_pixels is not None) == (compress == "none" and not tiled)
    else:  # the block is there, and no header tells how much of a compressed block is missing
        assert verdict(path) == "registered"


@pytest.mark.parametrize("extra", [1, 2000])
def test_a_last_strip_with_the_length_of_a_whole_strip_is_registered(
    tmp_path: Path, extra: int
) -> None:
    image = make_tiff()
    image.counts = [3000, 3000, 3000, 1000 + extra]
    assert warning_codes(read_path(image.write(tmp_path / "a.tif"))) == []
    image.blocks[-1] = image.blocks[-1][:-1]
    with pytest.raises(Truncated, match="beyond the end"):
        read_path(image.write(tmp_path / "b.tif"))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_missing_pixels_are_detected_although_a_length_hides_them(
    tmp_path: Path, bands: int, interleave: str
) -> None:
    pixels = make_pixels((bands, 100, 100))
    image = make_tiff(pixels=pixels, interleave=interleave)
    last = len(image.blocks[-1]) // 2
    image.blocks[-1] = image.blocks[-1][:last]
    path = image.write(tmp_path / "a.tif")
    assert read_by_gdal(path)[0] is None
    with pytest.raises(Truncated):
        read_path(path)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pointer", [b"", b"\0", b"\0\0\0"])
def test_the_last_directory_may_lack_its_pointer_to_the_next(
    tmp_path: Path, big: bool, order: str, pointer: bytes
) -> None:
    image = make_tiff()
    image.big, image.order, image.header_last, image.next_directory = big, order, True, pointer
    path = image.write(tmp_path / "a.tif")
    gdal_pixels, gdal_warnings = read_by_gdal(path)
    assert (gdal_pixels == make_pixels()).all()
    assert gdal_warnings == []
    assert warning_codes(read_path(path)) == []


def test_a_partial_pointer_to_a_further_image_is_truncated(tmp_path: Path) -> None:
    image = make_tiff()
    image.header_last, image.next_directory = True, b"\0\1\0"
    with pytest.raises(Truncated):
        read_path(image.write(tmp_path / "a.tif"))


OPTIONAL_TAGS = {270: 2, 305: 2, 700: 1, 34675: 7, 50_000: 7, 65_000: 7}
REQUIRED_TAGS = {258: 3, 306: 2, 338: 3, 33550: 12, 34735: 3, 42112: 2, 42113: 2, 50844: 12}


def write_lost_tag(path: Path, tag: int, kind: int) -> Path:
    """Write a file with the values of one tag beyond its end."""
    image = make_tiff(pixels=make_pixels((3, 100, 100)))
    image.tags[tag] = (kind, b"x" * 40 if kind in (1, 2, 7) else (1,) * 40)
    data = bytearray(image.data())
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for offset in range(directory + 2, directory + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, offset)[0] == tag:
            struct.pack_into("<I", data, offset + 8, len(data) - 3)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("tag", OPTIONAL_TAGS)
def test_a_tag_that_nothing_depends_on_may_lie_beyond_the_end(tmp_path: Path, tag: int) -> None:
    path = write_lost_tag(tmp_path / "a.tif", tag, OPTIONAL_TAGS[tag])
    assert (read_by_gdal(path)[0] == make_pixels((3, 100, 100))).all()
    raster = read_path(path)
    assert "tag_beyond_end" in warning_codes(raster)
    assert any(str(tag) in warning.message for warning in raster.warnings)


@pytest.mark.parametrize("tag", REQUIRED_TAGS)
def test_a_tag_that_something_depends_on_may_not_lie_beyond_the_end(
    tmp_path: Path, tag: int
) -> None:
    with pytest.raises(Truncated, match=f"tag {tag}"):
        read_path(write_lost_tag(tmp_path / "a.tif", tag, REQUIRED_TAGS[tag]))


@pytest.mark.parametrize("counts", [[], [3000, 3000, 3000]])
@pytest.mark.parametrize("compress", ["none", "lzw"])
@pytest.mark.parametrize("tiled", [False, True])
def test_a_file_without_block_lengths_is_unreadable(
    tmp_path: Path, counts: list[int], compress: str, tiled: bool
) -> None:
    image = make_tiff(compress, tiled)
    image.counts = counts
    with pytest.raises(Unreadable, match=f"{'Tile' if tiled else 'Strip'}ByteCounts"):
        read_path(image.write(tmp_path / "a.tif"))


def make_one_strip(compress: str, counts: list[int]) -> HandmadeTiff:
    image = make_tiff(compress, blockysize=100)
    image.counts = counts
    return image


@pytest.mark.parametrize("counts", [[], [0], [17], [10**6]])
def test_libtiff_computes_the_length_of_one_uncompressed_strip(
    tmp_path: Path, counts: list[int]
) -> None:
    path = make_one_strip("none", counts).write(tmp_path / "a.tif")
    gdal_pixels, gdal_warnings = read_by_gdal(path)
    assert (gdal_pixels == make_pixels()).all()
    assert gdal_warnings
    assert warning_codes(read_path(path)) == ["gdal_warning"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(Truncated):
        read_path(path)


@pytest.mark.parametrize("counts", [[], [0]])
def test_one_compressed_strip_without_a_length_is_unreadable(
    tmp_path: Path, counts: list[int]
) -> None:
    with pytest.raises(Unreadable, match="StripByteCounts"):
        read_path(make_one_strip("lzw", counts).write(tmp_path / "a.tif"))


def test_a_strip_with_a_computed_length_is_not_a_hole_for_statistics(tmp_path: Path) -> None:
    path = make_one_strip("none", [0]).write(tmp_path / "a.tif")
    with open_local_file(find_file(path, [tmp_path])) as opened:
        main = read_directories(opened.reader, Budget())[0]
        assert block_grid(main, skip_holes=True).pixels() == 10_000


def test_a_hole_of_a_file_of_one_strip_stays_a_hole(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", SPARSE_OK=True)
    assert (read_by_gdal(path)[0] == np.float32(-9999)).all()
    assert verdict(path) == "registered"
