"""A sync without a database, without room on the disk, or with a storage that fails; the next run completes it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from pipeline.database.private_cluster.cluster import Cluster
from tests.support.commands import RASTERSOURCES, run, start
from tests.support.factory import write_raster
from tests.support.private_clusters import add_cluster
from tests.support.proxy import Proxy, fail_every
from tests.support.s3 import Bucket
from tests.support.warm_process import WarmProcess

FILES, BATCH = 400, 20
CONFIG = """
[[source]]
id = "some"
files = "files"
organisation = "Owner"
"""
SYNC = [*RASTERSOURCES, "sync", "--create"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A definition of many small files."""
    (tmp_path / "sources.toml").write_text(CONFIG)
    (tmp_path / "files").mkdir()
    content = write_raster(tmp_path / "one.tif").read_bytes()
    for index in range(FILES):
        (tmp_path / "files" / f"{index:03d}.tif").write_bytes(content)
    return tmp_path


def start_sync(folder: Path, home: Path) -> WarmProcess:
    return start(SYNC, cwd=folder, RASTERSOURCES_HOME=home, RASTERSOURCES_BATCH_SIZE=str(BATCH))


def count(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        (number,) = connection.execute(query).fetchone() or (0,)
        return int(number)


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statements)


REGISTERED = "SELECT count(*) FROM raster_files WHERE state = 'present'"


STAND_STILL = """
    CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM raster_files) > 50 THEN PERFORM pg_sleep(86400); END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER stand_still AFTER INSERT ON raster_files EXECUTE FUNCTION stand_still();
"""
STANDS_STILL = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


def wait_for_third_batch(cluster: Cluster, process: WarmProcess) -> None:
    """Wait until a sync is in the middle of its third batch."""
    while process.poll() is None:
        if count(cluster.url(), STANDS_STILL):
            return
        time.sleep(0.02)
    raise AssertionError("the sync ended before")


def assert_completed_by_the_next_run(folder: Path, cluster: Cluster) -> None:
    home = cluster.home
    assert count(cluster.url(), REGISTERED) < FILES
    done = run(SYNC, cwd=folder, RASTERSOURCES_HOME=home)
    assert done.stdout.count(" registered")
    assert count(cluster.url(), REGISTERED) == FILES
    assert count(cluster.url(), "SELECT count(*) FROM raster_files WHERE state = 'missing'") == 0
    states = "SELECT count(*) FROM sync_runs WHERE state = 'running'"
    assert count(cluster.url(), states) == 0


def test_a_database_that_stops_ends_the_run_with_a_sentence(
    folder: Path, tmp_path_factory: Any
) -> None:
    cluster = add_cluster(tmp_path_factory.mktemp("home"))
    cluster.start()
    try:
        run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_HOME=cluster.home)
        execute(cluster.url(), STAND_STILL)
        process = start_sync(folder, cluster.home)
        wait_for_third_batch(cluster, process)
        kill_postmaster(cluster)
        _, errors = process.communicate()
        assert process.returncode == 1
        assert errors.splitlines()[-1].startswith(
            "rastersources: the database does not answer; try again"
        )
        assert "Traceback" not in errors
        cluster.start()
        execute(cluster.url(), "DROP FUNCTION stand_still CASCADE")
        assert count(cluster.url(), REGISTERED) == 2 * BATCH
        assert_completed_by_the_next_run(folder, cluster)
    finally:
        cluster.stop()


def kill_postmaster(cluster: Cluster) -> None:
    """Stop PostgreSQL at once, as a failure of the machine does."""
    pid = int((cluster.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    while (cluster.data / "postmaster.pid").exists():
        time.sleep(0.02)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a disk on a folder; skip the test if this user may not."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}M,mode=755", "none", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_ends_the_run_with_a_sentence(
    folder: Path, tmp_path_factory: Any
) -> None:
    with small_disk(tmp_path_factory.mktemp("disk"), 400) as home:
        cluster = add_cluster(home)
        cluster.start()
        try:
            run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_HOME=home)
            filler = home / "filler"
            fill_disk(filler, leave=200_000)
            process = start_sync(folder, home)
            _, errors = process.communicate()
            assert process.returncode == 1, errors
            assert errors.splitlines()[-1].startswith(
                "rastersources: the database does not answer; try again"
            )
            assert "Traceback" not in errors
            filler.unlink()
            cluster.start()
            assert_completed_by_the_next_run(folder, cluster)
        finally:
            cluster.stop()


def fill_disk(filler: Path, leave: int) -> None:
    """Fill a disk until only so many bytes are free."""
    free = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leave)


def states(engine: Engine) -> list[tuple[Any, ...]]:
    query = "SELECT right(uri, 5), state FROM raster_files ORDER BY uri"
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_a_listing_of_a_bucket_that_fails_half_way_marks_nothing_as_missing(
    bucket: Bucket, s3_proxy: Proxy, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    content = write_raster(tmp_path / "one.tif").read_bytes()
    bucket.put_many(["in/a.tif", "in/z.tif"], content)
    # These keys bring z.tif onto the second page.
    bucket.put_many(f"in/m{index:04d}.txt" for index in range(1100))
    (tmp_path / "sources.toml").write_text(CONFIG.replace('"files"', f'"s3://{bucket.name}/in"'))

    def sync(status: int = 0) -> subprocess.CompletedProcess[str]:
        return run(SYNC, status=status, cwd=tmp_path, RASTERSOURCES_DATABASE_URL=database_url)

    assert "2 registered" in sync().stdout
    bucket.delete("in/a.tif")
    s3_proxy.fault = lambda _, path: 0 if "continuation-token" in path else None
    assert "rastersources: " in sync(status=1).stderr
    assert states(engine) == [("a.tif", "present"), ("z.tif", "present")]
    s3_proxy.fault = fail_every(5, 503)
    (tmp_path / "sources.toml").write_text(
        (tmp_path / "sources.toml").read_text() + "max_missing_percent = 50\n"
    )
    assert "0 registered, 1 unchanged, 0 rejected, 1 missing" in sync().stdout
    assert states(engine) == [("a.tif", "missing"), ("z.tif", "present")]
