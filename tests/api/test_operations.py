"""Restarts of the database, time limits, base URL, CORS, headers, health and metrics."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.private_cluster.cluster import Cluster
from tests.api.conftest import SOURCES, Add, client_of, serve
from tests.support.private_clusters import add_cluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that the test may stop, with a migrated database."""
    cluster = add_cluster(tmp_path)
    cluster.start()
    try:
        engine = make_engine(cluster.url())
        migrate(engine)
        engine.dispose()
        yield cluster
    finally:
        cluster.stop()


def test_the_api_survives_a_restart_of_the_database(cluster: Cluster) -> None:
    with client_of(ApiConfig(cluster.url())) as client:
        assert client.get(SOURCES).status_code == 200
        cluster.stop()
        for path in (SOURCES, "/health"):
            answer = client.get(path)
            assert (answer.status_code, list(answer.json())) == (
                503,
                ["status", "code", "message", "detail"],
            )
            assert answer.headers["retry-after"] == "5"
        cluster.start()
        for path in (SOURCES, "/health", f"{SOURCES}?page_size=1"):
            assert client.get(path).status_code == 200


def test_a_restart_under_load_gives_no_other_error_than_503(cluster: Cluster) -> None:
    engine = make_engine(cluster.url())
    owner = add_organisation(engine, "Owner")
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    key = create_key(engine, "admin")
    engine.dispose()
    config = ApiConfig(cluster.url())
    with serve(config) as address, ThreadPoolExecutor(8) as pool:
        stop = Event()
        statuses: list[list[int]] = [[] for _ in range(8)]
        workers = [pool.submit(load, address, key, str(owner), stop, each) for each in statuses]
        try:
            wait_until(lambda: all({200, 201} <= set(each) for each in statuses))
            cluster.stop()
            wait_until(lambda: all(503 in each for each in statuses))
            cluster.start()
            wait_until(lambda: all(each[-1] in (200, 201) for each in statuses))
        finally:
            stop.set()
        for worker in workers:
            worker.result()
    assert {status for each in statuses for status in each} == {200, 201, 503}
    assert all(each[-1] in (200, 201) for each in statuses)


def load(address: str, key: str, owner: str, stop: Event, statuses: list[int]) -> None:
    """Read and write in turns until `stop` is set, and record the statuses."""
    with Client(base_url=address, auth=("__key__", key), timeout=60) as client:
        while not stop.is_set():
            statuses.append(client.get(SOURCES).status_code)
            statuses.append(
                client.post(SOURCES, json={"name": "n", "organisation": owner}).status_code
            )


def test_the_api_starts_without_a_database() -> None:
    with client_of(ApiConfig("postgresql://nobody@127.0.0.1:1/nothing")) as client:
        assert client.get(SOURCES).status_code == 503
        assert client.post(SOURCES, json={}).status_code == 401
        assert client.get("/metrics").status_code == 200


def test_a_query_that_takes_too_long_is_503(
    database_url: str, engine: Engine, add_source: Add
) -> None:
    row = add_source("a")
    with (
        client_of(ApiConfig(database_url, statement_timeout_seconds=0.3)) as client,
        engine.connect() as other,
    ):
        other.execute(text("LOCK TABLE raster_sources"))
        answer = client.get(f"{SOURCES}{row.uuid}/")
        assert (answer.status_code, answer.json()["message"]) == (
            503,
            "Service unavailable. #503.10",
        )
        other.rollback()
        assert client.get(f"{SOURCES}{row.uuid}/").status_code == 200


@pytest.mark.parametrize(
    "base", ["https://example.org", "https://example.org/maps/", "http://localhost:9/a/b"]
)
def test_hyperlinks_begin_with_the_public_base_url(
    database_url: str, add_source: Add, base: str
) -> None:
    row = add_source("a")
    public = base.rstrip("/")
    prefix = public.split("/", 3)[3] if public.count("/") > 2 else ""
    with client_of(ApiConfig(database_url, base_url=base)) as client:
        for path in {SOURCES, f"/{prefix}{SOURCES}" if prefix else SOURCES}:
            page = client.get(path, params={"page_size": 1}).json()
            assert page["results"][0]["url"] == f"{public}{SOURCES}{row.uuid}/"
        add_source("b")
        assert (
            client.get(path, params={"page_size": 1}).json()["next"]
            == f"{public}{SOURCES}?page=2&page_size=1"
        )
        assert (
            f'href="{public}/static/pages.css"' in client.get(path, params={"format": "api"}).text
        )


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
def test_the_forwarded_scheme_counts_only_from_a_trusted_proxy(
    database_url: str, add_source: Add, trusted: bool
) -> None:
    row = add_source("a")
    proxied = {"Host": "maps.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    proxies = ("127.0.0.0/8",) if trusted else ()
    with client_of(ApiConfig(database_url, proxies=proxies)) as client:
        source = client.get(f"{SOURCES}{row.uuid}/", headers=proxied).json()
        page = client.get("/accounts/login/", headers=proxied)
    assert source["url"] == f"http{'s' * trusted}://maps.example{SOURCES}{row.uuid}/"
    assert ("Secure" in page.headers["set-cookie"]) == trusted


def test_pages_of_allowed_origins_may_call_and_others_may_not(database_url: str) -> None:
    preflight = {
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with client_of(ApiConfig(database_url, cors_origins=("https://maps.example",))) as client:
        allowed = client.options(SOURCES, headers={"Origin": "https://maps.example", **preflight})
        assert allowed.headers["access-control-allow-origin"] == "https://maps.example"
        assert "PATCH" in allowed.headers["access-control-allow-methods"]
        other = {"Origin": "https://other.example"}
        for answer in (
            client.get(SOURCES, headers=other),
            client.options(SOURCES, headers=other | preflight),
        ):
            assert "access-control-allow-origin" not in answer.headers
        assert (answer.status_code, answer.json()["detail"]) == (400, "Disallowed CORS origin.")


def test_no_origin_is_allowed_unless_the_setting_says_so(client: Client) -> None:
    answer = client.get(SOURCES, headers={"Origin": "https://maps.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_every_answer_has_security_headers(client: Client) -> None:
    for path in (SOURCES, "/nothing", "/static/pages.css", "/accounts/login/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "private, no-cache"


@pytest.fixture
def broken(engine: Engine, empty: None) -> Iterator[None]:
    """Rename a table, so that the schema is not what the code expects."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE scenarios RENAME TO away"))
    yield
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO scenarios"))


@pytest.mark.usefixtures("broken")
def test_an_unforeseen_error_is_500_in_the_envelope_with_all_headers(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(ApiConfig(database_url, cors_origins=("https://maps.example",))) as client:
        answer = client.get("/api/v4/scenarios/", headers={"Origin": "https://maps.example"})
        assert (answer.status_code, answer.json()["message"]) == (500, "Internal error. #500.10")
        assert "scenarios" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["access-control-allow-origin"] == "https://maps.example"
        assert 'route="/api/v4/scenarios/",status="500"' in client.get("/metrics").text
    (logged,) = caplog.records
    assert logged.getMessage() == "GET /api/v4/scenarios/ failed"
    assert "UndefinedTable" in (logged.exc_text or "")


def test_metrics_count_by_route_and_not_by_path(client: Client) -> None:
    client.get(f"{SOURCES}00000000-0000-0000-0000-000000000000/")
    client.request("PROPFIND", SOURCES)
    text = client.get("/metrics").text
    assert (
        'rastersources_requests_total{method="GET",route="/api/v4/rastersources/{uuid}/",status="404"}'
        in text
    )
    assert 'method="other",route="/api/v4/rastersources/",status="405"' in text
    assert "00000000-0000" not in text


def test_metrics_count_by_route_when_a_proxy_keeps_the_base_path(
    database_url: str,
) -> None:
    with client_of(ApiConfig(database_url, base_url="https://example.org/maps")) as client:
        for path in (SOURCES, f"/maps{SOURCES}", f"/maps{SOURCES}", "/maps/nothing"):
            client.get(path)
        text = client.get("/maps/metrics").text
    line = 'rastersources_requests_total{method="GET",route='
    assert f'{line}"{SOURCES}",status="200"}} 3.0' in text
    assert f'{line}"none",status="404"}} 1.0' in text
    assert f'{line}"none",status="200"' not in text


def test_health_is_ok_while_the_database_answers(client: Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_the_home_page_redirects_to_the_api(client: Client) -> None:
    assert client.get("/").headers["location"].endswith("/api/v4/")
