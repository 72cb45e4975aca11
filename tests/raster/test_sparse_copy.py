"""Reading objects of a real S3 server gives the records of local files, and fetches only their headers."""

import struct
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from pipeline.errors import (
    CatalogueError,
    FileChanged,
    NotFound,
    OverBudget,
    PermissionDenied,
    RasterError,
    Rejection,
    TransientError,
    Unreadable,
)
from pipeline.raster import Budget, RasterFile, ReadOptions
from pipeline.raster.read import read
from pipeline.storage import EVERYWHERE, StoredFile, list_files, literal_location
from pipeline.storage.s3 import open_bucket
from tests.support.commands import CORPUS
from tests.support.factory import RD, RD_TRANSFORM, ascii_tag, write_raster, write_tagged
from tests.support.needs import needs_corpus
from tests.support.proxy import Proxy, fail_every
from tests.support.reading import read_all, read_in_new_processes
from tests.support.s3 import Bucket

HALF = 32 * 1024
AUXILIARY = """<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform> 5.0, 0.1, 0.0, 52.0, 0.0, -0.1</GeoTransform>
<PAMRasterBand band="1"><NoDataValue>-9</NoDataValue></PAMRasterBand></PAMDataset>"""


def list_stored(*names: str) -> list[StoredFile]:
    items = list_files([literal_location(name) for name in names], EVERYWHERE)
    return [item for item in items if isinstance(item, StoredFile)]


def put_folder(bucket: Bucket, folder: Path) -> None:
    """Upload all files of a folder under their relative names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put(str(path.relative_to(folder)), path)


def read_outcome(file: StoredFile, options: ReadOptions = ReadOptions()) -> Any:  # noqa: B008
    """Return the outcome of reading, without the names of this file."""
    folder = f"{file.path.parent}/"
    try:
        raster = read(file, options)
    except RasterError as error:
        return error.code, error.message.replace(folder, "")
    warnings = tuple(
        replace(warning, message=warning.message.replace(folder, "")) for warning in raster.warnings
    )
    return replace(raster, uri="", fingerprint="", warnings=warnings)


def compare_with_local_files(bucket: Bucket, folder: Path) -> dict[str, Any]:
    """Assert that rasters of a folder are read alike from the bucket; return outcomes by relative name."""
    put_folder(bucket, folder)
    local = {str(file.path.relative_to(folder)): file for file in list_stored(str(folder))}
    objects = {
        file.real_path.removeprefix(f"/{bucket.name}/"): file
        for file in list_stored(f"s3://{bucket.name}")
    }
    assert local.keys() == objects.keys()
    outcomes = {}
    for name, file in local.items():
        outcomes[name] = read_outcome(objects[name])
        assert outcomes[name] == read_outcome(file), name
        assert objects[name].sidecars == file.sidecars, name
    return outcomes


def write_cog(path: Path, size: int, **creation: Any) -> Path:
    """Write a cloud-optimised GeoTIFF of zeros, with a realistic header."""
    source = path.with_suffix(".source")
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        source, "w", **profile, crs=RD, transform=RD_TRANSFORM, tiled=True, compress="deflate",
        blockxsize=512, blockysize=512,
    ) as dataset:  # fmt: skip
        dataset.update_tags(TIFFTAG_DATETIME="2024:01:01 00:00:00", AREA_OR_POINT="Area")
        dataset.write(
            np.random.default_rng(1).integers(0, 255, (1, 512, 512), "u1"),
            window=((0, 512), (0, 512)),
        )
    copy_raster(source, path, driver="COG", compress="deflate", blocksize=512, **creation)
    source.unlink()
    return path


@pytest.fixture(params=["as usual", "in smallest parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read objects as usual, or in ranges of a few bytes that leave holes in the copy."""
    if request.param == "in smallest parts":
        monkeypatch.setattr("pipeline.storage.ranges.FIRST_BYTES", 16)
        monkeypatch.setattr("pipeline.raster.tiff._READ_AHEAD_BYTES", 16)


@pytest.mark.usefixtures("parts")
def test_odd_and_broken_objects_are_read_like_files(bucket: Bucket, tmp_path: Path) -> None:
    write_raster(tmp_path / "plain.tif")
    write_raster(tmp_path / "again.tif")
    write_raster(tmp_path / "big.tif", BIGTIFF="YES", dtype="float64", ENDIANNESS="BIG")
    write_raster(tmp_path / "no_crs.tif", crs=None)
    write_raster(tmp_path / "no_grid.tif", transform=None)
    write_raster(tmp_path / "bands.tif", count=40, tags={"A": "x" * 50_000, "TIFFTAG_DATETIME": "2024:01:01 00:00:00"},
                 descriptions=[f"2024-01-{day:02d}T00:00:00Z" for day in range(1, 31)])  # fmt: skip
    write_cog(tmp_path / "cog.tif", 2048)
    write_raster(tmp_path / "strips.tif", width=1000, height=3000, dtype="float64", values=None, compress="deflate",
                 overviews=(2, 4, 8), mask=True)  # fmt: skip
    write_tagged(tmp_path / "tagged.tif", "u1", ascii_tag(306, "2024:02:03 04:05:06"))
    behind = write_raster(tmp_path / "behind.tif", width=400, height=400, dtype="float64")
    with rasterio.open(behind, "r+") as dataset:  # this moves the header behind the pixels
        dataset.update_tags(LONG="y" * 5000)
    write_raster(tmp_path / "LC08_B4.TIF")
    write_raster(tmp_path / "LC08_B5.TIF")
    (tmp_path / "LC08_B5.TIF.aux.xml").write_text("<PAMDataset></PAMDataset>")
    (tmp_path / "LC08_MTL.txt").write_text("GROUP = L1_METADATA_FILE\nDATE_ACQUIRED = 2026-08-09\n")
    write_raster(tmp_path / "unreadable.tif")
    (tmp_path / "unreadable.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32631</SRS><A a=b/></PAMDataset>"
    )
    write_raster(tmp_path / "aux.tif")
    (tmp_path / "aux.tif.aux.xml").write_text(AUXILIARY)
    write_raster(tmp_path / "broken_aux.tif")
    (tmp_path / "broken_aux.tif.aux.xml").write_text("<PAMDataset>")
    write_raster(tmp_path / "empty_aux.tif")
    (tmp_path / "empty_aux.tif.aux.xml").touch()
    write_raster(tmp_path / "world.tif", transform=None, width=300, height=300)
    (tmp_path / "world.tfw").write_text("1\n0\n0\n-1\n155000\n463000\n")
    outside = write_raster(tmp_path / "outside.tif", width=600, height=600)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(outside, "r+") as dataset:
        dataset.build_overviews([2, 4])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(outside, "r+") as dataset:
        dataset.write_mask(np.full((600, 600), 255, "u1"))
    write_raster(tmp_path / "broken_ovr.tif")
    (tmp_path / "broken_ovr.tif.ovr").write_bytes(b"II*\0 no TIFF at all")
    whole = (tmp_path / "strips.tif").read_bytes()
    for index, cut in enumerate((1, 7, 200, len(whole) // 2, len(whole) - 1)):
        (tmp_path / f"cut_{index}.tif").write_bytes(whole[:cut])
    sample_format, wrong = (struct.pack("<HHII", 339, 3, 1, value) for value in (3, 77))
    assert sample_format in (tmp_path / "plain.tif").read_bytes()
    (tmp_path / "wrong.tif").write_bytes(
        (tmp_path / "plain.tif").read_bytes().replace(sample_format, wrong)
    )
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("no raster")
    outcomes = compare_with_local_files(bucket, tmp_path)
    assert {name: item[0] for name, item in outcomes.items() if isinstance(item, tuple)} == {
        "no_crs.tif": "missing_crs", "no_grid.tif": "no_grid", "empty.tif": "empty_file", "text.tif": "not_a_geotiff",
        "cut_0.tif": "not_a_geotiff", "cut_1.tif": "truncated", "cut_2.tif": "truncated", "cut_3.tif": "truncated",
        "cut_4.tif": "truncated", "wrong.tif": "unreadable",
    }  # fmt: skip
    assert "wrong.tif: Bad value 77" in outcomes["wrong.tif"][1]
    assert "/" not in outcomes["wrong.tif"][1]
    assert outcomes["aux.tif"].sidecars == ("aux.tif.aux.xml",)
    assert outcomes["world.tif"].georeference.pixelsize_x == 1.0
    assert outcomes["outside.tif"].layout.overviews == (2, 4)
    assert outcomes["outside.tif"].layout.mask == "sidecar"


@pytest.mark.usefixtures("parts")
@needs_corpus
def test_the_corpus_is_read_like_files(bucket: Bucket) -> None:
    assert (
        sum(
            isinstance(item, RasterFile)
            for item in compare_with_local_files(bucket, CORPUS.resolve()).values()
        )
        > 50
    )


@pytest.mark.parametrize("size", [2048, 8192])
@pytest.mark.parametrize("creation", [{}, {"BIGTIFF": "YES"}], ids=["classic", "big"])
def test_an_ordinary_cog_costs_one_request_of_32_kib(
    bucket: Bucket, s3_proxy: Proxy, tmp_path: Path, size: int, creation: dict[str, str]
) -> None:
    cog = write_cog(tmp_path / "cog.tif", size, **creation)
    (file,) = list_stored(bucket.put("cog.tif", cog))
    s3_proxy.exchanges.clear()
    raster = read(file)
    assert (raster.width, raster.layout.cog) == (size, True)
    assert [
        (exchange.method, exchange.status, exchange.size) for exchange in s3_proxy.exchanges
    ] == [("GET", 206, HALF)]


def test_a_plain_object_is_not_copied_to_a_file(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = list_stored(bucket.put("a.tif", write_cog(tmp_path / "a.tif", 600)))
    first = read_outcome(file)  # GDAL describes this kind of file
    monkeypatch.setattr("pipeline.raster.sparse_copy.tempfile.TemporaryFile", None)
    assert read_outcome(file) == first


def test_no_large_object_is_fetched_whole(bucket: Bucket, s3_proxy: Proxy, tmp_path: Path) -> None:
    write_raster(
        tmp_path / "strips.tif", width=2000, height=2000, dtype="float64", overviews=(2, 4)
    )
    write_raster(tmp_path / "bands.tif", width=500, height=500, count=12, tags={"A": "x" * 9000})
    for path in tmp_path.glob("*.tif"):
        (file,) = list_stored(bucket.put(path.name, path))
        s3_proxy.exchanges.clear()
        read(file)
        assert (
            0 < sum(exchange.size for exchange in s3_proxy.exchanges) <= 3 * HALF < file.size / 10
        )


def test_an_object_changed_after_the_listing_is_changing(bucket: Bucket, tmp_path: Path) -> None:
    raster, other = write_raster(tmp_path / "a.tif"), write_raster(tmp_path / "b.tif", nodata=-8888)
    (file,) = list_stored(bucket.put("a.tif", raster))
    assert other.stat().st_size == file.size
    bucket.put("a.tif", other)
    with pytest.raises(FileChanged):
        read(file)
    bucket.delete("a.tif")
    with pytest.raises(NotFound):
        read(file)


def test_an_object_that_changes_while_it_is_read_is_changing(
    bucket: Bucket, s3_proxy: Proxy, tmp_path: Path
) -> None:
    tags = {"A": "x" * 100_000}
    raster = write_raster(tmp_path / "a.tif", tags=tags, width=300, height=300)
    other = write_raster(tmp_path / "b.tif", tags=tags, width=300, height=300, nodata=-8888)
    (file,) = list_stored(bucket.put("a.tif", raster))
    assert isinstance(read_outcome(file), RasterFile)
    s3_proxy.exchanges.clear()

    def replace_object(_method: str, _path: str) -> None:
        if len(s3_proxy.exchanges) == 1:  # between the first part and the second
            bucket.put("a.tif", other)

    s3_proxy.fault = replace_object
    with pytest.raises(FileChanged):
        read(file)


@pytest.mark.parametrize("change", ["other", "gone", "new"])
def test_a_sidecar_changed_after_the_listing_makes_its_object_changing(
    bucket: Bucket, tmp_path: Path, change: str
) -> None:
    bucket.put("a.tif.aux.xml", AUXILIARY.encode())
    (file,) = list_stored(bucket.put("a.tif", write_raster(tmp_path / "a.tif")))
    assert isinstance(read_outcome(file), RasterFile)
    if change == "gone":
        bucket.delete("a.tif.aux.xml")
    else:
        bucket.put("a.tif.aux.xml", AUXILIARY.replace("5.0", "6.0").encode())
    with pytest.raises(FileChanged):
        read(file)


def test_a_sidecar_beyond_the_budget_is_not_fetched(
    bucket: Bucket, s3_proxy: Proxy, tmp_path: Path
) -> None:
    bucket.put("a.imd", b"x" * 200_000)
    (file,) = list_stored(bucket.put("a.tif", write_raster(tmp_path / "a.tif")))
    s3_proxy.exchanges.clear()
    with pytest.raises(OverBudget, match=r"a\.imd"):
        read(file, ReadOptions(budget=Budget(tag_bytes=100_000)))
    assert sum(exchange.size for exchange in s3_proxy.exchanges) < 2 * HALF


def test_an_object_without_read_permission_is_denied(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = list_stored(bucket.put("a.tif", write_raster(tmp_path / "a.tif")))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    open_bucket.cache_clear()
    with pytest.raises(PermissionDenied) as caught:
        read(file)
    assert "another-secret" not in str(caught.value)


def test_an_unreachable_storage_ends_the_reading_within_the_time_of_a_file(
    bucket: Bucket, s3_proxy: Proxy, tmp_path: Path
) -> None:
    (file,) = list_stored(bucket.put("a.tif", write_raster(tmp_path / "a.tif")))
    s3_proxy.fault = fail_every(1, 503)
    options = ReadOptions(budget=Budget(seconds=2))
    with pytest.raises(TransientError, match="503"):
        list(read_all([file], options))


def test_a_storage_with_a_503_for_one_request_in_five_is_read(
    bucket: Bucket, s3_proxy: Proxy, tmp_path: Path
) -> None:
    raster = write_raster(tmp_path / "a.tif")
    for index in range(60):
        bucket.put(f"in/{index:02d}.tif", raster)
    s3_proxy.fault = fail_every(5, 503)
    items = list_files([literal_location(f"s3://{bucket.name}/in")], EVERYWHERE)
    outcomes = list(read_in_new_processes(items, ReadOptions(), 2))
    assert [outcome.uri for outcome in outcomes] == [
        f"s3://{bucket.name}/in/{index:02d}.tif" for index in range(60)
    ]
    assert all(isinstance(outcome, RasterFile) for outcome in outcomes)


def test_one_bad_object_does_not_stop_the_others(bucket: Bucket, tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "a.tif")
    names = [bucket.put(f"{name}.tif", raster) for name in "abc"]
    bucket.put("d.tif", b"no raster")
    files = list_stored(*names, f"s3://{bucket.name}/d.tif")
    bucket.delete("b.tif")
    outcomes = list(read_in_new_processes(files, ReadOptions(), 2))
    codes = [outcome.code if isinstance(outcome, Rejection) else "" for outcome in outcomes]
    assert codes == ["", "not_found", "", "not_a_geotiff"]


def test_the_first_parts_of_many_objects_are_fetched_side_by_side(
    bucket: Bucket, s3_proxy: Proxy, tmp_path: Path
) -> None:
    raster = write_raster(tmp_path / "a.tif")
    for index in range(64):
        bucket.put(f"in/{index:02d}.tif", raster)
    files = list_stored(f"s3://{bucket.name}/in")
    active, most_active = 0, 0

    def count_active(_method: str, _path: str) -> None:
        nonlocal active, most_active
        with s3_proxy.lock:
            active += 1
            most_active = max(most_active, active)
        sleep(0.05)
        with s3_proxy.lock:
            active -= 1

    s3_proxy.fault = count_active
    assert len(list(read_all(files, ReadOptions()))) == 64
    assert most_active > 4


def test_copies_of_objects_are_removed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    bucket.put("a.tif.aux.xml", AUXILIARY.encode())
    bucket.put("b.tif", b"II*\0 no TIFF")
    bucket.put("a.tif", write_raster(tmp_path / "a.tif"))
    files = list_stored(f"s3://{bucket.name}")
    assert len(list(read_all(files, ReadOptions()))) == 2
    assert [read_outcome(file) for file in files]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_statistics_of_an_object_are_rejected(bucket: Bucket, tmp_path: Path) -> None:
    (file,) = list_stored(bucket.put("a.tif", write_raster(tmp_path / "a.tif")))
    with pytest.raises(CatalogueError, match="copy the object to a folder"):
        list(read_all([file], ReadOptions(statistics="overview")))


def test_a_key_longer_than_a_file_name_is_rejected() -> None:
    key = "x" * 252 + ".tif"
    with pytest.raises(Unreadable, match="255"):
        read(StoredFile(f"s3://bucket/{key}", f"/bucket/{key}", 10, "a.etag", 1))
