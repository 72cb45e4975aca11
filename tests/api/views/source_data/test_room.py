"""Room for uploads: concurrent files exceed neither the reserve of a disk nor a quota."""

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
from tests.api.views.source_data.conftest import Source, run, send, stored
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")

MIB = 2**20
DISK, RESERVE = 16 * MIB, 4 * MIB
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.tif"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system."""
    mount = shutil.which("mount")
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK},nr_inodes=100", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(
    disk: Path, database_url: str, engine: Engine, people: dict[str, str]
) -> Iterator[Client]:
    """A client of a server whose uploads lie on the small disk."""
    uploads = disk.resolve() / "uploads"
    run(engine, "DELETE FROM upload_files")
    config = ApiConfig(database_url, uploads=str(uploads), upload_reserve_bytes=RESERVE)
    with client_of(config) as client:
        client.auth = ("__key__", people["admin"])
        yield client
    shutil.rmtree(uploads, ignore_errors=True)


def free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def path_of(url: str) -> str:
    """Return the path of a URL, for another server."""
    return url[url.index("/api") :]


def stream(size: int) -> Iterator[bytes]:
    """Yield a form with a file of this size, without declaring its length."""
    yield HEAD
    for start in range(0, size, MIB):
        yield bytes(min(MIB, size - start))
    yield TAIL


def post(client: Client, url: str, size: int, *, declared: bool = True) -> Any:
    """Send a file of this size."""
    body = b"".join(stream(size)) if declared else stream(size)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return client.post(f"{path_of(url)}data/", content=body, headers=headers)


@contextmanager
def lowest_free(disk: Path) -> Iterator[list[int]]:
    """Record the least free space of the disk during the block."""
    seen, stop = [free(disk)], Event()

    def watch() -> None:
        while not stop.wait(0.001):
            seen[0] = min(seen[0], free(disk))

    watching = Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        stop.set()
        watching.join()


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_a_file_too_large_for_the_disk_is_507_and_leaves_nothing(
    source: Source, small: Client, disk: Path, *, declared: bool
) -> None:
    url = source()
    with lowest_free(disk) as seen:
        answer = post(small, url, DISK - RESERVE + MIB, declared=declared)
    assert answer.status_code == 507
    assert answer.json() == {
        "status": 507,
        "code": 10,
        "message": "Insufficient storage. #507.10",
        "detail": "The server's disk has no room for this file beside what others are sending and what it keeps "
        "free; try again later, or ask the operator to make room.",
    }
    assert seen[0] >= RESERVE
    assert free(disk) > DISK - MIB
    assert post(small, url, DISK - RESERVE - MIB, declared=declared).status_code == 200


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_concurrent_files_leave_the_reserve_free(
    source: Source, small: Client, disk: Path, *, declared: bool
) -> None:
    sources = [source() for _ in range(12)]
    with lowest_free(disk) as seen, ThreadPoolExecutor(12) as threads:
        answers = list(
            threads.map(lambda url: post(small, url, 2 * MIB, declared=declared), sources)
        )
    statuses = [answer.status_code for answer in answers]
    # files of unknown length may all reach the reserve before one of them is whole
    assert {507} <= set(statuses) <= {200, 507}
    assert 200 in statuses or not declared
    assert seen[0] >= RESERVE
    assert 2 * MIB * statuses.count(200) == sum(
        path.stat().st_size for path in disk.rglob("raster.tif")
    )


def test_an_upload_ends_when_others_fill_the_disk_up_to_the_reserve(
    source: Source, small: Client, disk: Path, engine: Engine, people: dict[str, str]
) -> None:
    with sending(small, source(), people["admin"], 8 * MIB) as connection:
        connection.sendall(bytes(3 * MIB))
        wait_until(lambda: free(disk) < DISK - 2 * MIB)
        (disk / "other").write_bytes(bytes(5 * MIB))
        with lowest_free(disk) as seen:
            connection.sendall(bytes(2 * MIB))
            assert answer_of(connection).startswith(b"HTTP/1.1 507 ")
    assert seen[0] >= RESERVE
    (disk / "other").unlink()
    wait_until(lambda: free(disk) > DISK - MIB)
    assert (
        run(engine, "SELECT count(*) FROM upload_files WHERE receiver IS NOT NULL").scalar_one()
        == 0
    )


def test_a_disk_without_inodes_is_507(
    source: Source, small: Client, disk: Path, engine: Engine
) -> None:
    url, folder = source(), disk / "others"
    folder.mkdir()
    for number in range(os.statvfs(disk).f_ffree):
        (folder / str(number)).touch()
    assert post(small, url, MIB).status_code == 507
    shutil.rmtree(folder)
    assert post(small, url, MIB).status_code == 200
    assert on_their_way(engine) == 0


@contextmanager
def sending(client: Client, url: str, key: str, size: int) -> Iterator[socket.socket]:
    """Return a connection on which an upload of this size has begun."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        length = len(HEAD) + size + len(TAIL)
        head = (
            f"POST {path_of(url)}data/ HTTP/1.1\r\nHost: x\r\nusername: __key__\r\npassword: {key}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        )
        connection.sendall(head.encode() + HEAD)
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """Return the first line of the answer."""
    return connection.recv(2**16).partition(b"\r\n")[0]


def on_their_way(engine: Engine) -> int:
    found: int = run(
        engine, "SELECT count(*) FROM upload_files WHERE receiver IS NOT NULL"
    ).scalar_one()
    return found


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
        began = []
        for number in range(3):
            began.append(stack.enter_context(sending(large, url, key, size)))
            wait_until(lambda: on_their_way(engine) == number + 1)  # noqa: B023
        refused = stack.enter_context(sending(large, url, key, size))
        assert answer_of(refused).startswith(b"HTTP/1.1 413 ")
        began.pop().close()
        wait_until(lambda: on_their_way(engine) == 2)
        began.append(stack.enter_context(sending(large, url, key, size)))
        wait_until(lambda: on_their_way(engine) == 3)
        for connection in began:
            connection.sendall(bytes(size) + TAIL)
        assert [answer_of(connection) for connection in began] == [b"HTTP/1.1 200 OK"] * 3
    assert on_their_way(engine) == 0
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
    with sending(large, url, people["admin"], MIB):
        wait_until(lambda: on_their_way(engine) == 1)
        assert as_("admin").patch(url, json={"organisation": str(uuid)}).status_code == 413
    wait_until(lambda: on_their_way(engine) == 0)
    assert as_("admin").patch(url, json={"organisation": str(uuid)}).status_code == 200


def test_a_sweep_spares_the_files_that_another_server_receives(
    source: Source, large: Client, engine: Engine, store: UploadStore, people: dict[str, str]
) -> None:
    with sending(large, source(), people["admin"], MIB) as connection:
        wait_until(lambda: stored(store) != [])
        claim_storage(engine, store)
        assert sweep(engine, store) == []
        connection.sendall(bytes(MIB) + TAIL)
        assert answer_of(connection) == b"HTTP/1.1 200 OK"
    assert len(stored(store)) == 1


def test_a_file_given_up_while_the_database_was_away_is_rejected(
    source: Source, large: Client, engine: Engine, store: UploadStore, people: dict[str, str]
) -> None:
    locks = f"""
        SELECT pg_terminate_backend(pid) FROM pg_locks
        WHERE locktype = 'advisory' AND classid = {RECEIVER_LOCK} AND objid <> 0
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    url = source()
    with sending(large, url, people["admin"], MIB) as connection:
        wait_until(lambda: stored(store) != [])
        assert all(run(engine, locks).scalars())
        wait_until(lambda: sweep(engine, store) != [])
        connection.sendall(bytes(MIB) + TAIL)
        assert answer_of(connection) == b"HTTP/1.1 503 Service Unavailable"
    assert stored(store) == []
    assert post(large, url, MIB).status_code == 200  # the lock is held again
    assert sweep(engine, store) != stored(store)
    assert len(stored(store)) == 1


@contextmanager
def locked(engine: Engine, url: str) -> Iterator[None]:
    """Lock a raster source, as an ingestion of many files does."""
    with engine.begin() as connection:
        query = text("SELECT FROM raster_sources WHERE uuid = CAST(:uuid AS uuid) FOR UPDATE")
        connection.execute(query, {"uuid": url.rstrip("/").rpartition("/")[2]})
        yield


def test_a_locked_source_blocks_neither_other_uploads_nor_readers(
    source: Source, large: Client, engine: Engine
) -> None:
    changing, other = source(), source()
    with ThreadPoolExecutor(24) as threads:
        with locked(engine, changing):
            waiting = [threads.submit(post, large, changing, MIB) for _ in range(12)]
            writing = [
                threads.submit(large.patch, path_of(changing), json={"name": "b"})
                for _ in range(12)
            ]
            wait_until(lambda: wait_for_locks(engine) >= 4)
            assert post(large, other, MIB).status_code == 200
            assert large.get("/health/").status_code == 200
            refused = [future.result() for future in waiting]
        assert [future.result().status_code for future in writing] == [200] * 12
    assert [row.status_code for row in refused] == [503] * 12
    assert all(row.headers["Retry-After"] and "changed just now" in row.text for row in refused)
    assert on_their_way(engine) == 0


def test_only_the_uploads_of_a_locked_source_wait_for_it(
    source: Source, large: Client, engine: Engine, people: dict[str, str]
) -> None:
    changing, other = source(), source()
    with ExitStack() as stack:
        sent = [
            stack.enter_context(sending(large, changing, people["admin"], MIB)) for _ in range(12)
        ]
        wait_until(lambda: on_their_way(engine) == 12)
        with locked(engine, changing):
            for connection in sent:
                connection.sendall(bytes(MIB) + TAIL)
            wait_until(lambda: wait_for_locks(engine) >= 1)
            assert post(large, other, MIB).status_code == 200
            assert large.get("/health/").status_code == 200
            assert on_their_way(engine) == 12
        assert [answer_of(row) for row in sent] == [b"HTTP/1.1 200 OK"] * 12


def wait_for_locks(engine: Engine) -> int:
    found: int = run(
        engine,
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()",
    ).scalar_one()
    return found


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_a_dry_run_leaves_the_reserve_of_its_own_disk_free(
    source: Source, disk: Path, database_url: str, store: FolderUploadStore,
    people: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, declared: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    url = f"{path_of(source())}data/?dry-run"
    config = ApiConfig(
        database_url,
        uploads=str(store.folder),
        upload_reserve_bytes=RESERVE,
        try_upload=lambda _: 0,
    )
    with client_of(config) as client, lowest_free(disk) as seen:
        client.auth = ("__key__", people["admin"])
        headers = {"Content-Type": "multipart/form-data; boundary=b"}

        def sent(size: int) -> int:
            body = b"".join(stream(size)) if declared else stream(size)
            return client.post(url, content=body, headers=headers).status_code

        assert sent(MIB) == 200
        shutil.rmtree(store.folder)  # so that the file lies among the temporary ones
        assert sent(DISK - RESERVE + MIB) == 507
        assert sent(DISK - RESERVE - MIB) == 200
    assert seen[0] >= RESERVE


def test_a_large_announced_size_does_not_block_the_disk(
    source: Source, small: Client, disk: Path, engine: Engine, people: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("pipeline.api.receive_upload.AHEAD", 2 * MIB, raising=False)
    slow, quick = source(), source()
    with sending(small, slow, people["admin"], DISK - RESERVE - MIB) as connection:
        connection.sendall(bytes(80))
        wait_until(lambda: on_their_way(engine) == 1)
        with lowest_free(disk) as seen:
            assert post(small, quick, 8 * MIB).status_code == 200
            assert post(small, quick, 2 * MIB).status_code == 507
            connection.sendall(bytes(DISK - RESERVE - MIB - 80) + TAIL)
            assert answer_of(connection).startswith(b"HTTP/1.1 507 ")
    assert seen[0] >= RESERVE


def test_concurrent_long_files_leave_the_reserve_free(
    source: Source, small: Client, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.api.receive_upload.AHEAD", 2 * MIB, raising=False)
    sources = [source() for _ in range(4)]
    with lowest_free(disk) as seen, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda url: post(small, url, 7 * MIB), sources))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 507}
    assert 507 in statuses
    assert seen[0] >= RESERVE
    wait_until(lambda: free(disk) > DISK - MIB - 7 * MIB * statuses.count(200))
    assert post(small, sources[0], DISK - RESERVE + MIB).status_code == 507
