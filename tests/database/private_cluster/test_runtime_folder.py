"""The private cluster listens in a folder that is always the same for a home, and never in one of another user."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline.database.private_cluster.cluster import Cluster
from pipeline.database.private_cluster.programs import cluster_owner
from pipeline.database.private_cluster.runtime_folder import make_runtime_folder, runtime_folder
from pipeline.errors import CatalogueError
from tests.support.commands import RASTERSOURCES, run
from tests.support.needs import needs_own_cluster
from tests.support.ports import free_port
from tests.support.private_clusters import add_cluster

pytestmark = needs_own_cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    add_cluster(home)
    yield home
    Cluster(home).stop()


def query_value(url: str, query: str = "SELECT 42") -> object:
    with psycopg.connect(url) as connection:
        return (connection.execute(query).fetchone() or (None,))[0]


def test_a_home_has_the_same_url_at_each_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Cluster(home).lease() as first:
        pass
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # this differs between sessions of a user
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "link").symlink_to(home)
    with Cluster(tmp_path / "link").lease() as second:
        assert second == first
        assert query_value(first) == 42


def test_homes_of_the_same_name_have_different_folders(tmp_path: Path) -> None:
    assert runtime_folder(tmp_path / "a" / "home") != runtime_folder(tmp_path / "b" / "home")


def test_a_path_of_any_length_leaves_room_for_the_socket(tmp_path: Path) -> None:
    home = tmp_path / "/".join(["x" * 40] * 5)
    assert len(os.fsencode(runtime_folder(home) / ".s.PGSQL.5432")) <= 107


def test_a_folder_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "runtime"
    make_runtime_folder(folder)
    folder.chmod(0o777)
    (folder / "planted").write_text("")
    make_runtime_folder(folder)
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == (os.geteuid() or cluster_owner().pw_uid)


def test_a_folder_of_another_user_is_refused_and_not_changed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder for another user")
    folder = runtime_folder(tmp_path)
    folder.mkdir()
    (folder / ".s.PGSQL.5432").write_text("bait")
    os.chown(folder, 65534, 65534)
    try:
        done = run([*RASTERSOURCES, "db", "start"], status=1, RASTERSOURCES_HOME=tmp_path)
        (sentence,) = done.stderr.splitlines()
        assert str(folder) in sentence
        assert "user 65534 has created" in sentence
        assert (folder / ".s.PGSQL.5432").read_text() == "bait"
    finally:
        Cluster(tmp_path).stop()
        (folder / ".s.PGSQL.5432").unlink()
        folder.rmdir()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_or_a_file_of_that_name_is_refused(tmp_path: Path, kind: str) -> None:
    target, folder = tmp_path / "target", tmp_path / "runtime"
    target.mkdir()
    (target / "kept").write_text("")
    if kind == "link":
        folder.symlink_to(target)
    else:
        folder.write_text("")
    with pytest.raises(CatalogueError, match="a file or folder with this name"):
        make_runtime_folder(folder)
    assert (target / "kept").exists()


def test_a_tcp_port_is_open_on_loopback_only_and_needs_the_password(home: Path) -> None:
    port = free_port()
    with Cluster(home).lease() as socket_url:
        pass
    started = run([*RASTERSOURCES, "db", "start", "--tcp", str(port)], RASTERSOURCES_HOME=home)
    password_file = home / "pgpass"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert str(password_file) in started.stdout
    password = password_file.read_text().strip().rpartition(":")[2]
    assert password not in started.stdout
    bare = f"postgresql://rastersources@127.0.0.1:{port}/rastersources"
    assert query_value(f"{bare}?password={password}", "SHOW listen_addresses") == "127.0.0.1"
    assert query_value(socket_url) == 42  # the socket still works
    url = run([*RASTERSOURCES, "db", "url", "--tcp"], RASTERSOURCES_HOME=home).stdout.strip()
    assert query_value(url, "SELECT count(*) FROM public_raster_sources") == 0
    for wrong in (f"{bare}?password=wrong", f"{bare}?passfile=/nowhere"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            query_value(wrong)
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        query_value(f"postgresql://postgres@127.0.0.1:{port}/postgres?password={password}")
    verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'rastersources'"
    stored = query_value(Cluster(home).url("postgres", "postgres"), verifier)
    assert str(stored).startswith("SCRAM-SHA-256$")


def test_a_tcp_port_stays_open_until_db_stop(home: Path) -> None:
    port = free_port()
    Cluster(home).stop()
    Cluster(home).start(port)
    url = Cluster(home).tcp_url()
    os.kill(int((Cluster(home).data / "postmaster.pid").read_text().split()[0]), 9)
    with Cluster(home).lease():
        assert query_value(url) == 42
    assert query_value(url) == 42
    Cluster(home).stop()
    with Cluster(home).lease() as socket_url:
        assert query_value(socket_url, "SHOW listen_addresses") == ""
        with pytest.raises(CatalogueError, match="--tcp PORT"):
            Cluster(home).tcp_url()


def test_a_taken_tcp_port_is_reported_and_not_kept(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*RASTERSOURCES, "db", "start", "--tcp", str(port)]
        done = run(command, status=1, RASTERSOURCES_HOME=home)
        (sentence,) = done.stderr.splitlines()
        assert f"port {port} of 127.0.0.1 is taken" in sentence
        with pytest.raises(CatalogueError, match="TCP/IP"):
            Cluster(home).start(port)
        with Cluster(home).lease() as url:
            assert query_value(url) == 42
