"""The change feed has each change once, in the order of commits, for callers who may see the source."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.file_row import file_row
from pipeline.raster import ProcessReader
from tests.api.conftest import SOURCES, Add, As, client_of
from tests.conftest import new_database
from tests.support.change_feed import FEED, read_feed, read_kinds, read_last_cursor
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files

pytestmark = pytest.mark.usefixtures("people")

INSERT = """
INSERT INTO raster_sources (name, organisation_id, access_modifier)
SELECT 'n', id, %s FROM organisations WHERE name = 'Owner' RETURNING uuid::text
"""


@pytest.fixture
def session(database_url: str) -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """Return a function that opens connections, which are closed after the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(psycopg.connect(database_url))


def create(connection: psycopg.Connection[Any], access: int = 0) -> str:
    """Add a raster source without a commit; return its uuid."""
    (uuid,) = connection.execute(INSERT, [access]).fetchone() or ("",)
    return str(uuid)


def test_the_feed_has_created_updated_and_deleted_sources(
    client: Client, as_: As, owner: str
) -> None:
    since = read_last_cursor(client)
    body = {"name": "a", "organisation": owner, "access_modifier": "Public"}
    added = as_("admin").post(SOURCES, json=body).json()
    changed = as_("admin").patch(added["url"], json={"name": "b"}).json()
    as_("admin").delete(added["url"])
    feed, _ = read_feed(client, since)
    assert [change["kind"] for change in feed] == ["created", "updated", "deleted"]
    assert {(change["uuid"], change["url"]) for change in feed} == {(added["uuid"], added["url"])}
    assert list(feed[0]) == ["kind", "uuid", "url", "at"]
    assert added["last_modified"] <= feed[0]["at"] <= changed["last_modified"] <= feed[1]["at"]


def test_commits_behind_a_pooler_are_numbered_too(database_url: str, owner: str) -> None:
    with (
        client_of(ApiConfig(database_url, prepare=False)) as client,
        psycopg.connect(database_url) as connection,
    ):
        since = read_last_cursor(client)
        uuid = create(connection)
        connection.commit()
        assert read_kinds(client, since) == [("created", uuid)]


@pytest.mark.parametrize("read_between", [True, False])
def test_a_transaction_that_commits_later_comes_later(
    client: Client, session: Callable[[], psycopg.Connection[Any]], read_between: bool
) -> None:
    since = read_last_cursor(client)
    early, late = session(), session()
    first = create(early)
    second = create(late)
    late.commit()
    if read_between:
        (change,), cursor = read_feed(client, since)
        assert change["uuid"] == second
        assert read_feed(client, cursor) == ([], cursor)
    early.commit()
    if read_between:
        assert read_kinds(client, cursor) == [("created", first)]
    assert read_kinds(client, since) == [("created", second), ("created", first)]


def test_registering_adds_only_real_changes_to_the_feed(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    item = definition_files([tmp_path], access_modifier="Public")

    def run() -> list[tuple[str, str]]:
        since = read_last_cursor(client)
        with ProcessReader(1, file_row) as pool:
            register_files(engine, pool.read, item, batch_size=2)
        names = {
            row["uuid"]: row["name"] for row in client.get(SOURCES, params=newest).json()["results"]
        }
        return [(kind, names[uuid]) for kind, uuid in read_kinds(client, since)]

    newest = {"ordering": "-id"}
    for name in "abc":
        write_raster(tmp_path / f"{name}.tif")
    changes = run()
    assert sorted(changes[:2]) == [("created", "a"), ("created", "b")]
    assert changes[2:] == [("created", "c")]
    assert run() == []
    write_raster(tmp_path / "b.tif", nodata=7)
    write_raster(tmp_path / "d.tif")
    assert sorted(run()) == [("created", "d"), ("updated", "b")]


@pytest.mark.parametrize(
    ("statements", "kinds"),
    [
        (["UPDATE raster_sources SET name = 'b' WHERE uuid = %s"], ["updated"]),
        (["UPDATE raster_sources SET name = name, west = west WHERE uuid = %s"], []),
        (["SELECT derive_sources(array[id]) FROM raster_sources WHERE uuid = %s"] * 2, ["updated"]),
        (["UPDATE raster_sources SET name = 'b' WHERE uuid = %s"] * 3, ["updated"]),
        (["UPDATE raster_sources SET name = 'b' WHERE uuid = %s",
          "DELETE FROM raster_sources WHERE uuid = %s"], ["deleted"]),
    ],
)  # fmt: skip
def test_a_transaction_makes_at_most_one_change_of_a_source(
    client: Client, add_source: Add, session: Callable[[], psycopg.Connection[Any]],
    statements: list[str], kinds: list[str],
) -> None:  # fmt: skip
    uuid, connection = add_source("a", file_count=1).uuid, session()
    since = read_last_cursor(client)
    for statement in statements:
        connection.execute(statement, [uuid])
    connection.commit()
    assert read_kinds(client, since) == [(kind, str(uuid)) for kind in kinds]


def test_a_source_that_its_transaction_also_changed_is_created(
    client: Client, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    since, connection = read_last_cursor(client), session()
    uuid = create(connection, access=200)
    connection.execute(
        "UPDATE raster_sources SET name = 'b', access_modifier = 0 WHERE uuid = %s", [uuid]
    )
    connection.commit()
    assert read_kinds(client, since) == [("created", uuid)]


def test_a_source_that_its_transaction_deletes_is_not_in_the_feed(
    client: Client, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    since, connection = read_last_cursor(client), session()
    uuid = create(connection)
    connection.execute("DELETE FROM raster_sources WHERE uuid = %s", [uuid])
    connection.commit()
    create(connection)
    connection.rollback()
    with connection.transaction():
        with connection.transaction(force_rollback=True):
            create(connection)
        kept = create(connection)
    assert read_kinds(client, since) == [("created", kept)]
    with connection.transaction():
        (commits,) = connection.execute(
            "SELECT count(*) FROM commits WHERE seq IS NULL"
        ).fetchone() or (-1,)
    assert commits == 0


def test_each_transaction_that_changes_a_source_is_in_the_feed(
    client: Client, add_source: Add, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    since, connection = read_last_cursor(client), session()
    uuid = str(add_source("a").uuid)
    for name in "bc":
        connection.execute("UPDATE raster_sources SET name = %s WHERE uuid = %s", [name, uuid])
        connection.commit()
    assert read_kinds(client, since) == [("created", uuid), ("updated", uuid), ("updated", uuid)]


def test_truncating_the_table_is_in_the_feed(
    client: Client, add_source: Add, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    uuids = {str(add_source("a").uuid), str(add_source("b").uuid)}
    since, connection = read_last_cursor(client), session()
    connection.execute("TRUNCATE raster_sources CASCADE")
    connection.commit()
    changes = read_kinds(client, since)
    assert {kind for kind, _ in changes} == {"deleted"}
    assert uuids <= {uuid for _, uuid in changes}


def test_a_repeatable_read_transaction_is_in_commit_order(
    client: Client, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    since, old, new = read_last_cursor(client), session(), session()
    old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    old.execute("SELECT count(*) FROM raster_sources")
    first = create(new)
    new.commit()
    second = create(old)
    old.commit()
    assert read_kinds(client, since) == [("created", first), ("created", second)]


@dataclass
class Commit:
    """A commit of a writer, with the times before and after it."""

    uuids: frozenset[str]
    kind: str
    began: float
    ended: float


def write(connection: psycopg.Connection[Any], seed: int, transactions: int) -> list[Commit]:
    """Add, update and delete sources in transactions that overlap those of other writers."""
    rng, commits = random.Random(seed), []
    existing: list[str] = []
    for _ in range(transactions):
        share = rng.random()
        if share < 0.6 or not existing:
            kind, uuids = "created", [create(connection) for _ in range(rng.randint(1, 4))]
            existing += uuids
        elif share < 0.8:
            kind, uuids = "updated", [rng.choice(existing)]
            statement = "UPDATE raster_sources SET name = %s WHERE uuid = %s"
            connection.execute(statement, [str(rng.random()), uuids[0]])
        else:
            kind, uuids = "deleted", [existing.pop(rng.randrange(len(existing)))]
            connection.execute("DELETE FROM raster_sources WHERE uuid = %s", uuids)
        time.sleep(rng.random() * 0.02)
        began = time.monotonic()
        connection.commit()
        commits.append(Commit(frozenset(uuids), kind, began, time.monotonic()))
    return commits


def poll(client: Client, since: str, stop: threading.Event, page_size: int) -> list[Any]:
    """Read the feed until `stop` is set, and once more; return all changes."""
    changes: list[Any] = []
    while True:
        last = stop.is_set()
        new, since = read_feed(client, since, page_size)
        changes += new
        if last:
            return changes


def test_readers_see_each_change_once_in_the_order_of_commits(
    client: Client, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    since, stop = read_last_cursor(client), threading.Event()
    connections = [session() for _ in range(6)]
    with ThreadPoolExecutor(9) as pool:
        readers = [pool.submit(poll, client, since, stop, size) for size in (1, 7, 1000)]
        writers = [
            pool.submit(write, connection, seed + number, 25)
            for number, connection in enumerate(connections)
        ]
        try:
            commits = [commit for writer in writers for commit in writer.result()]
        finally:
            stop.set()
        seen = [reader.result() for reader in readers]
    assert seen[0] == seen[1] == seen[2] == read_feed(client, since)[0]
    changes = [(change["kind"], change["uuid"]) for change in seen[0]]
    expected = [(commit.kind, uuid) for commit in commits for uuid in commit.uuids]
    assert sorted(changes) == sorted(expected), f"seed {seed}"
    assert_in_order(changes, commits)


def assert_in_order(changes: list[tuple[str, str]], commits: list[Commit]) -> None:
    """Check that the changes of a commit come together, after those of commits that ended before it began."""
    remaining, latest = list(changes), 0.0
    by_change: dict[tuple[str, str], list[Commit]] = {}
    for commit in sorted(commits, key=lambda commit: commit.began):
        for uuid in commit.uuids:
            by_change.setdefault((commit.kind, uuid), []).append(commit)
    ordered = []
    while remaining:
        commit = by_change[remaining[0]][0]
        group = {remaining.pop(0) for _ in commit.uuids}
        assert group == {(commit.kind, uuid) for uuid in commit.uuids}
        for change in group:
            by_change[change].remove(commit)
        ordered.append(commit)
    for commit in ordered:
        assert commit.ended >= latest
        latest = max(latest, commit.began)


def test_hiding_and_showing_a_source_deletes_and_creates_it_for_others(
    client: Client, as_: As, add_source: Add
) -> None:
    uuid = str(add_source("a").uuid)
    url = f"{SOURCES}{uuid}/"
    since = read_last_cursor(client)
    for access in ("Private", "Hidden", "Common", "Public"):
        assert as_("admin").patch(url, json={"access_modifier": access}).status_code == 200
    kinds = {
        "admin": ["updated", "updated", "updated", "updated"],
        "user": ["updated", "deleted", "created", "updated"],
        "stranger": ["deleted", "created", "updated"],
    }
    for username, expected in kinds.items():
        assert read_kinds(as_(username), since) == [(kind, uuid) for kind in expected]
    assert read_kinds(client, since) == [("deleted", uuid), ("created", uuid)]


def test_hidden_changes_do_not_move_the_cursor(client: Client, as_: As, add_source: Add) -> None:
    add_source("seen")
    since = read_last_cursor(client)
    uuid = str(add_source("unseen", access_modifier=200).uuid)
    assert read_feed(client, since) == ([], since)
    assert read_kinds(as_("user"), since) == [("created", uuid)]


def test_a_cursor_survives_a_restart_of_the_server(
    client: Client, database_url: str, add_source: Add
) -> None:
    add_source("a")
    changes, since = read_feed(client)
    uuid = str(add_source("b").uuid)
    with client_of(ApiConfig(database_url)) as another:
        assert read_kinds(another, since) == [("created", uuid)]
        for params in ({}, {"since": ""}):
            (first,) = another.get(FEED, params={**params, "page_size": 1}).json()["results"]
            assert first["uuid"] == changes[0]["uuid"]


def test_an_empty_feed_has_an_empty_cursor(server: str, template: str) -> None:
    with new_database(server, template) as url, client_of(ApiConfig(url)) as client:
        assert client.get(FEED).json() == {"cursor": "", "next": None, "results": []}


@pytest.mark.parametrize("since", ["x", "0", "-1", "00" * 32, "ab" * 31, "%27", "é" * 64])
def test_an_invalid_cursor_is_rejected(client: Client, since: str) -> None:
    answer = client.get(FEED, params={"since": since})
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert list(answer.json()["detail"]) == ["since"]


def test_a_cursor_before_the_start_of_the_feed_is_rejected(
    client: Client, engine: Engine, add_source: Add
) -> None:
    add_source("a")
    old = read_last_cursor(client)
    uuid = str(add_source("b").uuid)
    new = read_last_cursor(client)
    delete_old = "DELETE FROM commits WHERE seq < (SELECT max(seq) FROM commits)"
    with engine.begin() as connection:
        connection.execute(text(delete_old))
    assert client.get(FEED, params={"since": old}).status_code == 400
    assert read_kinds(client, "") == [("created", uuid)]
    assert read_feed(client, new) == ([], new)


@pytest.mark.parametrize(
    ("requested", "size"), [("", 100), ("0", 100), ("3", 3), ("1000", 1000), ("5000", 1000)]
)
def test_a_page_has_a_hundred_changes_or_up_to_a_thousand_on_request(
    client: Client, engine: Engine, requested: str, size: int
) -> None:
    since = read_last_cursor(client)
    with engine.begin() as connection:
        insert = """
            INSERT INTO raster_sources (name, organisation_id, access_modifier)
            SELECT 'n', id, 0 FROM organisations, generate_series(1, 1001) WHERE organisations.name = 'Owner'
        """
        connection.execute(text(insert))
    page = client.get(
        FEED, params={"since": since, "page_size": requested, "format": "json"}
    ).json()
    assert len(page["results"]) == size
    assert page["results"][0]["url"].endswith("/?format=json")
    assert f"since={page['cursor']}" in page["next"]
    assert "format=json" in page["next"]
    rest, _ = read_feed(client, page["cursor"])
    assert len({change["uuid"] for change in page["results"] + rest}) == 1001


@pytest.mark.parametrize("size", ["-1", "x", "1.5"])
def test_a_page_size_that_is_not_a_number_is_rejected(client: Client, size: str) -> None:
    assert list(client.get(FEED, params={"page_size": size}).json()["detail"]) == ["page_size"]


def test_the_feed_has_options_a_page_and_a_document(client: Client, add_source: Add) -> None:
    since, uuid = read_last_cursor(client), str(add_source("a").uuid)
    assert client.get("/api/v4/").json()["changes"].endswith(FEED)
    assert client.get(FEED.rstrip("/")).status_code == 200
    assert client.head(FEED).content == b""
    options = client.options(FEED)
    assert (options.json()["name"], options.headers["allow"]) == ("Changes", "GET, HEAD, OPTIONS")
    assert client.post(FEED).status_code == 405
    page = client.get(FEED, params={"format": "api", "since": since}).text
    assert f"{SOURCES}{uuid}/?format=api" in page
    operation = client.get("/api/v4/openapi.json").json()["paths"][FEED]["get"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"format", "since", "page_size"}
