"""The private PostGIS cluster: the first process that needs it starts it, and the last process stops it.

It listens on a unix socket in a folder of mode 0700. The user who created it connects by peer authentication; TCP is
possible only after `rastersources db start --tcp`. Every process that uses the cluster holds a shared lock on the file
`lease` of the home; the kernel releases the lock of a killed process. The last process stops the cluster, unless the
file `kept` exists; `db start` creates this file, and writes the TCP port to it. The file `stopped` marks a cluster that
was stopped on purpose and must not be revived.
"""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from pipeline.database.private_cluster import postmaster
from pipeline.database.private_cluster.configuration import (
    DATABASE,
    LOOPBACK,
    SUPERUSER,
    configuration_files,
    read_or_create_password,
)
from pipeline.database.private_cluster.programs import find_programs, give_to_owner, run_as
from pipeline.database.private_cluster.runtime_folder import (
    SOCKET,
    make_runtime_folder,
    remove_runtime_folder,
    runtime_folder,
)
from pipeline.errors import CatalogueError

STANDARD_PORT = 5432
"""The port in the name of the socket file."""
SECONDS_TO_ANSWER = 120
ATTEMPTS = 20
"""Attempts to start, half a second apart."""
TEMPORARY_REASONS = ("shared memory", "lock file")
"""Reasons of a failed start that may be gone half a second later."""
LOG_BYTES = 2**14
"""Bytes at the end of the server's log that are searched for the reason of a failed start."""


def default_home(checkout: Path) -> Path:
    """Return `.rastersources` in the checkout, or the user's data folder for an installed package."""
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".rastersources"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "rastersources"


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL cluster in `home/postgres`."""

    home: Path

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.home / "postgres"

    def url(self, database: str = DATABASE, user: str = DATABASE) -> str:
        """Return the URL of a database; raise CatalogueError when the cluster is not running."""
        folder = self._socket_folder()
        if folder is None:
            raise CatalogueError(
                "the private cluster is not running; start it with: rastersources db start"
            )
        return f"postgresql://{user}@/{database}?host={quote(str(folder), safe='')}"

    def answers(self) -> bool:
        """Return whether the cluster answers.

        It waits for a cluster that is busy or still starting. Raises CatalogueError after two minutes.
        """
        for _ in range(SECONDS_TO_ANSWER):
            if not self._listens():
                return False
            try:
                psycopg.connect(self.url(SUPERUSER, SUPERUSER), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(1)
            else:
                return True
        raise CatalogueError(f"the private cluster does not answer; see {self.data / 'server.log'}")

    def has_socket(self) -> bool:
        """Return whether the server runs and has its socket; it may not answer yet."""
        folder = self._socket_folder()
        return folder is not None and (folder / SOCKET).exists() and self._has_process()

    @property
    def tcp_port(self) -> int | None:
        """The TCP port on the loopback interface that was given to `start`, or None."""
        try:
            return int((self.home / "kept").read_text())
        except (FileNotFoundError, ValueError):
            return None

    @property
    def password_file(self) -> Path:
        """The file with the password for TCP; it exists after the first start with TCP."""
        return self.home / "pgpass"

    def tcp_url(self) -> str:
        """Return the URL for programs without unix sockets; raise CatalogueError when there is no TCP port."""
        if self.tcp_port is None:
            raise CatalogueError(
                "the private cluster has no TCP port; stop it and run: rastersources db start --tcp PORT"
            )
        password = quote(str(self.password_file), safe="/")
        return f"postgresql://{DATABASE}@{LOOPBACK}:{self.tcp_port}/{DATABASE}?passfile={password}"

    def start(self, tcp_port: int | None = None, *, force: bool = False) -> None:
        """Start the cluster; it runs until `stop`. With a port it also listens on the loopback interface.

        Raises CatalogueError when the port needs a restart and programs use the cluster, unless `force` is true.
        """
        with self._mutex():
            if tcp_port not in (None, self.tcp_port):
                if not force:
                    self._require_unused("a restart is needed for the TCP port")
                self._stop()
                (self.home / "kept").write_text(str(tcp_port))
            try:
                self._start_if_needed()
            except CatalogueError:
                (self.home / "kept").unlink(missing_ok=True)  # the next start opens no port
                raise
            (self.home / "kept").touch()

    def stop(self, *, force: bool = True) -> bool:
        """Stop the cluster; return False when it was not running.

        Raises CatalogueError when programs use the cluster, unless `force` is true.
        """
        if not self.data.exists():
            return False
        with self._mutex():
            if not force:
                self._require_unused("it was not stopped")
            (self.home / "kept").unlink(missing_ok=True)
            (self.home / "stopped").touch()
            return self._stop()

    def revive(self) -> bool:
        """Start the cluster again after it was killed; return False when it runs or was stopped on purpose.

        Raises CatalogueError when it does not start. It never creates a new cluster, because users must notice the loss
        of the old one.
        """
        if not (self.data / "PG_VERSION").exists():
            raise CatalogueError(
                f"the data of the private cluster, {self.data}, no longer exist; restore them, or stop this program; "
                "the next start creates a new, empty database"
            )
        with self._mutex():
            if (self.home / "stopped").exists() or self.answers():
                return False
            self._start_if_needed()
            return True

    def clients(self) -> list[str]:
        """Return descriptions of the programs that use the cluster, if this process can see them."""
        lease = self.home / "lease"
        holders = set(postmaster.lock_holders(lease) if lease.exists() else ()) - {os.getpid()}
        if holders:
            return [f"process {pid} ({postmaster.command_line(pid)})" for pid in sorted(holders)]
        if not self._listens():
            return []
        query = (
            "SELECT coalesce(nullif(application_name, ''), 'a program without a name') FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1"
        )
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self.url(SUPERUSER, SUPERUSER), connect_timeout=5) as connection,
        ):
            return [f"a session of {name}" for (name,) in connection.execute(query)]
        return []

    def _require_unused(self, consequence: str) -> None:
        """Raise CatalogueError that names the programs that use the cluster."""
        if clients := self.clients():
            raise CatalogueError(
                f"the private cluster is in use, and {consequence}; end {', '.join(clients)} first, or use --force"
            )

    @contextmanager
    def lease(self) -> Iterator[str]:
        """Keep the cluster running during the block; yield the URL of the database in it."""
        make_folder(self.home)
        with (self.home / "lease").open("a") as lease:
            fcntl.flock(lease, fcntl.LOCK_SH)
            try:  # a process that is interrupted during the start must also stop the cluster
                with self._mutex():
                    self._start_if_needed()
                yield self.url()
            finally:
                self._leave(lease.fileno())

    def _leave(self, lease: int) -> None:
        with self._mutex():
            fcntl.flock(lease, fcntl.LOCK_UN)
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # other processes use the cluster
            if not (self.home / "kept").exists():
                self._stop()

    @contextmanager
    def _mutex(self) -> Iterator[None]:
        """Hold a lock, so that only one process at a time starts or stops the cluster."""
        make_folder(self.home)
        with (self.home / "mutex").open("a") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield

    def _start_if_needed(self) -> None:
        if self.answers():
            return
        self._end_unreachable()
        programs = self._programs()
        if not (self.data / "PG_VERSION").exists():
            self._make(programs)
        self._remove_socket_folder()
        folder = runtime_folder(self.home)
        make_runtime_folder(folder)
        self._write_configuration(folder)
        self._launch(programs)
        if self.tcp_port not in (
            None,
            STANDARD_PORT,
        ):  # then the URL is the same with and without TCP
            (folder / SOCKET).symlink_to(SOCKET.replace(str(STANDARD_PORT), str(self.tcp_port)))
        self._prepare()
        (self.home / "stopped").unlink(missing_ok=True)

    def _end_unreachable(self) -> None:
        """Remove what would prevent a start: a server without its socket, or the lock file of a dead server."""
        if self._has_process():
            self._shut_down()
        # Do nothing if this process cannot see the others: a child of a killed postmaster may still be writing.
        with suppress(PermissionError):
            postmaster.kill_orphans(self.data)
            if not postmaster.cluster_processes(self.data):
                (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _has_process(self) -> bool:
        """Return whether a server of this cluster runs, reachable or not."""
        process = postmaster.postmaster_pid(self.data)
        try:
            return process is not None and postmaster.belongs_to_cluster(process, self.data)
        except PermissionError:  # root in a container may not see other users' processes
            return self._listens()

    def _listens(self) -> bool:
        folder = self._socket_folder()
        return folder is not None and postmaster.is_listening(folder / SOCKET)

    def _make(self, programs: Path) -> None:
        new = self.data.with_suffix(".new")  # it is renamed when it is complete
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        give_to_owner(new)
        options = ("-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=peer")
        initdb = self._run(programs / "initdb", *options, folder=new)
        if initdb.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise CatalogueError(
                f"initdb did not create a cluster in {self.home}: {last_line(initdb.stderr)}"
            )
        with (new / "postgresql.conf").open("a") as file:
            file.write("include_if_exists = 'rastersources.conf'\n")
        shutil.rmtree(self.data, ignore_errors=True)
        new.rename(self.data)

    def _write_configuration(self, socket_folder: Path) -> None:
        port = self.tcp_port
        files = configuration_files(socket_folder, port or STANDARD_PORT, tcp=port is not None)
        for name, text in files.items():
            new = self.data / f"{name}.new"
            new.write_text(text)
            give_to_owner(new)
            new.rename(self.data / name)

    def _launch(self, programs: Path) -> None:
        log = self.data / "server.log"
        for _ in range(ATTEMPTS):
            pg_ctl = self._run(programs / "pg_ctl", "-w", "-t", "120", "-l", log.name, "start")
            if pg_ctl.returncode == 0:
                return
            # The children of a killed postmaster keep its shared memory for a while.
            if not any(words in (reason := failure_reason(log)) for words in TEMPORARY_REASONS):
                break
            time.sleep(0.5)
        raise CatalogueError(f"the private cluster does not start ({reason}); see {log}")

    def _prepare(self) -> None:
        """Create the role, the extensions and the database if they are missing, before other programs connect."""
        with psycopg.connect(self.url(SUPERUSER, SUPERUSER), autocommit=True) as connection:
            if not exists(connection, "SELECT FROM pg_roles WHERE rolname = %s"):
                role = sql.Identifier(DATABASE)
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(role))
            if self.tcp_port is not None:
                set_password(connection, read_or_create_password(self.password_file))
            if exists(connection, "SELECT FROM pg_database WHERE datname = %s"):
                return
            with psycopg.connect(self.url("template1", SUPERUSER), autocommit=True) as template:
                # Only a superuser can install PostGIS, so new databases get it from the template.
                template.execute("CREATE EXTENSION IF NOT EXISTS postgis")
                template.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            name = sql.Identifier(DATABASE)
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))

    def _stop(self) -> bool:
        running = self._has_process()
        if running:
            self._shut_down()
        self._remove_socket_folder()
        return running

    def _shut_down(self) -> None:
        pg_ctl = self._run(self._programs() / "pg_ctl", "-w", "-t", "120", "-m", "fast", "stop")
        if pg_ctl.returncode != 0:
            raise CatalogueError(f"the private cluster does not stop: {last_line(pg_ctl.stderr)}")

    def _programs(self) -> Path:
        version = self.data / "PG_VERSION"
        return find_programs(version.read_text().strip() if version.exists() else None)

    def _run(
        self, program: Path, *arguments: str, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs on the data folder, or on another folder, as the user of the cluster.

        The program gets the folder as an open file descriptor. So quotes in the path cannot reach the shell that
        pg_ctl starts, and the user postgres needs no access to the folders above it.
        """
        descriptor = os.open(folder or self.data, os.O_PATH | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{descriptor}"
            logs = [f"{path}/{word}" if word.endswith(".log") else word for word in arguments]
            return subprocess.run(
                [program, "-D", path, *logs],
                check=False, cwd="/", pass_fds=(descriptor,), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, **run_as(),
            )  # fmt: skip
        finally:
            os.close(descriptor)

    def _socket_folder(self) -> Path | None:
        """Return the folder in line 5 of postmaster.pid; None when there is no such file, or no socket yet."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return None
        return Path(lines[4]) if len(lines) > 4 and lines[4] else None

    def _remove_socket_folder(self) -> None:
        """Remove the runtime folder in the configuration."""
        try:
            lines = (self.data / "rastersources.conf").read_text().split("\n")
        except FileNotFoundError:
            return
        for line in lines:
            if line.startswith("unix_socket_directories"):
                remove_runtime_folder(Path(line.split('"')[1]))


def make_folder(folder: Path) -> None:
    """Create a private folder; raise CatalogueError when that fails."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(
            f"{folder} cannot be created ({error.strerror}); set RASTERSOURCES_HOME to another folder"
        ) from error


def set_password(connection: psycopg.Connection[Any], password: str) -> None:
    """Set the password of the role that the programs use; only its hash is sent to the server."""
    verifier = connection.pgconn.encrypt_password(
        password.encode(), DATABASE.encode(), b"scram-sha-256"
    )
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
        sql.Identifier(DATABASE), sql.Literal(verifier.decode())
    )
    connection.execute(statement)


def failure_reason(log: Path) -> str:
    """Return the last message about a failed start in a server's log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    levels = ("FATAL:", "PANIC:", "postgres:")
    messages = [line for line in lines if any(level in line for level in levels)]
    if not messages:
        return last_line("\n".join(lines))
    return messages[-1].partition("] ")[2] or messages[-1]


def exists(connection: psycopg.Connection[Any], query: str) -> bool:
    """Return whether the query returns a row; its parameter is the name of the database and of its role."""
    return connection.execute(query.encode(), (DATABASE,)).fetchone() is not None


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no reason given")
