"""The API works through a pooler of transactions, and commands that need a session of their own report it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.private_cluster.cluster import Cluster
from tests.api.conftest import SOURCES, client_of
from tests.support.commands import RASTERSOURCES, run
from tests.support.database import empty_catalogue
from tests.support.factory import write_raster
from tests.support.needs import needs_own_cluster
from tests.support.poolers import PGBOUNCER, pooler
from tests.support.ports import free_port
from tests.support.private_clusters import add_cluster
from tests.support.serving import serving_for

pytestmark = [
    needs_own_cluster,
    pytest.mark.skipif(
        PGBOUNCER is None, reason="PgBouncer is missing (Debian and Ubuntu: apt install pgbouncer)"
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = add_cluster(tmp_path_factory.mktemp("home"))
    cluster.start(free_port())
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[Engine]:
    """An engine on the database itself, without the pooler."""
    engine = make_engine(cluster.url())
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("changes", "ignored"),
    [
        ({}, "extra_float_digits"),
        ({}, "options"),
        ({"RASTERSOURCES_PREPARE": "false"}, "options"),
    ],
    ids=["options refused", "options passed over", "by setting"],
)
def test_the_api_and_uploads_work_through_a_pooler_of_transactions(
    cluster: Cluster, engine: Engine, tmp_path: Path, changes: dict[str, str], ignored: str
) -> None:
    with (
        pooler(cluster, "transaction", ignored=ignored) as url,
        serving_for(engine, url, tmp_path, **changes) as serving,
    ):

        def send_repeatedly(thread: int) -> set[int]:
            """Repeat requests so often that the server would prepare their statements."""
            with httpx.Client(
                base_url=serving.client.base_url, auth=("__key__", serving.key), timeout=60
            ) as client:
                body = {"name": f"{thread}", "organisation": serving.organisation}
                statuses = set()
                for _ in range(15):
                    statuses |= {
                        client.get(SOURCES, params={"name": f"{thread}"}).status_code,
                        client.post(SOURCES, json=body).status_code,
                    }
                return statuses

        with ThreadPoolExecutor(8) as pool:
            statuses = set().union(*pool.map(send_repeatedly, range(8)))
        assert statuses == {200, 201}
        page = serving.client.get(SOURCES, params={"created__gte": "2000-01-01"}).json()
        assert page["count"] == 8 * 15
        assert page["results"][0]["created"].endswith("Z")
        for query in ({}, {"name__regex": "."}):  # the second query shares a snapshot
            listed = serving.client.get(SOURCES, params={**query, "format": "csv"})
            assert len(listed.text.splitlines()) == 1 + 8 * 15
        task = serving.send(serving.add_source(), write_raster(tmp_path / "a.tif"), 0)
        assert serving.wait_for(task) == "SUCCESS"
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_the_time_limit_of_queries_works_through_a_pooler(cluster: Cluster, engine: Engine) -> None:
    with (
        pooler(cluster, "transaction") as url,
        client_of(ApiConfig(url, statement_timeout_seconds=0.3)) as client,
        psycopg.connect(cluster.url()) as other,
    ):
        assert client.get(SOURCES).status_code == 200
        other.execute("LOCK TABLE raster_sources")
        answer = client.get(SOURCES)
        assert (answer.status_code, answer.json()["detail"]) == (
            503,
            "The query took too long; ask for less, or try again later.",
        )


@pytest.mark.usefixtures("empty")
def test_commands_work_or_say_that_they_need_a_session(cluster: Cluster, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "sources.toml").write_text(
        '[[source]]\nid = "a"\nfiles = "*.tif"\norganisation = "Owner"\n'
    )
    with pooler(cluster, "transaction") as url:

        def command(*words: str, status: int = 0) -> list[str]:
            done = run(
                [*RASTERSOURCES, *words],
                status=status,
                cwd=tmp_path,
                RASTERSOURCES_DATABASE_URL=url,
            )
            return (done.stdout + done.stderr).splitlines()

        for words in (
            ["db", "migrate"],
            ["organisation", "add", "Owner"],
            ["user", "add", "ann"],
            ["rejected", "list"],
        ):
            command(*words)
        for words in (
            ["sync"],
            ["plan"],
            ["register"],
            ["register", "a.tif", "--organisation", "Owner"],
        ):
            lines = command(*words, status=1)
            assert any("needs a session, but" in line for line in lines), lines


@pytest.mark.usefixtures("empty")
def test_everything_works_through_a_pooler_of_sessions(cluster: Cluster, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    with pooler(cluster, "session") as url:
        command = [*RASTERSOURCES, "register", "a.tif", "--organisation", "Owner", "--create"]
        done = run(command, cwd=tmp_path, RASTERSOURCES_DATABASE_URL=url)
        assert "1 registered" in done.stdout
