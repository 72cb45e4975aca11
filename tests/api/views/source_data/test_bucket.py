"""Uploads are stored in a bucket of a real S3 server."""

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
    add_receiving,
    get_only_row,
    hold_server_lock,
    send,
    stored_uris,
    upload_file,
)
from tests.support.factory import write_raster
from tests.support.proxy import Proxy, proxy
from tests.support.s3 import Bucket, Server, new_bucket
from tests.support.waiting import wait_until

NOON, ONE = "2024-01-01T12:00:00Z", "2024-01-01T13:00:00Z"


@pytest.fixture(scope="module")
def storage_proxy(s3_server: Server) -> Iterator[Proxy]:
    """A proxy in front of the storage, which can fail."""
    with proxy(s3_server.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(s3_server: Server, storage_proxy: Proxy) -> Iterator[Bucket]:
    """Make the bucket for uploads, which this process finds by its environment."""
    bucket = new_bucket(s3_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **bucket.environment,
            "AWS_ENDPOINT_URL": storage_proxy.endpoint,
        }.items():
            patch.setenv(name, value)
        open_bucket.cache_clear()
        yield bucket
    open_bucket.cache_clear()


@pytest.fixture(scope="module")
def store(bucket: Bucket) -> UploadStore:
    return open_upload_store(f"s3://{bucket.name}/our uploads")


@pytest.fixture(scope="module")
def client(database_url: str, store: UploadStore, bucket: Bucket) -> Iterator[Client]:
    config = ApiConfig(
        database_url, uploads=f"s3://{bucket.name}/our%20uploads", upload_bytes=LIMIT
    )
    with client_of(config) as client:
        yield client


def key_of(uri: str) -> str:
    return unquote(uri.split("/", 3)[3])


def test_a_file_is_in_the_bucket_before_the_answer_and_becomes_part_of_its_source(
    as_: As, source: Source, tif: Path, store: UploadStore, bucket: Bucket, process: Process
) -> None:
    url = source()
    task = upload_file(as_("admin"), url, tif)
    (uri,) = stored_uris(store)
    assert uri.startswith(f"s3://{bucket.name}/our%20uploads/")
    assert bucket.get(key_of(uri)) == tif.read_bytes()
    assert [outcome.state for outcome in process()] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"
    file = get_only_row(as_("admin"), url, "files")
    assert (file["uri"], file["name"], file["size"]) == (uri, "a.tif", tif.stat().st_size)
    assert as_("admin").get(url).json()["projection"] == "EPSG:28992"


def test_replacing_a_file_and_deleting_the_data_delete_the_object(
    as_: As, source: Source, tif: Path, store: UploadStore, process: Process
) -> None:
    url = source(temporal=True)
    for time in (NOON, ONE, NOON):
        upload_file(as_("admin"), url, tif, time=time)
        process()
    assert len(stored_uris(store)) == 2
    assert as_("admin").request("DELETE", f"{url}data/").json()["removed"] == 2
    assert stored_uris(store) == []


def test_a_rejected_file_is_deleted(
    as_: As, source: Source, tmp_path: Path, store: UploadStore, process: Process
) -> None:
    (tmp_path / "x.tif").write_bytes(b"no raster")
    (tmp_path / "empty.tif").touch()
    tasks = [
        upload_file(as_("admin"), source(), path)
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
    assert stored_uris(store) == []


def test_a_file_that_is_too_large_leaves_nothing(
    as_: As, source: Source, tmp_path: Path, store: UploadStore, bucket: Bucket
) -> None:
    large = tmp_path / "large.tif"
    large.write_bytes(bytes(LIMIT + 1))
    assert send(as_("admin"), source(), large).status_code == 413
    assert stored_uris(store) == []
    assert bucket.unfinished_uploads() == []


def test_the_parts_of_an_abandoned_file_are_deleted(store: UploadStore, bucket: Bucket) -> None:
    incoming = store.open_upload(store.new_uri())
    for _ in range(3):
        incoming.write(bytes(PART_BYTES))
    assert len(bucket.unfinished_uploads()) == 1
    incoming.close()
    assert bucket.unfinished_uploads() == []
    assert stored_uris(store) == []
    with pytest.raises(TransientError, match="send it again"):
        incoming.write(b"x")


def test_a_file_of_many_parts_is_complete(store: UploadStore, bucket: Bucket) -> None:
    incoming = store.open_upload(store.new_uri())
    pieces = [bytes([number]) * (PART_BYTES // 2) for number in range(5)]
    for piece in pieces:
        incoming.write(memoryview(piece))
    assert stored_uris(store) == []
    incoming.commit()
    incoming.close()
    assert incoming.size == len(b"".join(pieces)) == store.file(incoming.uri).size
    assert bucket.get(key_of(incoming.uri)) == b"".join(pieces)


def test_foreign_files_are_neither_read_nor_deleted(store: UploadStore, bucket: Bucket) -> None:
    foreign = [
        bucket.put("our uploads/raster.tif").replace(" ", "%20"),
        bucket.put("elsewhere.tif"),
        bucket.put("our uploads/x/raster.tif").replace(" ", "%20"),
        bucket.put(f"our uploads/{'a' * 32}/../raster.dat".replace("../", "")).replace(" ", "%20"),
        "file:///etc/passwd",
        f"s3://other/our%20uploads/{'a' * 32}/raster.tif",
    ]
    before = bucket.keys()
    store.discard(foreign)
    assert bucket.keys() == before
    assert stored_uris(store) == []
    for uri in foreign:
        assert not store.owns(uri)
        with pytest.raises(NotAllowed):
            store.file(uri)
    bucket.delete(*before)


def test_a_sweep_deletes_unneeded_files(
    as_: As, source: Source, tif: Path, engine: Engine, store: UploadStore
) -> None:
    upload_file(as_("admin"), source(), tif)
    (needed,) = stored_uris(store)
    abandoned, unrecorded = add_receiving(engine, store), store.open_upload(store.new_uri())
    for incoming in (abandoned, unrecorded):
        incoming.write(b"x")
        incoming.commit()
    with hold_server_lock(engine, 1):
        assert abandoned.uri not in sweep(engine, store)
    assert abandoned.uri in sweep(engine, store)
    assert sorted(stored_uris(store)) == sorted([needed, unrecorded.uri])


def test_clients_get_503_and_the_worker_waits_while_the_storage_is_away(
    as_: As, source: Source, tif: Path, worker: UploadWorker, process: Process, storage_proxy: Proxy, bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    process()
    url = source()
    task = upload_file(as_("admin"), url, tif)
    monkeypatch.setattr("pipeline.storage.s3._RETRIES", 1)
    open_bucket.cache_clear()
    monkeypatch.setattr(storage_proxy, "fault", lambda _method, _path: 503)
    answer = send(as_("admin"), url, tif)
    assert answer.status_code == 503
    assert "(it answers 503); try again later" in answer.json()["detail"]
    assert bucket.name not in answer.text
    with pytest.raises(TransientError):
        process_waiting(worker)
    assert as_("admin").get(task).json()["status"] == "STARTED"
    monkeypatch.undo()
    open_bucket.cache_clear()
    assert [outcome.state for outcome in process_waiting(worker)] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"


def test_an_invalid_bucket_name_is_rejected() -> None:
    with pytest.raises(CatalogueError, match="does not name a bucket"):
        open_upload_store("s3:///uploads")


def test_uploads_can_be_stored_in_a_bucket_without_a_folder(bucket: Bucket) -> None:
    whole = open_upload_store(f"s3://{bucket.name}")
    assert isinstance(whole, BucketUploadStore)
    incoming = whole.open_upload(whole.new_uri())
    incoming.commit()
    assert incoming.uri in list(whole.uris())
    whole.discard([incoming.uri])
    wait_until(lambda: incoming.uri not in list(whole.uris()))
