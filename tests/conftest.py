"""A real PostGIS for every test: one private cluster for the session, a throw-away database per test module."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from pipeline.catalogue.file_row import FileRow, file_row
from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.private_cluster.cluster import Cluster, default_home
from pipeline.raster import ProcessReader
from pipeline.storage.s3 import open_bucket
from tests.support.chromium import GetBrowser, shared_browser
from tests.support.drop_folder import Site, new_site
from tests.support.make_once import make_once
from tests.support.private_clusters import speed_up
from tests.support.proxy import Proxy, proxy
from tests.support.s3 import Bucket, Server, new_bucket, seaweed
from tests.support.warm_python import warm_python


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="Also run what takes minutes.")
    parser.addoption("--screenshots", help="Folder to which the pictures of the docs are copied.")
    parser.addoption("--seed", type=int, help="Repeat the random steps of a failure.")
    parser.addoption(
        "--without-servers",
        action="store_true",
        help="Leave out what needs PostGIS, S3 or a browser.",
    )


def pytest_configure() -> None:
    # A shell lets background programs ignore Ctrl-C. The servers that tests stop by Ctrl-C would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; make soak runs it"))
    if config.getoption("--without-servers"):
        needs_servers = [
            item for item in items if SERVERS.intersection(getattr(item, "fixturenames", ()))
        ]
        config.hook.pytest_deselected(items=needs_servers)
        items[:] = [item for item in items if item not in needs_servers]
    items.sort(key=lambda item: item.nodeid.startswith(SHORT))


@pytest.fixture(scope="session", autouse=True)
def warm_children() -> None:
    """Let the processes that read files for a test start as forks."""
    multiprocessing.set_executable(str(warm_python()))


@pytest.fixture(scope="module")
def new_children() -> Iterator[None]:
    """Let the processes that read files for a test start in a new Python."""
    multiprocessing.set_executable(sys.executable)
    yield
    multiprocessing.set_executable(str(warm_python()))


SHORT = ("tests/catalogue/", "tests/definitions/")
"""Folders whose files take a few seconds: they run last, so that no process has a long file left at the end."""
SERVERS = {"server", "s3_server", "get_browser"}
"""The fixtures that start a server or a browser."""
REPOSITORY = Path(__file__).resolve().parent.parent
TENTHS_TO_WAIT = 600
"""Tenths of a second, after which we leave a database that others still use."""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server on which tests create databases."""
    url_of_environment = os.environ.get("RASTERSOURCES_DATABASE_URL")
    if url_of_environment:
        yield url_of_environment
        return
    home = os.environ.get("CLUSTER_OF_TESTS") or os.environ.get("RASTERSOURCES_HOME")
    cluster = Cluster(Path(home or default_home(REPOSITORY), "tests"))  # `make run` has its own
    make_once("cluster-of-tests", lambda _: speed_up(cluster))
    with cluster.lease() as url:
        yield url


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a migrated database from which others are copied, made once per run."""
    with new_database(server, "template1") as url:
        engine = make_engine(url)
        migrate(engine)
        engine.dispose()
        yield make_url(url).database or ""


@pytest.fixture(scope="module")
def database_url(server: str, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database that is dropped after the module."""
    with new_database(server, template) as url:
        yield url


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the database of the module."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessReader[FileRow]]:
    """A process that reads files, in the environment in which the tests began."""
    with ProcessReader(1, file_row) as pool:
        yield pool


@pytest.fixture
def site(engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path) -> Site:
    """A drop folder for one test."""
    return new_site(engine, pool, tmp_path)


@pytest.fixture(scope="session")
def get_browser() -> Iterator[GetBrowser]:
    """A browser with or without scripts, which all tests share."""
    with shared_browser() as get_browser:
        yield get_browser


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server, started when the first test asks for it."""
    with seaweed(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new, empty bucket, which this process finds by its environment."""
    bucket = new_bucket(s3_server)
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    open_bucket.cache_clear()
    yield bucket
    open_bucket.cache_clear()


@pytest.fixture
def s3_proxy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that records the requests of this process to the server of the bucket."""
    with proxy(bucket.endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        open_bucket.cache_clear()
        yield running


class new_database:  # noqa: N801 - used as a function
    """A new database, dropped at the end."""

    def __init__(self, server: str, template: str) -> None:
        self.server, self.template = server, template
        self.name = f"rastersources_test_{uuid4().hex[:12]}"

    def __enter__(self) -> str:
        self._execute("CREATE DATABASE {} TEMPLATE {}", self.name, self.template)
        return make_url(self.server).set(database=self.name).render_as_string(hide_password=False)

    def __exit__(self, *_: object) -> None:
        for _attempt in range(TENTHS_TO_WAIT):
            with suppress(psycopg.errors.InsufficientPrivilege):
                self._execute("DROP DATABASE {} WITH (FORCE)", self.name)
                return
            # PostgreSQL's own vacuum may use the database, which only a superuser may end.
            time.sleep(0.1)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
