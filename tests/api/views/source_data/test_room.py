"""Space for uploads: concurrent files exceed neither the reserve of a disk nor a quota."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.upload_files import RECEIVER_LOCK, claim_storage, sweep
from pipeline.catalogue.users import grant_role
from pipeline.storage.uploads import FolderUploadStore, UploadStore
from tests.api.conftest import As, client_of
from tests.api.views.source_data.conftest import Source, run, send, stored_uris
from tests.support.serving import HEAD
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")

MIB = 2**20
DISK, RESERVE = 16 * MIB, 4 * MIB

TAIL = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount a small file system."""
    mount = shutil.which("mount")
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK},nr_inodes=100", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk_client(
    disk: Path, database_url: str, engine: Engine, people: dict[str, str]
) -> Iterator[Client]:
    """A client of a server with its uploads on the small disk."""
    uploads = disk.resolve() / "uploads"
    run(engine, "DELETE FROM upload_files")
    config = ApiConfig(database_url, uploads=str(uploads), upload_reserve_bytes=RESERVE)
    with client_of(config) as client:
        client.auth = ("__key__", people["admin"])
        yield client
    shutil.rmtree(uploads, ignore_errors=True)


def free_bytes(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def path_of(url: str) -> str:
    """Return the path of a URL, to request it from another server."""
    return url[url.index("/api") :]


def stream(size: int) -> Iterator[bytes]:
    """Yield a form with a file of this size, in pieces."""
    yield HEAD
    for start in range(0, size, MIB):
        yield bytes(min(MIB, size - start))
    yield TAIL


def post(client: Client, url: str, size: int, *, declared: bool = True) -> Any:
    """Upload a file of this size; the length of the request is declared or not."""
    body = b"".join(stream(size)) if declared else stream(size)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return client.post(f"{path_of(url)}data/", content=body, headers=headers)


@contextmanager
def record_lowest_free(disk: Path) -> Iterator[list[int]]:
    """Record the lowest free space of the disk during the block."""
    lowest, stop = [free_bytes(disk)], Event()

    def watch() -> None:
        while not stop.wait(0.001):
            lowest[0] = min(lowest[0], free_bytes(disk))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield lowest
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_a_file_too_large_for_the_disk_is_507_and_leaves_nothing(
    source: Source, small_disk_client: Client, disk: Path, *, declared: bool
) -> None:
    url = source()
    with record_lowest_free(disk) as lowest:
        answer = post(small_disk_client, url, DISK - RESERVE + MIB, declared=declared)
    assert answer.status_code == 507
    assert answer.json() == {
        "status": 507,
        "code": 10,
        "message": "Insufficient storage. #507.10",
        "detail": "The server's disk has no room for this file; other uploads and a reserve need the free space. "
        "Try again later, or ask the operator to make room.",
    }
    assert lowest[0] >= RESERVE
    assert free_bytes(disk) > DISK - MIB
    assert post(small_disk_client, url, DISK - RESERVE - MIB, declared=declared).status_code == 200


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_concurrent_files_leave_the_reserve_free(
    source: Source, small_disk_client: Client, disk: Path, *, declared: bool
) -> None:
    sources = [source() for _ in range(12)]
    with record_lowest_free(disk) as lowest, ThreadPoolExecutor(12) as threads:
        answers = list(
            threads.map(
                lambda url: post(small_disk_client, url, 2 * MIB, declared=declared), sources
            )
        )
    statuses = [answer.status_code for answer in answers]
    # files of unknown length may all reach the reserve before one of them is complete
    assert {507} <= set(statuses) <= {200, 507}
    assert 200 in statuses or not declared
    assert lowest[0] >= RESERVE
    assert 2 * MIB * statuses.count(200) == sum(
        path.stat().st_size for path in disk.rglob("raster.tif")
    )


def test_an_upload_ends_when_others_fill_the_disk_up_to_the_reserve(
    source: Source, small_disk_client: Client, disk: Path, engine: Engine, people: dict[str, str]
) -> None:
    with begin_upload(small_disk_client, source(), people["admin"], 8 * MIB) as connection:
        connection.sendall(bytes(3 * MIB))
        wait_until(lambda: free_bytes(disk) < DISK - 2 * MIB)
        (disk / "other").write_bytes(bytes(5 * MIB))
        with record_lowest_free(disk) as lowest:
            connection.sendall(bytes(2 * MIB))
            assert read_status_line(connection).startswith(b"HTTP/1.1 507 ")
    assert lowest[0] >= RESERVE
    (disk / "other").unlink()
    wait_until(lambda: free_bytes(disk) > DISK - MIB)
    assert count_receiving(engine) == 0


def test_a_disk_without_inodes_is_507(
    source: Source, small_disk_client: Client, disk: Path, engine: Engine
) -> None:
    url, folder = source(), disk / "others"
    folder.mkdir()
    for number in range(os.statvfs(disk).f_ffree):
        (folder / str(number)).touch()
    assert post(small_disk_client, url, MIB).status_code == 507
    shutil.rmtree(folder)
    assert post(small_disk_client, url, MIB).status_code == 200
    assert count_receiving(engine) == 0


@contextmanager
def begin_upload(client: Client, url: str, key: str, size: int) -> Iterator[socket.socket]:
    """Begin an upload of this size; yield its connection."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        length = len(HEAD) + size + len(TAIL)
        head = (
            f"POST {path_of(url)}data/ HTTP/1.1\r\nHost: x\r\nusername: __key__\r\npassword: {key}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        )
        connection.sendall(head.encode() + HEAD)
        yield connection


def read_status_line(connection: socket.socket) -> bytes:
    """Read the first line of the answer."""
    return connection.recv(2**16).partition(b"\r\n")[0]


def count_receiving(engine: Engine) -> int:
    """Count the files that a server is receiving."""
    count: int = run(
        engine, "SELECT count(*) FROM upload_files WHERE receiver IS NOT NULL"
    ).scalar_one()
    return count


@pytest.fixture
def large(database_url: str, store: FolderUploadStore, people: dict[str, str]) -> Iterator[Client]:
    """A client of a server that accepts larger files."""
    with client_of(ApiConfig(database_url, uploads=str(store.folder))) as client:
        client.auth = ("__key__", people["admin"])
        yield client


def test_the_quota_is_reserved_for_files_while_they_stream(
    source: Source, large: Client, engine: Engine, people: dict[str, str]
) -> None:
    url, key, size = source(temporal=True), people["admin"], 2 * MIB
    run(engine, "UPDATE organisations SET raster_storage_capacity = :n", n=3 * size + MIB)
    with ExitStack() as stack:
        connections = []
        for number in range(3):
            connections.append(stack.enter_context(begin_upload(large, url, key, size)))
            wait_until(lambda: count_receiving(engine) == number + 1)  # noqa: B023
        refused = stack.enter_context(begin_upload(large, url, key, size))
        assert read_status_line(refused).startswith(b"HTTP/1.1 413 ")
        connections.pop().close()
        wait_until(lambda: count_receiving(engine) == 2)
        connections.append(stack.enter_context(begin_upload(large, url, key, size)))
        wait_until(lambda: count_receiving(engine) == 3)
        for connection in connections:
            connection.sendall(bytes(size) + TAIL)
        assert [read_status_line(connection) for connection in connections] == [
            b"HTTP/1.1 200 OK"
        ] * 3
    assert count_receiving(engine) == 0
    assert send(large, path_of(url), Path(__file__)).status_code == 200


def test_a_source_moves_with_the_files_being_received(
    as_: As, source: Source, large: Client, engine: Engine, people: dict[str, str],
    add_organisation: Any,
) -> None:  # fmt: skip
    add_organisation("Other")
    grant_role(engine, "admin", "Other", "supplier")
    run(engine, "UPDATE organisations SET raster_storage_capacity = 1000 WHERE name = 'Other'")
    uuid = run(engine, "SELECT uuid FROM organisations WHERE name = 'Other'").scalar_one()
    url = source()
    with begin_upload(large, url, people["admin"], MIB):
        wait_until(lambda: count_receiving(engine) == 1)
        assert as_("admin").patch(url, json={"organisation": str(uuid)}).status_code == 413
    wait_until(lambda: count_receiving(engine) == 0)
    assert as_("admin").patch(url, json={"organisation": str(uuid)}).status_code == 200


def test_a_sweep_keeps_the_files_that_another_server_receives(
    source: Source, large: Client, engine: Engine, store: UploadStore, people: dict[str, str]
) -> None:
    with begin_upload(large, source(), people["admin"], MIB) as connection:
        wait_until(lambda: stored_uris(store) != [])
        claim_storage(engine, store)
        assert sweep(engine, store) == []
        connection.sendall(bytes(MIB) + TAIL)
        assert read_status_line(connection) == b"HTTP/1.1 200 OK"
    assert len(stored_uris(store)) == 1


def test_a_file_is_rejected_if_it_was_swept_while_the_database_was_away(
    source: Source, large: Client, engine: Engine, store: UploadStore, people: dict[str, str]
) -> None:
    end_lock_session = f"""
        SELECT pg_terminate_backend(pid) FROM pg_locks
        WHERE locktype = 'advisory' AND classid = {RECEIVER_LOCK} AND objid <> 0
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    url = source()
    with begin_upload(large, url, people["admin"], MIB) as connection:
        wait_until(lambda: stored_uris(store) != [])
        assert all(run(engine, end_lock_session).scalars())
        wait_until(lambda: sweep(engine, store) != [])
        connection.sendall(bytes(MIB) + TAIL)
        assert read_status_line(connection) == b"HTTP/1.1 503 Service Unavailable"
    assert stored_uris(store) == []
    assert post(large, url, MIB).status_code == 200  # the lock is held again
    assert sweep(engine, store) != stored_uris(store)
    assert len(stored_uris(store)) == 1


@contextmanager
def lock_source(engine: Engine, url: str) -> Iterator[None]:
    """Lock a raster source until the end of the block, as an ingestion of many files does."""
    with engine.begin() as connection:
        query = text("SELECT FROM raster_sources WHERE uuid = CAST(:uuid AS uuid) FOR UPDATE")
        connection.execute(query, {"uuid": url.rstrip("/").rpartition("/")[2]})
        yield


def test_a_locked_source_blocks_neither_other_uploads_nor_readers(
    source: Source, large: Client, engine: Engine
) -> None:
    changing, other = source(), source()
    with ThreadPoolExecutor(24) as threads:
        with lock_source(engine, changing):
            uploads = [threads.submit(post, large, changing, MIB) for _ in range(12)]
            writes = [
                threads.submit(large.patch, path_of(changing), json={"name": "b"})
                for _ in range(12)
            ]
            wait_until(lambda: count_waiting_sessions(engine) >= 4)
            assert post(large, other, MIB).status_code == 200
            assert large.get("/health/").status_code == 200
            refused = [upload.result() for upload in uploads]
        assert [write.result().status_code for write in writes] == [200] * 12
    assert [answer.status_code for answer in refused] == [503] * 12
    assert all(answer.headers["Retry-After"] for answer in refused)
    assert all("is being changed" in answer.text for answer in refused)
    assert count_receiving(engine) == 0


def test_only_the_uploads_of_a_locked_source_wait_for_it(
    source: Source, large: Client, engine: Engine, people: dict[str, str]
) -> None:
    changing, other = source(), source()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(begin_upload(large, changing, people["admin"], MIB))
            for _ in range(12)
        ]
        wait_until(lambda: count_receiving(engine) == 12)
        with lock_source(engine, changing):
            for connection in connections:
                connection.sendall(bytes(MIB) + TAIL)
            wait_until(lambda: count_waiting_sessions(engine) >= 1)
            assert post(large, other, MIB).status_code == 200
            assert large.get("/health/").status_code == 200
            assert count_receiving(engine) == 12
        assert [read_status_line(connection) for connection in connections] == [
            b"HTTP/1.1 200 OK"
        ] * 12


def count_waiting_sessions(engine: Engine) -> int:
    """Count the sessions that wait for a lock."""
    count: int = run(
        engine,
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()",
    ).scalar_one()
    return count


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_a_dry_run_leaves_the_reserve_of_its_disk_free(
    source: Source, disk: Path, database_url: str, store: FolderUploadStore,
    people: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, declared: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    url = f"{path_of(source())}data/?dry-run"
    config = ApiConfig(
        database_url,
        uploads=str(store.folder),
        upload_reserve_bytes=RESERVE,
        dry_run_upload=lambda _: 0,
    )
    with client_of(config) as client, record_lowest_free(disk) as lowest:
        client.auth = ("__key__", people["admin"])
        headers = {"Content-Type": "multipart/form-data; boundary=b"}

        def send_dry_run(size: int) -> int:
            body = b"".join(stream(size)) if declared else stream(size)
            return client.post(url, content=body, headers=headers).status_code

        assert send_dry_run(MIB) == 200
        shutil.rmtree(store.folder)  # so that the file is stored with the temporary files
        assert send_dry_run(DISK - RESERVE + MIB) == 507
        assert send_dry_run(DISK - RESERVE - MIB) == 200
    assert lowest[0] >= RESERVE


def test_a_large_announced_size_does_not_block_the_disk(
    source: Source, small_disk_client: Client, disk: Path, engine: Engine, people: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("pipeline.api.receive_upload.AHEAD", 2 * MIB, raising=False)
    slow, quick = source(), source()
    with begin_upload(small_disk_client, slow, people["admin"], DISK - RESERVE - MIB) as connection:
        connection.sendall(bytes(80))
        wait_until(lambda: count_receiving(engine) == 1)
        with record_lowest_free(disk) as lowest:
            assert post(small_disk_client, quick, 8 * MIB).status_code == 200
            assert post(small_disk_client, quick, 2 * MIB).status_code == 507
            connection.sendall(bytes(DISK - RESERVE - MIB - 80) + TAIL)
            assert read_status_line(connection).startswith(b"HTTP/1.1 507 ")
    assert lowest[0] >= RESERVE


def test_concurrent_long_files_leave_the_reserve_free(
    source: Source, small_disk_client: Client, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.api.receive_upload.AHEAD", 2 * MIB, raising=False)
    sources = [source() for _ in range(4)]
    with record_lowest_free(disk) as lowest, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda url: post(small_disk_client, url, 7 * MIB), sources))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 507}
    assert 507 in statuses
    assert lowest[0] >= RESERVE
    wait_until(lambda: free_bytes(disk) > DISK - MIB - 7 * MIB * statuses.count(200))
    assert post(small_disk_client, sources[0], DISK - RESERVE + MIB).status_code == 507
