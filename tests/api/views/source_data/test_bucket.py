"""Uploads whose storage is a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.catalogue.upload_files import sweep
from pipeline.errors import CatalogueError, NotAllowed, TransientError
from pipeline.ingest.uploads import UploadWorker, process_waiting
from pipeline.storage.s3 import open_bucket
from pipeline.storage.uploads import BucketUploadStore, UploadStore, open_upload_store
from pipeline.storage.uploads.bucket import PART_BYTES
from tests.api.conftest import As, client_of
from tests.api.views.source_data.conftest import (
    LIMIT,
    Process,
    Source,
    accepted,
    living,
    only,
    receiving,
    send,
    stored,
)
from tests.support.factory import write_raster
from tests.support.proxy import Proxy, proxy
from tests.support.s3 import Bucket, Server, new_bucket
from tests.support.waiting import wait_until

NOON, ONE = "2024-01-01T12:00:00Z", "2024-01-01T13:00:00Z"


@pytest.fixture(scope="module")
def between(s3_server: Server) -> Iterator[Proxy]:
    """A proxy in front of the storage, which can fail."""
    with proxy(s3_server.endpoint) as found:
        yield found


@pytest.fixture(scope="module")
def own(s3_server: Server, between: Proxy) -> Iterator[Bucket]:
    """The bucket for uploads, which this process finds by its environment."""
    found = new_bucket(s3_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**found.environment, "AWS_ENDPOINT_URL": between.endpoint}.items():
            patch.setenv(name, value)
        open_bucket.cache_clear()
        yield found
    open_bucket.cache_clear()


@pytest.fixture(scope="module")
def store(own: Bucket) -> UploadStore:
    return open_upload_store(f"s3://{own.name}/our uploads")


@pytest.fixture(scope="module")
def client(database_url: str, store: UploadStore, own: Bucket) -> Iterator[Client]:
    config = ApiConfig(database_url, uploads=f"s3://{own.name}/our%20uploads", upload_bytes=LIMIT)
    with client_of(config) as client:
        yield client


def key_of(uri: str) -> str:
    return unquote(uri.split("/", 3)[3])


def test_a_file_is_in_the_bucket_before_the_answer_and_becomes_part_of_its_source(
    as_: As, source: Source, tif: Path, store: UploadStore, own: Bucket, process: Process
) -> None:
    url = source()
    task = accepted(as_("admin"), url, tif)
    (uri,) = stored(store)
    assert uri.startswith(f"s3://{own.name}/our%20uploads/")
    assert own.get(key_of(uri)) == tif.read_bytes()
    assert [row.state for row in process()] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"
    file = only(as_("admin"), url, "files")
    assert (file["uri"], file["name"], file["size"]) == (uri, "a.tif", tif.stat().st_size)
    assert as_("admin").get(url).json()["projection"] == "EPSG:28992"


def test_replacing_a_file_and_deleting_the_data_delete_the_object(
    as_: As, source: Source, tif: Path, store: UploadStore, process: Process
) -> None:
    url = source(temporal=True)
    for time_ in (NOON, ONE, NOON):
        accepted(as_("admin"), url, tif, time=time_)
        process()
    assert len(stored(store)) == 2
    assert as_("admin").request("DELETE", f"{url}data/").json()["removed"] == 2
    assert stored(store) == []


def test_a_rejected_file_is_deleted(
    as_: As, source: Source, tmp_path: Path, store: UploadStore, process: Process
) -> None:
    (tmp_path / "x.tif").write_bytes(b"no raster")
    (tmp_path / "empty.tif").touch()
    tasks = [
        accepted(as_("admin"), source(), path)
        for path in (
            tmp_path / "x.tif",
            tmp_path / "empty.tif",
            write_raster(tmp_path / "y.tif", crs=None),
        )
    ]
    process()
    details = [as_("admin").get(task).json()["detail"] for task in tasks]
    codes = [detail.partition(":")[0] for detail in details]
    assert codes == ["not_a_geotiff", "empty_file", "missing_crs"]
    assert stored(store) == []


def test_a_file_that_is_too_large_or_breaks_off_leaves_nothing(
    as_: As, source: Source, tmp_path: Path, store: UploadStore, own: Bucket
) -> None:
    large = tmp_path / "large.tif"
    large.write_bytes(bytes(LIMIT + 1))
    assert send(as_("admin"), source(), large).status_code == 413
    assert stored(store) == []
    assert own.unfinished_uploads() == []


def test_the_parts_of_a_given_up_file_are_removed(store: UploadStore, own: Bucket) -> None:
    incoming = store.open_upload(store.new_uri())
    for _ in range(3):
        incoming.write(bytes(PART_BYTES))
    assert len(own.unfinished_uploads()) == 1
    incoming.close()
    assert own.unfinished_uploads() == []
    assert stored(store) == []
    with pytest.raises(TransientError, match="send it again"):
        incoming.write(b"x")


def test_a_file_of_many_parts_is_whole(store: UploadStore, own: Bucket) -> None:
    incoming = store.open_upload(store.new_uri())
    pieces = [bytes([number]) * (PART_BYTES // 2) for number in range(5)]
    for piece in pieces:
        incoming.write(memoryview(piece))
    assert stored(store) == []
    incoming.commit()
    incoming.close()
    assert incoming.size == len(b"".join(pieces)) == store.file(incoming.uri).size
    assert own.get(key_of(incoming.uri)) == b"".join(pieces)


def test_only_our_own_files_are_read_or_deleted(store: UploadStore, own: Bucket) -> None:
    strange = [
        own.put("our uploads/raster.tif").replace(" ", "%20"),
        own.put("elsewhere.tif"),
        own.put("our uploads/x/raster.tif").replace(" ", "%20"),
        own.put(f"our uploads/{'a' * 32}/../raster.dat".replace("../", "")).replace(" ", "%20"),
        "file:///etc/passwd",
        f"s3://other/our%20uploads/{'a' * 32}/raster.tif",
    ]
    before = own.keys()
    store.discard(strange)
    assert own.keys() == before
    assert stored(store) == []
    for uri in strange:
        assert not store.owns(uri)
        with pytest.raises(NotAllowed):
            store.file(uri)
    own.delete(*before)


def test_a_sweep_deletes_unneeded_files(
    as_: As, source: Source, tif: Path, engine: Engine, store: UploadStore
) -> None:
    accepted(as_("admin"), source(), tif)
    (needed,) = stored(store)
    forgotten, strange = receiving(engine, store), store.open_upload(store.new_uri())
    for incoming in (forgotten, strange):
        incoming.write(b"x")
        incoming.commit()
    with living(engine, 1):
        assert forgotten.uri not in sweep(engine, store)
    assert forgotten.uri in sweep(engine, store)
    assert sorted(stored(store)) == sorted([needed, strange.uri])


def test_while_the_storage_is_away_clients_get_503_and_the_worker_waits(
    as_: As, source: Source, tif: Path, worker: UploadWorker, process: Process, between: Proxy, own: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    process()
    url = source()
    task = accepted(as_("admin"), url, tif)
    monkeypatch.setattr("pipeline.storage.s3._RETRIES", 1)
    open_bucket.cache_clear()
    monkeypatch.setattr(between, "fault", lambda _method, _path: 503)
    answer = send(as_("admin"), url, tif)
    assert answer.status_code == 503
    assert "(it answers 503); try again later" in answer.json()["detail"]
    assert own.name not in answer.text
    with pytest.raises(TransientError):
        process_waiting(worker)
    assert as_("admin").get(task).json()["status"] == "STARTED"
    monkeypatch.undo()
    open_bucket.cache_clear()
    assert [row.state for row in process_waiting(worker)] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"


def test_an_invalid_bucket_name_is_rejected() -> None:
    with pytest.raises(CatalogueError, match="does not name a bucket"):
        open_upload_store("s3:///uploads")


def test_a_whole_bucket_may_hold_uploads(own: Bucket) -> None:
    whole = open_upload_store(f"s3://{own.name}")
    assert isinstance(whole, BucketUploadStore)
    incoming = whole.open_upload(whole.new_uri())
    incoming.commit()
    assert incoming.uri in list(whole.uris())
    whole.discard([incoming.uri])
    wait_until(lambda: incoming.uri not in list(whole.uris()))
