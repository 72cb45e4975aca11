"""Listing objects of a real S3 server."""

import tracemalloc
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import httpx
import obstore
import pytest

from pipeline.errors import CatalogueError, Rejection, TransientError
from pipeline.storage import EVERYWHERE, StoredFile, list_files, literal_location, parse_location
from pipeline.storage.s3 import open_bucket
from tests.support.ports import free_port
from tests.support.proxy import Proxy, fail_every
from tests.support.s3 import SECRET_KEY, Bucket

ROOT = Path("/")


def list_entries(
    *entries: str, roots: tuple[str, ...] = ("s3://",)
) -> list[StoredFile | Rejection]:
    return list(list_files([parse_location(entry, ROOT) for entry in entries], roots))


def keys(items: list[StoredFile | Rejection]) -> list[str]:
    """Return the keys of the files, decoded."""
    return [unquote(item.uri).split("/", 3)[3] for item in items if isinstance(item, StoredFile)]


def rejections(items: list[StoredFile | Rejection]) -> list[tuple[str, str]]:
    return [(item.uri, item.code) for item in items if isinstance(item, Rejection)]


def test_a_prefix_yields_only_the_rasters_below_it(bucket: Bucket) -> None:
    for key in ("a/1.tif", "a/2.TIFF", "a/deep/er/3.tif", "a/note.txt", "ab/4.tif", "a/x.tif.part"):
        bucket.put(key)
    obstore.put(bucket.store, "a/folder/", b"")
    assert sorted(keys(list_entries(f"s3://{bucket.name}/a"))) == [
        "a/1.tif",
        "a/2.TIFF",
        "a/deep/er/3.tif",
    ]
    assert keys(list_entries(f"s3://{bucket.name}/a/")) == keys(
        list_entries(f"s3://{bucket.name}/a")
    )
    assert len(list_entries(f"s3://{bucket.name}")) == 4


def test_an_object_is_described_as_the_server_describes_it(bucket: Bucket) -> None:
    bucket.put("a/1.tif", b"12345")
    (file,) = list_entries(f"s3://{bucket.name}/a")
    assert isinstance(file, StoredFile)
    meta = obstore.head(bucket.store, "a/1.tif")
    assert file.uri == f"s3://{bucket.name}/a/1.tif"
    assert file.path == Path(f"/{bucket.name}/a/1.tif")
    assert file.size == 5
    assert file.fingerprint == f"5.{(meta['e_tag'] or '').strip(chr(34))}"
    modified = datetime.fromtimestamp(file.modified_ns / 1e9, UTC)
    assert abs(modified - meta["last_modified"]) < timedelta(seconds=1)


@pytest.mark.parametrize(
    "name",
    ["a b.tif", "per%20cent 100%.tif", "é.tif", "e\u0301.tif", "😀.tif", "q?x#&+=.tif", "[x]{y}*.tif", "'\"<>|^`~.tif"],
)  # fmt: skip
def test_every_key_is_listed_unchanged(bucket: Bucket, name: str) -> None:
    bucket.put(f"in/{name}")
    (file,) = list_entries(f"s3://{bucket.name}/in")
    assert keys([file]) == [f"in/{name}"]
    listed_again = list(list_files([literal_location(file.uri)], EVERYWHERE))
    assert listed_again == [file]


def test_an_object_given_by_name_may_have_any_name(bucket: Bucket) -> None:
    for name in ("raster.dat", "raster.tif", "x", "x.tfw", "xy.tif", "raster.tif.aux.xml"):
        bucket.put(f"a/{name}")
    files = list_entries(
        *(f"s3://{bucket.name}/a/{name}" for name in ("raster.dat", "x", "raster.tif"))
    )
    assert keys(files) == ["a/raster.dat", "a/x", "a/raster.tif"]
    assert [item.sidecars for item in files if isinstance(item, StoredFile)] == [
        (),
        ("x.tfw",),
        ("raster.tif.aux.xml",),
    ]
    assert files[2] in list_entries(f"s3://{bucket.name}/a")


def test_a_missing_name_is_not_found(bucket: Bucket) -> None:
    bucket.put("a/1.tif")
    names = [f"s3://{bucket.name}/{key}" for key in ("b", "a/2.tif", "a/1", "a/1.tif/x")]
    assert rejections(list_entries(*names)) == [(name, "not_found") for name in names]
    assert list_entries(f"s3://{bucket.name}/b/*.tif") == []


def test_globs_match_whole_keys(bucket: Bucket) -> None:
    for key in ("r/2024/a.tif", "r/2024/b.tif", "r/2025/a.tif", "r/2025/x/a.tif", "r/a.dat"):
        bucket.put(key)

    def match(pattern: str) -> list[str]:
        return sorted(keys(list_entries(f"s3://{bucket.name}/{pattern}")))

    assert match("r/*/a.tif") == ["r/2024/a.tif", "r/2025/a.tif"]
    assert match("r/**/a.tif") == ["r/2024/a.tif", "r/2025/a.tif", "r/2025/x/a.tif"]
    assert match("r/202[5]") == ["r/2025/a.tif", "r/2025/x/a.tif"]
    assert match("r/*") == match("r/**/*")
    assert match("*/2024/?.tif") == ["r/2024/a.tif", "r/2024/b.tif"]
    assert match("r/*.dat") == ["r/a.dat"]


def test_an_object_of_several_entries_comes_once(bucket: Bucket) -> None:
    bucket.put("r/a.tif")
    bucket.put("r/b.tif")
    name = f"s3://{bucket.name}/r"
    assert keys(list_entries(f"{name}/b.tif", f"{name}/*.tif", name)) == ["r/b.tif", "r/a.tif"]


def test_sidecars_belong_to_one_object_and_to_its_fingerprint(bucket: Bucket) -> None:
    sidecars = ["x.TFW", "x.aux", "x.tif.aux.xml", "x.tif.msk", "x.tif.ovr", "x_RPC.TXT"]
    others = ["x-1.tif", "x.txt", "x/x.tif", "x0.tif", "xa.tif", "xa.tfw", "w.tfw"]
    for name in ("x.tif", *sidecars, *others):
        bucket.put(f"s/{name}")
    files = {
        item.path.name: item
        for item in list_entries(f"s3://{bucket.name}/s/*.tif")
        if isinstance(item, StoredFile)
    }
    assert sorted(files["x.tif"].sidecars) == sorted(sidecars)
    assert {name: item.sidecars for name, item in files.items() if name != "x.tif"} == {
        "x-1.tif": (), "x0.tif": (), "xa.tif": ("xa.tfw",),
    }  # fmt: skip
    bucket.put("s/x.tif.ovr", b"other")
    assert list_entries(f"s3://{bucket.name}/s/x.tif") != [files["x.tif"]]


def test_roots_restrict_buckets_too(bucket: Bucket) -> None:
    bucket.put("a/1.tif")
    bucket.put("ab/1.tif")
    name = f"s3://{bucket.name}"
    assert len(list_entries(f"{name}/a", roots=(f"{name}/a",))) == 1
    for roots in ((f"{name}/a",), ("/",), ("s3://other",)):
        assert [code for _, code in rejections(list_entries(f"{name}/ab", roots=roots))] == [
            "not_allowed"
        ]


def test_a_missing_bucket_ends_the_listing(bucket: Bucket) -> None:
    with pytest.raises(CatalogueError, match=r"s3://no-such-bucket.*does not exist"):
        list_entries("s3://no-such-bucket/a/*.tif")


def test_wrong_credentials_end_the_listing_and_are_not_printed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a/1.tif")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    open_bucket.cache_clear()
    with pytest.raises(CatalogueError, match="AWS_ACCESS_KEY_ID") as caught:
        list_entries(f"s3://{bucket.name}/a")
    assert "another-secret" not in str(caught.value)
    assert SECRET_KEY not in str(caught.value)


def test_an_endpoint_without_an_answer_is_a_transient_error(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.s3._RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    open_bucket.cache_clear()
    with pytest.raises(TransientError, match="connection fails"):
        list_entries(f"s3://{bucket.name}/a")


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "ftp://x"])
def test_an_invalid_endpoint_is_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    open_bucket.cache_clear()
    with pytest.raises(CatalogueError, match="AWS_ENDPOINT_URL"):
        list_entries(f"s3://{bucket.name}/a")


@pytest.mark.parametrize(
    "name", ["s3://", "s3:///a", "s3://b", "s3://bucket/a//b.tif", "s3://bucket/../x.tif", "s3://bucket/a%0Ab.tif"]
)  # fmt: skip
def test_an_invalid_object_name_gives_one_sentence(name: str) -> None:
    with pytest.raises(CatalogueError, match=r"bucket|key"):
        literal_location(name)


def test_an_invalid_key_ends_the_listing(bucket: Bucket) -> None:
    bucket.put("a/1.tif")
    url = f"{bucket.server.filer}/buckets/{bucket.name}/a/new%0Aline.tif"
    httpx.post(url, files={"file": b"x"}).raise_for_status()
    with pytest.raises(CatalogueError, match=r"a/new\\nline\.tif"):
        list_entries(f"s3://{bucket.name}/a")


def test_plain_http_needs_an_http_endpoint(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint.replace("http://", "https://"))
    monkeypatch.setattr("pipeline.storage.s3._RETRIES", 0)
    open_bucket.cache_clear()
    with pytest.raises(TransientError):
        list_entries(f"s3://{bucket.name}/a")


@pytest.mark.parametrize("fault", [0, 503, 403])
def test_a_listing_that_fails_half_way_raises_an_error(
    bucket: Bucket, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    monkeypatch.setattr("pipeline.storage.s3._RETRIES", 2)
    bucket.put_many(f"in/{index:04d}.tif" for index in range(1100))
    files = list_files([literal_location(f"s3://{bucket.name}/in")], EVERYWHERE)
    s3_proxy.fault = lambda _, path: fault if "continuation-token" in path else None
    assert isinstance(next(files), StoredFile)
    with pytest.raises(CatalogueError if fault == 403 else TransientError, match=bucket.name):
        list(files)
    s3_proxy.fault = fail_every(5, 503)
    assert len(list_entries(f"s3://{bucket.name}/in")) == 1100


def test_a_listing_of_many_objects_takes_little_memory(bucket: Bucket) -> None:
    """A million objects would take too long; the memory does not depend on their number."""
    bucket.put_many(f"in/{index % 7}/{index:05d}.tif" for index in range(5000))
    locations = [literal_location(f"s3://{bucket.name}/in")]
    deque(list_files(locations, EVERYWHERE), maxlen=0)
    tracemalloc.start()
    deque(list_files(locations, EVERYWHERE), maxlen=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
