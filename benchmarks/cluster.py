"""A private PostgreSQL cluster for benchmarks, and the servers and commands that use its databases."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString
from urllib.parse import unquote, urlsplit

import httpx
import psycopg
from psycopg import sql

from benchmarks.measure import POSTMASTERS, REPOSITORY
from pipeline.cli.ports import free_port
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.database.private_cluster.configuration import DATABASE, SUPERUSER
from pipeline.database.private_cluster.postmaster import postmaster_pid
from pipeline.database.private_cluster.programs import find_programs

COMMAND: list[str | Path] = [sys.executable, "-m", "pipeline.cli"]
SQL = REPOSITORY / "benchmarks" / "sql"
SERVER_SETTINGS = {
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "autovacuum": "off",  # it would slow some contenders down; functions that load data run VACUUM
}
TEMPLATE = "migrated"
"""A database with our tables and nothing in them."""
SECONDS_TO_ANSWER = 90


@dataclass(frozen=True)
class Database:
    """A database of the cluster."""

    cluster: Cluster
    name: str

    @property
    def url(self) -> str:
        """The URL with which our programs connect."""
        return self.cluster.url(self.name)

    @property
    def ours(self) -> dict[str, str]:
        """The environment of our programs."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("RASTERSOURCES_")
        }
        return {
            **kept,
            "PYTHONPATH": str(REPOSITORY),
            "RASTERSOURCES_HOME": str(self.cluster.home),
            "RASTERSOURCES_DATABASE_URL": self.url,
        }

    @property
    def peers(self) -> dict[str, str]:
        """The environment of other programs, which are superusers."""
        folder = unquote(urlsplit(self.url).query.removeprefix("host="))
        names = {"PGHOST": folder, "PGUSER": SUPERUSER, "PGDATABASE": self.name, "PGPORT": "5432"}
        return {**os.environ, **names}

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """Yield a connection of the superuser, which commits each statement."""
        with psycopg.connect(self.cluster.url(self.name, SUPERUSER), autocommit=True) as connection:
            yield connection

    def execute(self, statement: LiteralString, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement; return its rows."""
        with self.connect() as connection:
            result = connection.execute(statement, parameters or None)
            return result.fetchall() if result.description else []

    def run_file(self, name: str, **values: int | str) -> str:
        """Run a file of benchmarks/sql, in which `:name` stands for a value; return what it printed."""
        command = [programs() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", SQL / name]
        command += [f"-v{key}={value}" for key, value in values.items()]
        return run(command, self.peers)


@contextmanager
def benchmark_cluster(folder: Path | None = None) -> Iterator[Cluster]:
    """Run a private cluster with the settings of the benchmarks until the end of the block."""
    with tempfile.TemporaryDirectory() as temporary:
        cluster = Cluster(folder or Path(temporary))
        with (
            cluster.lease(),
            psycopg.connect(cluster.url(SUPERUSER, SUPERUSER), autocommit=True) as connection,
        ):
            for name, value in SERVER_SETTINGS.items():
                connection.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
                )
        with cluster.lease():
            postmaster = postmaster_pid(cluster.data) or 0
            POSTMASTERS.add(postmaster)
            try:
                yield cluster
            finally:
                POSTMASTERS.discard(postmaster)


@contextmanager
def private_database() -> Iterator[Database]:
    """Yield the database of our programs in a cluster of its own, migrated."""
    with benchmark_cluster() as cluster:
        database = Database(cluster, DATABASE)
        run([*COMMAND, "db", "migrate"], database.ours)
        yield database


def new_database(cluster: Cluster, name: str, *, migrated: bool = False) -> Database:
    """Return a new database; drop an older one of this name."""
    template = TEMPLATE if migrated else "template1"
    if migrated and not Database(cluster, "postgres").execute(
        "SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE
    ):
        run([*COMMAND, "db", "migrate"], new_database(cluster, TEMPLATE).ours)
    with Database(cluster, "postgres").connect() as connection:
        names = [sql.Identifier(name), sql.Identifier(DATABASE), sql.Identifier(template)]
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(names[0]))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(*names))
    return Database(cluster, name)


def programs() -> Path:
    """Return the folder with PostgreSQL's programs."""
    return find_programs(None)


def run(
    command: Sequence[str | Path], environment: Mapping[str, str], folder: Path = REPOSITORY
) -> str:
    """Run a command to its end and return what it printed; end the benchmark if it fails."""
    result = subprocess.run(
        [str(word) for word in command], env=environment, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if result.returncode:
        raise SystemExit(f"{command[0]} failed: {(result.stderr or result.stdout)[-2000:]}")
    return result.stdout


@contextmanager
def serving(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    path: str,
    folder: Path = REPOSITORY,
) -> Iterator[str]:
    """Yield the address of a server, whose command gets `{port}`, as soon as it answers at a path."""
    port = free_port()
    words = [str(word).replace("{port}", str(port)) for word in command]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}{path}", process)
        except SystemExit as error:
            process.kill()
            log.seek(0)
            raise SystemExit(f"{error}: {log.read().decode(errors='replace')[-2000:]}") from error
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Return when a server answers; end the benchmark when it does not."""
    end = time.monotonic() + SECONDS_TO_ANSWER
    while process.poll() is None and time.monotonic() < end:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).is_success:
                return
        time.sleep(0.1)
    raise SystemExit(f"{process.args} does not answer")


def serve_ours(database: Database) -> AbstractContextManager[str]:
    """Yield the address of our API."""
    return serving([*COMMAND, "serve", "--port", "{port}"], database.ours, "/health/")
