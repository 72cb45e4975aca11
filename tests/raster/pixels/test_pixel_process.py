"""The pixel process reads every kind of file, fetches only the needed ranges of objects, and opens nothing else."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint

from pipeline.errors import CatalogueError, FileChanged, RasterError, TimedOut, Unreadable
from pipeline.raster import Budget, RasterFile
from pipeline.raster.pixels import client as client_module
from pipeline.raster.pixels.client import PixelProcess
from pipeline.raster.pixels.requests import Export, Picture, PixelFile, PixelLimits, Sample, Window
from pipeline.raster.read import read
from pipeline.storage import StoredFile, list_files, literal_location
from tests.support.factory import read_path, write_raster
from tests.support.s3 import Bucket

LIMITS = PixelLimits(20, 10**8)


@pytest.fixture(scope="module")
def process() -> Iterator[PixelProcess]:
    with closing(PixelProcess(Budget())) as process:
        yield process


@pytest.fixture(scope="module")
def shared_bucket_process() -> Iterator[PixelProcess]:
    with closing(PixelProcess(Budget())) as process:
        yield process


@pytest.fixture
def bucket_process(bucket: Bucket, shared_bucket_process: PixelProcess) -> PixelProcess:
    """A process that starts with the S3 server in its environment; tests with different buckets share it."""
    return shared_bucket_process


def pixel_file(raster: RasterFile, **fields: Any) -> PixelFile:
    values: dict[str, Any] = {
        "uri": raster.uri, "fingerprint": raster.fingerprint, "transform": tuple(raster.georeference.transform)[:6],
        "wkt": raster.georeference.crs_wkt, "width": raster.width, "height": raster.height, "dtype": raster.dtype,
        "nodata": tuple(band.nodata for band in raster.bands), "bands": tuple(range(1, raster.count + 1)),
        "roots": ("/", "s3://"),
    }  # fmt: skip
    return PixelFile(**{**values, **fields})


def window_of(raster: RasterFile, column: int, row: int, width: int, height: int) -> Window:
    """Return a window of whole pixels of a north-up raster."""
    corner = raster.georeference.transform @ Affine.translation(column, row)
    east, south = corner @ (width, height)
    return Window(corner.c, south, east, corner.f, width, height, None)


def export(process: PixelProcess, file: PixelFile, window: Window) -> NDArray[Any]:
    answer = process.ask(Export([file], window, None), LIMITS)
    with answer, rasterio.open(answer) as dataset:
        pixels: NDArray[Any] = dataset.read()
        return pixels


RANDOM = np.random.default_rng(7)
LAYOUTS: dict[str, dict[str, Any]] = {
    "strips of a row": {"blockysize": 1},
    "strips of 16 rows": {"blockysize": 16, "compress": "lzw", "predictor": 2},
    "one strip": {"blockysize": 200},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 32},
    "tiles, compressed": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
    "planes": {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band", "compress": "zstd"},
    "big-endian": {"endianness": "big"},
    "BigTIFF": {"bigtiff": "yes", "compress": "lerc"},
    "JPEG": {"compress": "jpeg", "tiled": True, "blockxsize": 64, "blockysize": 64, "photometric": "ycbcr"},
    "few bits": {"nbits": 4},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_as_rasterio_reads_it(
    process: PixelProcess, tmp_path: Path, layout: str
) -> None:
    values = RANDOM.integers(0, 15, (3, 200, 300)).astype("u1")
    path = write_raster(tmp_path / "a.tif", width=300, height=200, count=3, dtype="uint8", nodata=None,
                        values=values, **LAYOUTS[layout])  # fmt: skip
    raster = read_path(path)
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    exported = export(process, pixel_file(raster), window_of(raster, 0, 0, 300, 200))
    np.testing.assert_array_equal(exported, pixels)
    part = export(process, pixel_file(raster, bands=(3, 1)), window_of(raster, 37, 91, 50, 33))
    np.testing.assert_array_equal(part, pixels[[2, 0], 91:124, 37:87])


def stored_object(bucket: Bucket, key: str) -> StoredFile:
    (file,) = list_files([literal_location(f"s3://{bucket.name}/{key}")], ["s3://"])
    assert isinstance(file, StoredFile)
    return file


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_object_is_read_as_the_file(
    tmp_path: Path, bucket: Bucket, bucket_process: PixelProcess, layout: str
) -> None:
    values = RANDOM.integers(0, 15, (3, 200, 300)).astype("u1")
    path = write_raster(tmp_path / "a.tif", width=300, height=200, count=3, dtype="uint8", nodata=None,
                        values=values, overviews=(2,), **LAYOUTS[layout])  # fmt: skip
    bucket.put("a.tif", path)
    raster = read(stored_object(bucket, "a.tif"))
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    for column, row, width, height in (
        (37, 91, 50, 33),
        (0, 0, 1, 1),
        (299, 199, 1, 1),
        (0, 0, 300, 200),
    ):
        exported = export(
            bucket_process, pixel_file(raster), window_of(raster, column, row, width, height)
        )
        np.testing.assert_array_equal(
            exported, pixels[:, row : row + height, column : column + width]
        )
    with rasterio.open(path, overview_level=0) as dataset:
        pixels = dataset.read()
    whole = window_of(raster, 0, 0, 300, 200)
    exported = export(
        bucket_process,
        pixel_file(raster),
        Window(whole.west, whole.south, whole.east, whole.north, 150, 100, None),
    )
    np.testing.assert_array_equal(exported, pixels)


def test_only_the_needed_blocks_of_a_large_object_are_fetched(
    tmp_path: Path, bucket: Bucket, bucket_process: PixelProcess
) -> None:
    values = RANDOM.integers(0, 255, (1, 2048, 2048)).astype("u1")
    path = write_raster(tmp_path / "a.tif", width=2048, height=2048, dtype="uint8", nodata=None, values=values,
                        tiled=True, blockxsize=256, blockysize=256)  # fmt: skip
    bucket.put("a.tif", path)
    raster = read(stored_object(bucket, "a.tif"))
    exported = export(bucket_process, pixel_file(raster), window_of(raster, 300, 300, 20, 20))
    np.testing.assert_array_equal(exported, values[:, 300:320, 300:320])
    links = list(Path(f"/proc/{bucket_process.pid}/fd").iterdir())
    copies = [link.stat() for link in links if "(deleted)" in str(link.readlink())]
    stored_bytes = [512 * status.st_blocks for status in copies if status.st_size == raster.size]
    # The file has 4 MiB, a block 64 KiB, the header 32 KiB.
    assert stored_bytes
    assert max(stored_bytes) < 200_000


def test_an_object_that_changed_is_refused(
    tmp_path: Path, bucket: Bucket, bucket_process: PixelProcess
) -> None:
    path = write_raster(
        tmp_path / "a.tif", width=1024, height=1024, tiled=True, blockxsize=256, blockysize=256
    )
    bucket.put("a.tif", path)
    raster = read(stored_object(bucket, "a.tif"))
    export(bucket_process, pixel_file(raster), window_of(raster, 0, 0, 5, 5))
    bucket.put("a.tif", write_raster(tmp_path / "b.tif", values=np.zeros((1, 10, 10))))
    with pytest.raises(FileChanged):
        export(bucket_process, pixel_file(raster), window_of(raster, 900, 900, 5, 5))
    obstore.delete(bucket.store, "a.tif")
    with pytest.raises(RasterError):
        export(bucket_process, pixel_file(raster), window_of(raster, 500, 500, 5, 5))


def test_a_mask_beside_the_file_is_used(process: PixelProcess, tmp_path: Path) -> None:
    values = RANDOM.integers(1, 255, (1, 60, 70)).astype("u1")
    path = write_raster(
        tmp_path / "a.tif", width=70, height=60, dtype="uint8", nodata=None, values=values
    )
    flags = np.full((60, 70), 255, "u1")
    flags[3:9] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(flags)
    assert path.with_name("a.tif.msk").exists()
    raster = read_path(path)
    exported = export(process, pixel_file(raster), window_of(raster, 0, 0, 70, 60))
    np.testing.assert_array_equal(exported[0], np.where(flags, values[0], 0))


def test_overviews_beside_the_file_are_used(process: PixelProcess, tmp_path: Path) -> None:
    values = RANDOM.integers(1, 255, (1, 600, 800)).astype("u1")
    path = write_raster(
        tmp_path / "a.tif", width=800, height=600, dtype="uint8", nodata=None, values=values
    )
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert path.with_name("a.tif.ovr").exists()
    with rasterio.open(path, overview_level=1) as dataset:
        pixels = dataset.read()
    raster = read_path(path)
    whole = window_of(raster, 0, 0, 800, 600)
    window = replace(whole, width=200, height=150)
    np.testing.assert_array_equal(export(process, pixel_file(raster), window), pixels)


def test_a_file_of_overviews_that_metadata_name_is_not_opened(
    process: PixelProcess, tmp_path: Path
) -> None:
    other = write_raster(
        tmp_path / "other.tif", width=50, height=50, values=np.full((1, 50, 50), 3.0)
    )
    values = RANDOM.random((1, 100, 100)).astype("f4")
    path = write_raster(tmp_path / "a.tif", width=100, height=100, values=values)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(other))
    raster = read_path(path)
    whole = window_of(raster, 0, 0, 100, 100)
    window = replace(whole, width=50, height=50)
    np.testing.assert_array_equal(
        export(process, pixel_file(raster), window), values[:, 1::2, 1::2]
    )


def test_control_points_place_the_pixels_as_the_catalogue_says(
    process: PixelProcess, tmp_path: Path
) -> None:
    values = RANDOM.random((1, 100, 100)).astype("f4")
    points = [
        GroundControlPoint(row, column, 155_000 + 10 * column, 463_000 - 10 * row)
        for row in (0, 100) for column in (0, 50, 100)
    ]  # fmt: skip
    raster = read_path(
        write_raster(tmp_path / "a.tif", width=100, height=100, values=values, gcps=points)
    )
    window = Window(155_000, 462_000, 156_000, 463_000, 100, 100, None)
    np.testing.assert_array_equal(export(process, pixel_file(raster), window), values)


def test_a_world_file_and_nodata_of_a_sidecar_are_used(
    process: PixelProcess, tmp_path: Path
) -> None:
    values = np.array([[[1, 2], [3, 4]]], "u1")
    path = write_raster(tmp_path / "a.tif", width=2, height=2, dtype="uint8", nodata=None, values=values,
                        transform=None)  # fmt: skip
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n155005\n462995\n")
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>3</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    raster = read_path(path)
    window = Window(154_990, 462_980, 155_020, 463_000, 3, 2, None)
    exported = export(process, pixel_file(raster), window)
    assert exported.tolist() == [[[3, 1, 2], [3, 3, 4]]]


def test_scale_and_offset_are_not_applied(process: PixelProcess, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", dtype="int16", values=np.full((1, 10, 10), 7))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.1,), (100.0,)
    raster = read_path(path)
    assert np.unique(export(process, pixel_file(raster), window_of(raster, 0, 0, 10, 10))) == [7]


def test_holes_of_a_sparse_file_have_no_values(process: PixelProcess, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=512, height=512, tiled=True, SPARSE_OK=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((1, 256, 256), 5, "f4"), window=((256, 512), (0, 256)))
    raster = read_path(path)
    exported = export(process, pixel_file(raster), window_of(raster, 0, 0, 512, 512))
    assert np.unique(exported[0, 256:, :256]) == [5]
    assert np.unique(exported[0, :256]) == [-9999]


def test_a_file_that_was_replaced_is_not_read(process: PixelProcess, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    raster = read_path(path)
    secret = write_raster(tmp_path / "secret.tif", values=np.full((1, 10, 10), 42))
    window = window_of(raster, 0, 0, 10, 10)
    for cached in (True, False):
        if cached:
            export(process, pixel_file(raster), window)
        path.unlink()
        path.symlink_to(secret)
        with pytest.raises(RasterError, match="changed since"):
            export(process, pixel_file(raster), window)
        path.unlink()
        os.link(secret, path)
        with pytest.raises(FileChanged):
            export(process, pixel_file(raster), window)
        path.unlink()
        with pytest.raises(RasterError, match="does not exist"):
            export(process, pixel_file(raster), window)
        write_raster(path)


def test_a_folder_that_became_a_link_is_refused(process: PixelProcess, tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    raster = read_path(write_raster(folder / "a.tif"))
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(FileChanged):
        export(process, pixel_file(raster), window_of(raster, 0, 0, 5, 5))


def test_broken_pixels_are_refused_with_a_sentence(process: PixelProcess, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=512, height=512, compress="deflate", tiled=True,
                        values=RANDOM.random((1, 512, 512)))  # fmt: skip
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    raster = read_path(path)
    with pytest.raises(Unreadable, match=r"its pixels from row .* cannot be read"):
        export(process, pixel_file(raster), window_of(raster, 0, 0, 512, 512))


def test_too_many_pixels_of_a_file_without_overviews_are_refused(
    process: PixelProcess, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif", width=20_000, height=20_000, dtype="uint8", nodata=0, tiled=True,
                        blockxsize=512, blockysize=512, SPARSE_OK=True)  # fmt: skip
    raster = read_path(path)
    whole = window_of(raster, 0, 0, 20_000, 20_000)
    window = replace(whole, width=256, height=256)
    with pytest.raises(CatalogueError, match="too many pixels"):
        process.ask(Export([pixel_file(raster)], window, None), PixelLimits(20, 10**7))
    sample = process.ask(Sample([pixel_file(raster)]), LIMITS)  # reads evenly spread blocks
    assert sample.approximate


def test_a_process_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "GRACE_SECONDS", 0.5)
    raster = read_path(write_raster(tmp_path / "a.tif"))
    window = window_of(raster, 0, 0, 10, 10)
    with closing(PixelProcess(Budget())) as process:
        first = export(process, pixel_file(raster), window)
        hanging_pid = process.pid
        assert hanging_pid
        os.kill(hanging_pid, signal.SIGSTOP)
        with pytest.raises(TimedOut, match="takes more than"):
            process.ask(Export([pixel_file(raster)], window, None), PixelLimits(0.5, 10**8))
        assert not Path(f"/proc/{hanging_pid}").exists()
        np.testing.assert_array_equal(export(process, pixel_file(raster), window), first)


def test_a_request_that_takes_too_long_stops_by_itself(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", width=4000, height=4000, compress="deflate", nodata=None
    )
    raster = read_path(path)
    with closing(PixelProcess(Budget())) as process:
        export(process, pixel_file(raster), window_of(raster, 0, 0, 1, 1))
        window = window_of(raster, 0, 0, 4000, 4000)
        with pytest.raises(TimedOut):
            process.ask(Export([pixel_file(raster)], window, None), PixelLimits(0.02, 10**9))
        export(process, pixel_file(raster), window_of(raster, 0, 0, 1, 1))


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    process = PixelProcess(Budget())
    raster = read_path(write_raster(tmp_path / "a.tif"))
    picture = Picture(
        [pixel_file(raster, bands=(1,))], window_of(raster, 0, 0, 10, 10), "grey", 0, 1
    )
    assert process.ask(picture, LIMITS).startswith(b"\x89PNG")
    pid = process.pid
    assert Path(f"/proc/{pid}").exists()
    process.close()
    assert not Path(f"/proc/{pid}").exists()
