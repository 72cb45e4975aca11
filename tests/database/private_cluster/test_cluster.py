"""The private cluster starts in any folder, is shared, is stopped by the last process, and restarts after a crash."""

import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline.database.private_cluster.cluster import Cluster
from pipeline.database.private_cluster.postmaster import cluster_processes
from pipeline.database.private_cluster.programs import give_to_owner, run_as
from pipeline.errors import CatalogueError
from tests.support.commands import RASTERSOURCES, environment, run
from tests.support.needs import needs_own_cluster

pytestmark = needs_own_cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a space, a quote and a path too long for a socket, below a folder that other users cannot enter."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    home = closed / 'it\'s "a" home $HOME' / "/".join(["x" * 40] * 4)
    yield home
    Cluster(home).stop()


def select_42(url: str) -> object:
    with psycopg.connect(url) as connection:
        return (connection.execute("SELECT 42").fetchone() or (None,))[0]


def socket_folder(url: str) -> Path:
    with psycopg.connect(url) as connection:
        return Path(connection.info.host)


def test_it_runs_only_while_it_is_in_use(home: Path) -> None:
    with Cluster(home).lease() as url:
        folder = socket_folder(url)
        assert select_42(url) == 42
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(os.fsencode(folder / ".s.PGSQL.5432")) <= 107
        with psycopg.connect(url) as connection:
            (listening,) = connection.execute("SHOW listen_addresses").fetchone() or ("?",)
            (postgis,) = connection.execute("SELECT postgis_lib_version()").fetchone() or ("",)
            (superuser,) = connection.execute(
                "SELECT usesuper FROM pg_user WHERE usename = user"
            ).fetchone() or ("?",)
        assert (listening, bool(postgis), superuser) == ("", True, False)
    assert not folder.exists()
    assert not Cluster(home).answers()
    with pytest.raises(CatalogueError, match="rastersources db start"):
        Cluster(home).url()


def test_the_last_process_that_leaves_stops_it(home: Path) -> None:
    with Cluster(home).lease() as url:
        with Cluster(home).lease() as same:
            assert same == url
        assert select_42(url) == 42
    assert not Cluster(home).answers()


def test_after_db_start_it_runs_until_db_stop(home: Path) -> None:
    run([*RASTERSOURCES, "db", "start"], RASTERSOURCES_HOME=home)
    url = run([*RASTERSOURCES, "db", "url"], RASTERSOURCES_HOME=home).stdout.strip()
    with Cluster(home).lease() as same:
        assert same == url
    assert select_42(url) == 42
    run([*RASTERSOURCES, "db", "stop"], RASTERSOURCES_HOME=home)
    assert not Cluster(home).answers()
    assert "was not running" in run([*RASTERSOURCES, "db", "stop"], RASTERSOURCES_HOME=home).stderr


def test_after_db_url_it_runs_until_db_stop(home: Path) -> None:
    done = run([*RASTERSOURCES, "db", "url"], RASTERSOURCES_HOME=home)
    assert "rastersources db stop" in done.stderr
    with psycopg.connect(done.stdout.strip()) as connection:
        assert connection.execute("SELECT count(*) FROM public_raster_sources").fetchone() == (0,)
    again = run([*RASTERSOURCES, "db", "url"], RASTERSOURCES_HOME=home)
    assert (again.stdout, again.stderr) == (done.stdout, "")
    run([*RASTERSOURCES, "db", "stop"], RASTERSOURCES_HOME=home)


def test_a_killed_process_loses_its_lease(home: Path) -> None:
    holder = [
        *RASTERSOURCES[:1], "-c",
        "import sys, time, pathlib; from pipeline.database.private_cluster.cluster import Cluster\n"
        "with Cluster(pathlib.Path(sys.argv[1])).lease(): print('held', flush=True); time.sleep(600)", home,
    ]  # fmt: skip
    process = subprocess.Popen(holder, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    process.kill()
    process.communicate()
    assert Cluster(home).answers()  # no process has stopped it
    with Cluster(home).lease() as url:
        assert select_42(url) == 42
    assert not Cluster(home).answers()


def test_it_starts_again_after_its_postmaster_was_killed(home: Path) -> None:
    with Cluster(home).lease() as url:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        old = socket_folder(url)
        postmaster = int((Cluster(home).data / "postmaster.pid").read_text().split("\n")[0])
        os.kill(postmaster, signal.SIGKILL)
        while (
            Path(f"/proc/{postmaster}").exists()
            and "Z" not in Path(f"/proc/{postmaster}/stat").read_text()
        ):
            time.sleep(0.01)
        with Cluster(home).lease() as again, psycopg.connect(again) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
            connection.execute("DROP TABLE kept")
    assert not old.exists()


def leave_running(home: Path) -> Path:
    """Leave a cluster running without a lease, as after a kill; return the folder of its socket."""
    run([*RASTERSOURCES, "db", "start"], RASTERSOURCES_HOME=home)
    folder = socket_folder(Cluster(home).url())
    (home / "kept").unlink()
    return folder


def test_it_starts_again_after_its_socket_was_removed(home: Path) -> None:
    shutil.rmtree(leave_running(home))
    with Cluster(home).lease() as url:
        assert select_42(url) == 42
    assert not Cluster(home).answers()


def test_it_stops_after_its_socket_was_removed(home: Path) -> None:
    shutil.rmtree(leave_running(home))
    assert cluster_processes(Cluster(home).data)
    assert Cluster(home).stop()
    assert cluster_processes(Cluster(home).data) == []


def test_it_starts_although_another_program_has_the_process_id_of_its_lock_file(home: Path) -> None:
    with Cluster(home).lease():
        lock = (Cluster(home).data / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "600"], **run_as()) as other:
        stale = Cluster(home).data / "postmaster.pid"
        stale.write_text("\n".join([str(other.pid), *lock.split("\n")[1:]]))
        give_to_owner(stale)
        try:
            with Cluster(home).lease() as url:
                assert select_42(url) == 42
            assert other.poll() is None  # the other program still runs
        finally:
            other.kill()


def test_it_waits_for_a_server_that_answers_slowly(home: Path) -> None:
    with Cluster(home).lease() as url:
        (postmaster, *_) = (Cluster(home).data / "postmaster.pid").read_text().split("\n")
        os.kill(int(postmaster), signal.SIGSTOP)
        waker = threading.Timer(6, os.kill, (int(postmaster), signal.SIGCONT))
        waker.start()
        with Cluster(home).lease() as same:
            assert same == url
            assert select_42(same) == 42
        waker.join()


def test_it_starts_after_a_killed_initdb(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "half").write_text("")
    with Cluster(tmp_path).lease() as url:
        assert select_42(url) == 42


def test_it_starts_after_a_first_start_was_killed(tmp_path: Path) -> None:
    starting = subprocess.Popen(
        [*RASTERSOURCES, "db", "start"], start_new_session=True,
        env=environment(RASTERSOURCES_HOME=tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(tmp_path.rglob("PG_VERSION")):  # initdb writes it first
        assert starting.poll() is None
        time.sleep(0.005)
    os.killpg(starting.pid, signal.SIGKILL)
    starting.wait()
    with Cluster(tmp_path).lease() as url:
        assert select_42(url) == 42


def test_a_process_that_is_interrupted_during_the_start_stops_it(home: Path) -> None:
    with Cluster(home).lease():
        pass  # the cluster is made
    starting = subprocess.Popen(
        [*RASTERSOURCES, "db", "reproject"], env=environment(RASTERSOURCES_HOME=home),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (Cluster(home).data / "postmaster.pid").exists():
        assert starting.poll() is None
        time.sleep(0.005)
    starting.terminate()
    assert starting.wait() == 143
    assert cluster_processes(Cluster(home).data) == []


def test_it_starts_without_its_configuration_file(home: Path) -> None:
    with Cluster(home).lease():
        pass
    (Cluster(home).data / "rastersources.conf").write_text("")
    assert not Cluster(home).stop()
    with Cluster(home).lease() as url:
        assert select_42(url) == 42


def test_other_users_cannot_connect(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a program as another user")
    with Cluster(home).lease() as url:
        # Even when they reach the socket: peer authentication accepts only the user who made the cluster.
        folder = socket_folder(url)
        folder.chmod(0o755)
        (folder / ".s.PGSQL.5432").chmod(0o777)
        tried = subprocess.run(
            ["psql", url, "-c", "SELECT 1"],
            user="nobody",
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert tried.returncode != 0
        assert "Peer authentication failed" in tried.stderr
