"""Lists and details on kept connections: a lost connection is replaced, and a pooler gets no prepared statements."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from tests.api.conftest import SOURCES, Add, client_of

END_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture(scope="module")
def row(add_source: Add) -> Any:
    return add_source("a")


def test_a_lost_connection_is_replaced_unnoticed(client: Client, engine: Engine, row: Any) -> None:
    for url in (SOURCES, f"{SOURCES}{row.uuid}/"):
        assert client.get(url).status_code == 200
        with engine.begin() as connection:
            connection.execute(text(END_OTHERS))
        assert client.get(url).status_code == 200


@pytest.mark.parametrize(
    "changes", [{"readers": 1}, {"prepare": False}], ids=["one reader", "not prepared"]
)
def test_many_requests_at_once_are_answered(
    client: Client, database_url: str, row: Any, changes: dict[str, Any]
) -> None:
    expected = client.get(f"{SOURCES}{row.uuid}/").json()
    with (
        client_of(replace(ApiConfig(database_url), **changes)) as other,
        ThreadPoolExecutor(8) as threads,
    ):
        urls = [SOURCES, f"{SOURCES}?name__icontains=A", f"{SOURCES}{row.uuid}/"] * 8
        answers = list(threads.map(other.get, urls))
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        assert str(row.uuid) in answer.text
        assert "count" in answer.json() or answer.json()["name"] == expected["name"]


def test_a_query_that_takes_too_long_frees_its_reader(
    database_url: str, engine: Engine, row: Any
) -> None:
    config = ApiConfig(database_url, readers=1, statement_timeout_seconds=0.5)
    with client_of(config) as client:
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE raster_sources IN ACCESS EXCLUSIVE MODE"))
            answer = client.get(SOURCES)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert client.get(SOURCES).status_code == 200
