"""Costly filters have a time limit of their own, two run at once, and other requests do not wait."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import sleep
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api import costly_filters
from pipeline.api.config import ApiConfig
from pipeline.api.costly_filters import LOCK_KIND, SLOTS
from pipeline.catalogue.access import ANONYMOUS
from pipeline.catalogue.lists import RASTER_SOURCES
from pipeline.catalogue.select_rows import in_order, sort_keys
from tests.api.conftest import SOURCES, Add, As, client_of, names
from tests.support.database import rows
from tests.support.waiting import wait_until

HEAVY = "(?=([^a]{0,100}){0,99}x)" * 8
"""An expression that PostgreSQL compiles for many seconds before it compares the first name."""
SLOW = "(?=(.{0,100}){0,100}x)(?!(.{0,100}){0,100}y)z"
"""An expression that compiles quickly, and takes minutes to compare a few long names."""
TOO_LONG = "Takes longer than {} seconds; write a simpler expression, or add other filters."
POINTS = ",".join(f"{4 + n / 1000} 51.5" for n in range(300))
OURS = "(SELECT * FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()) AS ours"
"""The processes of this database only, because other tests use other databases of the cluster."""
LOCKED = (
    f"SELECT count(*) FROM pg_locks JOIN {OURS} USING (pid) WHERE classid = {LOCK_KIND} AND granted"
)
MATCHING = f"SELECT count(*) FROM {OURS} WHERE query ~ ' ~'"
RUNNING = f"""
    WITH matching AS MATERIALIZED (SELECT pid FROM {OURS} WHERE query ~ ' ~' AND state = 'active')
    SELECT count(DISTINCT pid) FROM matching JOIN pg_locks USING (pid) WHERE locktype = 'virtualxid'
"""
"""Expressions in a transaction. A process may count as active for a moment after it has released its slot."""


@pytest.fixture(autouse=True)
def sixteen_sources(empty: None, add_source: Add) -> None:
    for number in range(16):
        add_source(f"{number} " + "abc" * 80, supplier_code="a" * 200)


def count(engine: Engine, query: str) -> int:
    """Return the number that a query counts."""
    number: int = rows(engine, query)[0][0]
    return number


def count_lasting(engine: Engine) -> int:
    """Count the expressions that run for at least half a second."""
    counts = []
    for _ in range(10):
        counts.append(count(engine, RUNNING))
        sleep(0.05)
    return min(counts)


@contextmanager
def take_all_slots(engine: Engine) -> Iterator[None]:
    """Hold all slots for costly queries, as other servers do."""
    with engine.connect() as connection:
        for slot in range(SLOTS):
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KIND}, {slot})"))
        yield


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halve the time limits, because the expressions of these tests use them up."""
    monkeypatch.setattr(costly_filters, "EXPRESSION_SECONDS", 1.0)
    monkeypatch.setattr(costly_filters, "SECONDS_TO_WAIT", 5.0)


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        (SOURCES, "name__regex"),
        (SOURCES, "supplier_code__iregex"),
        (SOURCES, "organisation__name__regex"),
        ("/api/v4/rasters/", "supplier__iregex"),
        ("/api/v4/rejectedfiles/", "name__regex"),
        ("/api/v4/organisations/", "name__iregex"),
    ],
)
def test_an_expression_that_takes_too_long_is_400_with_a_sentence(
    as_: As, path: str, parameter: str
) -> None:
    answer = as_("admin").get(path, params={parameter: HEAVY})
    assert (answer.status_code, answer.json()["detail"]) == (400, {parameter: [TOO_LONG.format(1)]})


def test_the_expressions_of_a_request_share_their_time(client: Client) -> None:
    query = {"name__regex": SLOW, "name__iregex": SLOW, "supplier_code__regex": "a", "name": ""}
    costly = ("name__regex", "name__iregex", "supplier_code__regex")
    answer = client.get(SOURCES, params=query)
    assert list(answer.json()["detail"].items()) == [
        (name, [TOO_LONG.format(2)]) for name in costly
    ]


@pytest.mark.parametrize(
    ("expression", "matches"),
    [(r"(b)\1", 0), (r"(abc)\1", 16), ("|".join(f"{n}x" for n in range(3000)) + "|^7 ", 1), ("^1.*c$", 7)],
)  # fmt: skip
def test_an_expression_finds_what_it_matches(client: Client, expression: str, matches: int) -> None:
    assert client.get(SOURCES, params={"name__regex": expression}).json()["count"] == matches


@pytest.mark.usefixtures("short_limits")
def test_two_expressions_run_at_once_in_all_servers_and_lists_do_not_wait_for_them(
    client: Client, database_url: str, engine: Engine
) -> None:
    most = 0
    with client_of(ApiConfig(database_url)) as other, ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(ask, each, HEAVY) for each in (client, other) for _ in range(6)]
        wait_until(lambda: count(engine, RUNNING) > 0)
        while not all(answer.done() for answer in answers):
            most = max(most, count_lasting(engine))
            assert names(client.get(SOURCES, params={"name__startswith": "7"})) != []
            assert other.get("/health/").status_code == 200
    assert 1 <= most <= SLOTS
    assert {answer.result().status_code for answer in answers} <= {400, 503}


def test_an_expression_leaves_no_memory_in_the_pool(client: Client, engine: Engine) -> None:
    assert len(names(client.get(SOURCES, params={"name__regex": "(.{0,30}){0,30}"}))) == 10
    wait_until(lambda: count(engine, MATCHING) == 0)


@pytest.mark.parametrize(
    "query",
    [{"name__regex": "^7 "}, {"geometry": f"MULTIPOINT({POINTS})", "name__startswith": "7 "}],
    ids=["regular expression", "geometry"],
)
def test_costly_filters_wait_their_turn(
    client: Client, engine: Engine, query: dict[str, str]
) -> None:
    with ThreadPoolExecutor() as threads:
        with take_all_slots(engine):
            answer: Future[Any] = threads.submit(client.get, SOURCES, params=query)
            wait_until(lambda: count(engine, WAITING) > 0)
            assert client.get(SOURCES).json()["count"] == 16
            assert not answer.done()
        assert [name[:2] for name in names(answer.result())] == ["7 "]


WAITING = f"SELECT count(*) FROM {OURS} WHERE query LIKE '%pg_try_advisory_xact_lock(%'"


@pytest.mark.usefixtures("short_limits")
def test_a_request_that_waits_too_long_is_503(client: Client, engine: Engine) -> None:
    with take_all_slots(engine):
        answer = client.get(SOURCES, params={"name__regex": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"].startswith("Other costly filters are running")


def test_a_rejected_request_frees_its_slot(client: Client, engine: Engine) -> None:
    assert client.get(SOURCES, params={"name__regex": "("}).status_code == 400
    wait_until(lambda: count(engine, LOCKED) == 0)


def test_an_order_names_each_column_once() -> None:
    names = ["name", "-name", "-size"] * 5000
    assert [
        str(row) for row in in_order(sort_keys(RASTER_SOURCES, ",".join(names), ANONYMOUS))
    ] == [
        "raster_sources.name ASC",
        "raster_sources.size DESC NULLS LAST",
        "raster_sources.id ASC",
    ]


@pytest.mark.parametrize("parameter", ["name__in", "organisation__name__in"])
def test_a_list_of_many_names_is_one_parameter(client: Client, parameter: str) -> None:
    listed = ",".join([*(f"{n}" for n in range(7000)), "Owner", "0 " + "abc" * 80])
    matches = client.get(SOURCES, params={parameter: listed}).json()["count"]
    assert matches == (1 if parameter == "name__in" else 16)


def ask(client: Client, expression: str) -> Any:
    """Get a list by a regular expression."""
    return client.get(SOURCES, params={"name__regex": expression})
