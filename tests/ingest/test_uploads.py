"""Uploads to a process of `rastersources serve` are quick, take little memory and survive kills."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.upload_files import sweep
from pipeline.storage import path_of
from pipeline.storage.uploads import FolderUploadStore
from tests.support.database import execute, scalars
from tests.support.factory import write_raster
from tests.support.serving import (
    HEAD,
    KILLS,
    LARGE,
    Serving,
    assert_nothing_lost_or_doubled,
    assert_upload_needs_little_memory,
    serving_for,
)
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def serving(database_url: str, engine: Engine, home: Path) -> Iterator[Serving]:
    with serving_for(engine, database_url, home) as serving:
        yield serving


@pytest.fixture
def tif(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif")


@pytest.mark.soak  # it measures seconds, and fails on a busy machine
def test_95_percent_of_uploads_are_processed_within_five_seconds(
    serving: Serving, tif: Path
) -> None:
    url, seconds = serving.add_source(), []
    for step in range(40):
        start = time.monotonic()
        assert serving.wait_for(serving.send(url, tif, step)) == "SUCCESS"
        seconds.append(time.monotonic() - start)
    assert sorted(seconds)[int(0.95 * len(seconds)) - 1] < 5


@LARGE
def test_a_large_file_is_received_in_little_memory(serving: Serving, mebibytes: int) -> None:
    assert_upload_needs_little_memory(serving, mebibytes)


@KILLS
def test_a_killed_server_loses_nothing_and_duplicates_nothing(
    serving: Serving, engine: Engine, home: Path, tif: Path, kills: int
) -> None:
    assert_nothing_lost_or_doubled(serving, engine, tif, kills)
    store = FolderUploadStore(home.resolve() / "uploads")
    sweep(engine, store)
    files = set(scalars(engine, "SELECT uri FROM raster_files"))
    assert set(store.uris()) == files
    execute(engine, "UPDATE upload_files SET changed = now() - interval '1 hour'")
    sweep(engine, store)
    assert set(scalars(engine, "SELECT uri FROM upload_files")) == files


def test_reading_processes_end_with_a_killed_server(serving: Serving, tif: Path) -> None:
    url = serving.add_source()
    serving.wait_for(serving.send(url, tif, 0))
    readers = list_children(serving.process.pid)
    assert readers
    serving.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/stat").exists() for pid in readers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    serving.start()


def test_a_server_killed_while_receiving_leaves_no_file_or_reservation(
    serving: Serving, engine: Engine, home: Path
) -> None:
    url, half = serving.add_source(), 2**20
    store = FolderUploadStore(home.resolve() / "uploads")
    serving.wait_for_uploads(engine)
    used = scalars(engine, "SELECT coalesce(sum(size), 0) FROM raster_sources")[0]
    set_quota(engine, int(used) + 3 * half)
    before = set(store.uris())
    with begin_upload(serving, url, 2 * half) as connection:
        connection.sendall(bytes(half + half // 2))
        wait_until(lambda: count_new_bytes(store, before) > half // 2)
        assert send_zeros(serving, url, 2 * half) == 413
        serving.kill()
    serving.start()
    assert send_zeros(serving, url, 2 * half) == 200
    serving.wait_for_uploads(engine)
    wait_until(lambda: set(store.uris()) == set(scalars(engine, "SELECT uri FROM raster_files")))
    set_quota(engine, None)


def set_quota(engine: Engine, size: int | None) -> None:
    execute(engine, "UPDATE organisations SET raster_storage_capacity = :size", size=size)


def count_new_bytes(store: FolderUploadStore, before: set[str]) -> int:
    """Return the size of the files that were not in the storage before."""
    paths = [Path(path_of(uri)) for uri in set(store.uris()) - before]
    return sum(path.stat().st_size for path in paths if path.exists())


def send_zeros(serving: Serving, url: str, size: int) -> int:
    """Upload a file of zeros; return the status of the answer."""
    body = HEAD + bytes(size) + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return serving.client.post(f"{url}data/", content=body, headers=headers).status_code


@contextmanager
def begin_upload(serving: Serving, url: str, size: int) -> Iterator[socket.socket]:
    """Begin an upload whose form has so many bytes after its head; yield the connection."""
    with socket.create_connection(("127.0.0.1", serving.port)) as connection:
        head = (
            f"POST {url[url.index('/api') :]}data/ HTTP/1.1\r\nHost: x\r\nusername: __key__\r\n"
            f"password: {serving.key}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {len(HEAD) + size}\r\n\r\n"
        )
        connection.sendall(head.encode() + HEAD)
        yield connection


def list_children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_stopping_server_answers_senders_with_503(serving: Serving) -> None:
    store = FolderUploadStore(serving.home.resolve() / "uploads")
    url, before = serving.add_source(), set(store.uris())
    with begin_upload(serving, url, 50_000) as connection:
        wait_until(lambda: set(store.uris()) > before)
        serving.process.terminate()
        assert connection.recv(2**16).startswith(b"HTTP/1.1 503 ")
    assert serving.process.wait(60) == 0
    assert "Traceback" not in (serving.home / "errors").read_text()
    serving.start()
