"""Guesses of passwords must wait longer each time, and people at other addresses need not wait."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from httpx import Client, HTTPTransport
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.api.sign_in_attempts import MAX_FAILURES, delay, network_of
from pipeline.catalogue.users import set_password
from tests.api.conftest import address_of, client_of
from tests.support.database import execute, rows
from tests.support.pages import BROWSER, post_sign_in

FAILED = "INSERT INTO sign_in_failures (username, address, at) SELECT {}, :address, now() - :ago * interval '1 second'"


@pytest.fixture(autouse=True)
def password(engine: Engine, people: dict[str, str]) -> str:
    """Delete all failures, and set the password of the administrator; return it."""
    execute(engine, "DELETE FROM sign_in_failures")
    set_password(engine, "admin", "the right one")
    return "the right one"


@contextmanager
def browser_at(address: str, url: str) -> Iterator[Client]:
    """Open a client with the headers of a browser, at this address of this machine."""
    transport = HTTPTransport(local_address=address)
    with Client(base_url=url, headers=BROWSER, timeout=60, transport=transport) as browser:
        yield browser


def add_failures(
    engine: Engine, count: int, name: str = "'admin'", address: str = "127.0.0.1", ago: int = 0
) -> None:
    """Add failed sign-ins, so many seconds ago."""
    query = FAILED.format(name) + " FROM generate_series(1, :count) AS n"
    execute(engine, query, count=count, address=address, ago=ago)


def test_after_some_failures_a_name_waits_at_that_address_only(
    client: Client, engine: Engine, password: str
) -> None:
    with (
        browser_at("127.0.0.1", address_of(client)) as guessing,
        browser_at("127.0.0.2", address_of(client)) as owner,
    ):
        answers = [post_sign_in(guessing, "admin", f"guess {n}").status_code for n in range(5)]
        assert answers == [400] * 5
        add_failures(engine, 7)
        refused = post_sign_in(guessing, "admin", password)
        assert refused.status_code == 429
        assert 100 < int(refused.headers["retry-after"]) <= 128
        assert "minutes and try again" in refused.text
        assert post_sign_in(owner, "admin", password).status_code == 303
        assert post_sign_in(guessing, "user", "x").status_code == 400  # another name


def test_failures_behind_a_pooler_are_stored_too(
    database_url: str, engine: Engine, password: str
) -> None:
    config = ApiConfig(database_url, prepare=False)
    with client_of(config) as client, browser_at("127.0.0.1", address_of(client)) as guessing:
        answers = [post_sign_in(guessing, "admin", f"guess {n}").status_code for n in range(5)]
    assert answers == [400] * 5
    assert rows(engine, "SELECT count(*) FROM sign_in_failures") == [(5,)]


@pytest.mark.parametrize(
    ("failures", "ago", "wait"),
    [(5, 0, 1), (6, 0, 2), (9, 1, 15), (12, 0, 128), (40, 0, 900), (9, 17, 0), (4, 0, 0)],
)
def test_the_wait_doubles_with_each_failure(
    client: Client, engine: Engine, password: str, failures: int, ago: int, wait: int
) -> None:
    add_failures(engine, failures, ago=ago)
    with browser_at("127.0.0.1", address_of(client)) as browser:
        answer = post_sign_in(browser, "admin", password)
    assert answer.status_code == (429 if wait else 303)
    if wait:
        assert wait - 2 <= int(answer.headers["retry-after"]) <= wait


def test_a_rejected_attempt_does_not_prolong_the_wait(
    client: Client, engine: Engine, password: str
) -> None:
    add_failures(engine, 8)
    with browser_at("127.0.0.1", address_of(client)) as browser:
        waits = [
            int(post_sign_in(browser, "admin", password).headers["retry-after"]) for _ in range(20)
        ]
    assert waits == sorted(waits, reverse=True)
    assert max(waits) <= 8


def test_the_right_password_ends_the_wait_for_later_failures(
    client: Client, engine: Engine, password: str
) -> None:
    add_failures(engine, 7, ago=60)
    with browser_at("127.0.0.1", address_of(client)) as browser:
        assert post_sign_in(browser, "admin", password).status_code == 303
        assert post_sign_in(browser, "admin", "wrong").status_code == 400
        assert post_sign_in(browser, "admin", password).status_code == 303


def test_an_address_that_tries_many_names_waits_a_minute_at_most(
    client: Client, engine: Engine, password: str
) -> None:
    add_failures(engine, 100, name="'name ' || n")
    with (
        browser_at("127.0.0.1", address_of(client)) as guessing,
        browser_at("127.0.0.2", address_of(client)) as owner,
    ):
        answer = post_sign_in(guessing, "admin", password)
        assert (answer.status_code, int(answer.headers["retry-after"]) <= 60) == (429, True)
        assert post_sign_in(owner, "admin", password).status_code == 303


def test_concurrent_guesses_are_limited(client: Client, engine: Engine) -> None:
    add_failures(engine, 11, ago=70)

    def guess(number: int) -> int:
        with browser_at("127.0.0.1", address_of(client)) as browser:
            return post_sign_in(browser, "admin", f"guess {number}").status_code

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(guess, range(16)))
    assert sorted(answers) == [400] + [429] * 15


def test_a_forwarded_address_counts_only_from_a_trusted_proxy(
    client: Client, database_url: str, engine: Engine, password: str
) -> None:
    add_failures(engine, 20, address="192.0.2.1")
    with client_of(ApiConfig(database_url, proxies=("127.0.0.1",))) as behind:
        for forwarded, status in (
            ("192.0.2.1", 429),
            ("198.51.100.7, 192.0.2.1", 429),
            ("192.0.2.2", 303),
        ):
            with browser_at("127.0.0.1", address_of(behind)) as browser:
                browser.headers["X-Forwarded-For"] = forwarded
                assert post_sign_in(browser, "admin", password).status_code == status
    with browser_at("127.0.0.1", address_of(client)) as guessing:  # this server trusts no proxy
        for number in range(5):
            guessing.headers["X-Forwarded-For"] = f"192.0.2.{number}"
            assert post_sign_in(guessing, "admin", "wrong").status_code == 400
        add_failures(engine, 7)
        guessing.headers["X-Forwarded-For"] = "192.0.2.9"
        assert post_sign_in(guessing, "admin", password).status_code == 429


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 1000, "x" * 64),
    ],
)
def test_a_client_is_identified_by_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_wait_has_a_maximum() -> None:
    waits = [delay(failures, 5, 900) for failures in (0, 4, 5, 6, 14, 15, 10_000)]
    assert waits == [0, 0, 1, 2, 512, 900, 900]


def test_only_the_latest_failures_are_stored(client: Client, engine: Engine) -> None:
    add_failures(engine, MAX_FAILURES + 500, name="'name ' || n", address="192.0.2.77")
    with browser_at("127.0.0.1", address_of(client)) as browser:
        assert post_sign_in(browser, "admin", "wrong").status_code == 400
    ((count,),) = rows(engine, "SELECT count(*) FROM sign_in_failures")
    assert count == MAX_FAILURES


def test_a_password_is_not_tried_where_keys_are_expected(client: Client, password: str) -> None:
    with Client(base_url=client.base_url, timeout=60) as program:
        for _ in range(30):
            by_basic = program.get("/api/v4/", auth=("admin", password))
            by_headers = program.get(
                "/api/v4/", headers={"username": "admin", "password": password}
            )
            assert (by_basic.status_code, by_headers.status_code) == (401, 401)
    # these failures make nobody wait
    with browser_at("127.0.0.1", address_of(client)) as browser:
        assert post_sign_in(browser, "admin", password).status_code == 303
