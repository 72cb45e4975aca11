"""A real server that accepts uploads, a worker that processes them, and raster sources."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from httpx import Client, Response
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.file_row import file_row
from pipeline.catalogue.upload_files import QUERIES, RECEIVER_LOCK
from pipeline.catalogue.uploads import UploadOutcome
from pipeline.ingest.uploads import UploadWorker, process_until, process_waiting
from pipeline.raster import ProcessReader, ReadOptions
from pipeline.storage.uploads import FolderUploadStore, OpenUpload, UploadStore
from tests.api.conftest import SOURCES, As, client_of
from tests.support.factory import write_raster

LIMIT = 100_000
"""The size of the largest file that the server accepts, in bytes."""
NOON, ONE, TWO = (f"2024-01-01T{hour}:00:00Z" for hour in (12, 13, 14))

Source = Callable[..., str]
Process = Callable[[], list[UploadOutcome]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderUploadStore:
    return FolderUploadStore(tmp_path_factory.mktemp("home").resolve() / "uploads")


@pytest.fixture(scope="module")
def client(database_url: str, store: FolderUploadStore) -> Iterator[Client]:
    config = ApiConfig(database_url, uploads=str(store.folder), upload_bytes=LIMIT)
    with client_of(config) as client:
        yield client


@pytest.fixture(scope="module")
def worker(engine: Engine, store: UploadStore) -> Iterator[UploadWorker]:
    with ProcessReader(1, file_row) as pool:
        yield UploadWorker(engine, store, ReadOptions(), pool)


@pytest.fixture
def process(worker: UploadWorker) -> Process:
    """Return a function that processes all waiting uploads."""

    def process() -> list[UploadOutcome]:
        return [outcome for batch in iter(lambda: process_waiting(worker), []) for outcome in batch]

    return process


@pytest.fixture
def working(worker: UploadWorker) -> Iterator[None]:
    """Process uploads in the background during the test."""
    stop = Event()
    thread = Thread(target=process_until, args=(stop, worker))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture(autouse=True)
def clean(engine: Engine, worker: UploadWorker) -> Iterator[None]:
    """Delete the uploaded files and the quotas after each test."""
    yield
    worker.store.discard(list(worker.store.uris()))
    run(engine, "DELETE FROM upload_files")
    run(engine, "UPDATE organisations SET raster_storage_capacity = NULL")


@pytest.fixture
def source(as_: As, owner: str) -> Source:
    """Return a function that adds a raster source and returns its URL."""

    def add(**fields: Any) -> str:
        body = {"name": "a", "organisation": owner, "access_modifier": "Public", **fields}
        url: str = as_("admin").post(SOURCES, json=body).json()["url"]
        return url

    return add


@pytest.fixture
def tif(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif")


def run(engine: Engine, statement: str, **values: object) -> Any:
    with engine.begin() as connection:
        return connection.execute(text(statement), values)


def send(
    client: Client,
    url: str,
    path: Path,
    name: str = "a.tif",
    time: str | None = None,
    fields: Mapping[str, str] = {},
) -> Response:
    """Upload a file."""
    with path.open("rb") as file:
        data = {**fields} if time is None else {**fields, "timestamp": time}
        return client.post(f"{url}data/", files={"file": (name, file)}, data=data)


def upload_file(client: Client, url: str, path: Path, **options: Any) -> str:
    """Upload a file, which must be accepted; return the URL of its task."""
    answer = send(client, url, path, **options)
    assert answer.status_code == 200, answer.text
    task: str = answer.json()["url"]
    return task


def get_only_row(client: Client, url: str, part: str) -> Any:
    """Return the only row of a list below a source, such as `files`."""
    (row,) = client.get(f"{url}{part}/").json()["results"]
    return row


def add_receiving(engine: Engine, store: UploadStore, receiver: int = 1) -> OpenUpload:
    """Record a file that the server with this number receives. The server counts as dead unless it holds its lock."""
    uri = store.new_uri()
    run(
        engine,
        "INSERT INTO upload_files (uri, receiver) VALUES (:uri, :receiver)",
        uri=uri,
        receiver=receiver,
    )
    return store.open_upload(uri)


@contextmanager
def hold_server_lock(engine: Engine, receiver: int) -> Iterator[None]:
    """Hold the lock of the server with this number, so that it counts as alive."""
    with engine.connect() as connection:
        names = {"lock": RECEIVER_LOCK, "receiver": receiver}
        connection.execute(QUERIES["hold_receiver"], names)
        yield


def stored_uris(store: UploadStore) -> list[str]:
    return list(store.uris())
