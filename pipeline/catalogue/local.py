"""The private PostGIS cluster: made, started, shared between our processes and stopped by the last of them.

It listens on a unix socket only, in a runtime folder of mode 0700, and lets in the user who made it by peer
authentication. Every process that uses it holds a shared lock on `lease`; whoever leaves last stops it, unless
`rastersources db start` said that it stays. A killed process loses its lock with its life.
"""

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from pipeline.catalogue.postmaster import is_open, locked_by, processes_in, works_in
from pipeline.errors import CatalogueError

DATABASE = "rastersources"
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket on Linux (sun_path less its closing NUL)."""
SECONDS_TO_ANSWER = 120
UNQUOTED = set("\"'\\\n")
"""What the configuration would take for more than a character of a path."""
INSTALL = (
    "install PostgreSQL with PostGIS (Debian and Ubuntu: apt install postgresql postgresql-postgis), "
    "or set RASTERSOURCES_DATABASE_URL"
)
CONFIGURATION = """\
# Written by rastersources before each start.
listen_addresses = ''
unix_socket_directories = '"{socket_folder}"'
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
shared_buffers = '256MB'
work_mem = '16MB'
maintenance_work_mem = '128MB'
effective_cache_size = '2GB'
random_page_cost = 1.1
max_wal_size = '2GB'
"""


@contextmanager
def private_cluster(home: Path) -> Iterator[str]:
    """The URL of the database in the private cluster of this home, started if need be and held while in use."""
    cluster = Cluster(home)
    with cluster.lease():
        yield cluster.url()


def default_home(checkout: Path) -> Path:
    """`.rastersources` in the checkout; for an installed package the user's data folder."""
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".rastersources"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "rastersources"


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL cluster under `home/postgres`."""

    home: Path

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / "postgres"

    def url(self, database: str = DATABASE, user: str = DATABASE) -> str:
        """Where to connect; raises CatalogueError when the cluster is not running."""
        folder = self._socket_folder()
        if folder is None:
            raise CatalogueError(
                "the private cluster is not running; start it with: rastersources db start"
            )
        return f"postgresql://{user}@/{database}?host={quote(str(folder), safe='')}"

    def running(self) -> bool:
        """Whether it answers; waits for one that is busy or still starting, and raises CatalogueError in the end."""
        for _ in range(SECONDS_TO_ANSWER):
            if not self._listens():
                return False
            try:
                psycopg.connect(self.url("postgres", "postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(1)
            else:
                return True
        raise CatalogueError(f"the private cluster does not answer; see {self.data / 'server.log'}")

    def start(self) -> None:
        """Start it and let it run until `stop`, whoever leaves."""
        with self._mutex():
            self._start_if_needed()
            (self.home / "kept").touch()

    def stop(self) -> bool:
        """Stop it, also under those who use it; False when it was not running."""
        if not self.data.exists():
            return False
        with self._mutex():
            (self.home / "kept").unlink(missing_ok=True)
            return self._stop()

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep it running while this is held."""
        make_folder(self.home)
        with (self.home / "lease").open("a") as lease:
            fcntl.flock(lease, fcntl.LOCK_SH)
            try:  # whoever is ended while it starts does not leave it behind
                with self._mutex():
                    self._start_if_needed()
                yield
            finally:
                self._leave(lease.fileno())

    def _leave(self, lease: int) -> None:
        with self._mutex():
            fcntl.flock(lease, fcntl.LOCK_UN)
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # others use it
            if not (self.home / "kept").exists():
                self._stop()

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        """One process at a time starts or stops."""
        make_folder(self.home)
        with (self.home / "mutex").open("a") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield

    def _start_if_needed(self) -> None:
        if self.running():
            return
        self._end_unreachable()
        programs = self._programs()
        if not (self.data / "PG_VERSION").exists():
            self._make(programs)
        self._remove_socket_folder()
        self._write_configuration(runtime_folder())
        self._launch(programs)
        self._prepare()

    def _end_unreachable(self) -> None:
        """Clear what would keep it from starting: a server whose socket was removed, or the lock of none."""
        if self._is_there():
            self._shut_down()
        # Not where processes are hidden from us: a child of a killed postmaster may still write.
        with suppress(PermissionError):
            if not processes_in(self.data):
                (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _is_there(self) -> bool:
        """Whether a server of this cluster runs, reachable or not."""
        postmaster = locked_by(self.data)
        try:
            return postmaster is not None and works_in(postmaster, self.data)
        except PermissionError:  # as in a container whose root may not look at processes of others
            return self._listens()

    def _listens(self) -> bool:
        folder = self._socket_folder()
        return folder is not None and is_open(folder / SOCKET)

    def _make(self, programs: Path) -> None:
        new = self.data.with_suffix(".new")  # whole before it bears its name, however initdb ends
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        give_to_owner(new)
        options = ("-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=peer")
        done = self._run(programs / "initdb", *options, folder=new)
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise CatalogueError(
                f"initdb could not make a cluster in {self.home}: {last_line(done.stderr)}"
            )
        with (new / "postgresql.conf").open("a") as file:
            file.write("include_if_exists = 'rastersources.conf'\n")
        shutil.rmtree(self.data, ignore_errors=True)
        new.rename(self.data)

    def _write_configuration(self, socket_folder: Path) -> None:
        person = pwd.getpwuid(os.geteuid()).pw_name
        roles = ("postgres", DATABASE)
        files = {
            "rastersources.conf": CONFIGURATION.format(socket_folder=socket_folder),
            "pg_hba.conf": "local all all peer map=rastersources\n",
            "pg_ident.conf": "".join(f'rastersources "{person}" {role}\n' for role in roles),
        }
        for name, text in files.items():
            new = self.data / f"{name}.new"
            new.write_text(text)
            give_to_owner(new)
            new.rename(self.data / name)

    def _launch(self, programs: Path) -> None:
        for _ in range(
            20
        ):  # the children of a postmaster that was killed hold its memory for a while
            done = self._run(programs / "pg_ctl", "-w", "-t", "120", "-l", "server.log", "start")
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise CatalogueError(f"the private cluster does not start; see {self.data / 'server.log'}")

    def _prepare(self) -> None:
        """Make role, extensions and database where they are missing; run before anyone else connects."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            if not exists(connection, "SELECT FROM pg_roles WHERE rolname = %s"):
                role = sql.Identifier(DATABASE)
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(role))
            if exists(connection, "SELECT FROM pg_database WHERE datname = %s"):
                return
            with psycopg.connect(self.url("template1", "postgres"), autocommit=True) as template:
                # a role that is no superuser cannot install PostGIS: databases get it from their template
                template.execute("CREATE EXTENSION IF NOT EXISTS postgis")
                template.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            name = sql.Identifier(DATABASE)
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))

    def _stop(self) -> bool:
        running = self._is_there()
        if running:
            self._shut_down()
        self._remove_socket_folder()
        return running

    def _shut_down(self) -> None:
        done = self._run(self._programs() / "pg_ctl", "-w", "-t", "120", "-m", "fast", "stop")
        if done.returncode != 0:
            raise CatalogueError(f"the private cluster does not stop: {last_line(done.stderr)}")

    def _programs(self) -> Path:
        version = self.data / "PG_VERSION"
        return find_programs(version.read_text().strip() if version.exists() else None)

    def _run(
        self, program: Path, *arguments: str, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs on the data folder, or on another, as the user who may.

        The folder is handed over as an open descriptor: so neither a quote in its path reaches the shell that
        pg_ctl starts, nor need the user postgres be able to enter the folders above it.
        """
        opened = os.open(folder or self.data, os.O_PATH | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{opened}"
            logs = [f"{path}/{word}" if word.endswith(".log") else word for word in arguments]
            return subprocess.run(
                [program, "-D", path, *logs],
                check=False, cwd="/", pass_fds=(opened,), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, **run_as(),
            )  # fmt: skip
        finally:
            os.close(opened)

    def _socket_folder(self) -> Path | None:
        """Line 5 of postmaster.pid; None when there is no such file, or no socket yet."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return None
        return Path(lines[4]) if len(lines) > 4 and lines[4] else None

    def _remove_socket_folder(self) -> None:
        """Remove the runtime folder that the configuration names."""
        try:
            lines = (self.data / "rastersources.conf").read_text().split("\n")
        except FileNotFoundError:
            return
        for line in lines:
            if line.startswith("unix_socket_directories"):
                shutil.rmtree(line.split('"')[1], ignore_errors=True)


def find_programs(version: str | None = None) -> Path:
    """The folder of initdb and pg_ctl of a PostgreSQL that has PostGIS: the newest, or that of one version."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name)
    )
    usable = [
        folder
        for folder in folders
        if (folder / "pg_ctl").exists()
        and Path("/usr/share/postgresql", folder.parent.name, "extension/postgis.control").exists()
        and version in (None, folder.parent.name)
    ]
    if usable:
        return usable[-1]
    if version:
        raise CatalogueError(
            f"the private cluster is of PostgreSQL {version}, which is not there with PostGIS: {INSTALL}"
        )
    raise CatalogueError(f"PostgreSQL with PostGIS is not there: {INSTALL}")


def runtime_folder() -> Path:
    """A new folder for the socket, mode 0700, whose path leaves room for the socket's name.

    It may outlive this process and its TMPDIR: others use the same server.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR"), "/tmp", tempfile.gettempdir()]  # noqa: S108 - mkdtemp makes it safe
    for place in filter(None, places):
        room = (
            SOCKET_PATH_BYTES - len(os.fsencode(place)) - len(f"/rastersources-12345678/{SOCKET}")
        )
        if (
            room >= 0
            and os.access(place, os.W_OK)
            and not UNQUOTED & set(place)
            and open_to_all(Path(place))
        ):
            folder = Path(tempfile.mkdtemp(prefix="rastersources-", dir=place))
            give_to_owner(folder)
            return folder
    raise CatalogueError(
        "there is no folder for the socket of the private cluster; set TMPDIR to a short path"
    )


def open_to_all(place: Path) -> bool:
    """Whether the user of the cluster can enter; its own user always can."""
    if os.geteuid() != 0:
        return True
    return all(
        folder.stat().st_mode & 0o001 for folder in [place.resolve(), *place.resolve().parents]
    )


def make_folder(folder: Path) -> None:
    """Make a private folder; raises CatalogueError when it cannot be made."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(
            f"{folder} cannot be made ({error.strerror}); set RASTERSOURCES_HOME to a folder that can"
        ) from error


def run_as() -> dict[str, Any]:
    """Arguments for subprocess: root hands over to the user postgres, for PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    owner = cluster_owner()
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def give_to_owner(path: Path) -> None:
    """As root, hand a path to the user postgres."""
    if os.geteuid() == 0:
        owner = cluster_owner()
        os.chown(path, owner.pw_uid, owner.pw_gid)


def cluster_owner() -> pwd.struct_passwd:
    """The user who runs the cluster when root starts it."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise CatalogueError(
            f"there is no user postgres to run the private cluster as: {INSTALL}"
        ) from error


def exists(connection: psycopg.Connection[Any], query: str) -> bool:
    """Whether the query finds a row for our name."""
    return connection.execute(query.encode(), (DATABASE,)).fetchone() is not None


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no reason given")
