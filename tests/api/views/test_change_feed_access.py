"""The change feed shows each caller exactly the changes that section 6 of the contract allows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from httpx import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, text

from pipeline.database.tables import roles
from tests.api.conftest import callers
from tests.support.change_feed import read_feed, read_last_cursor

ORGANISATIONS, USERS = 2, 3
State = tuple[int, int, int | None] | None
"""The organisation, access modifier and supplier of a source; None while there is no source."""
states = st.none() | st.tuples(
    st.integers(0, ORGANISATIONS - 1),
    st.sampled_from((0, 100, 200, 300)),
    st.none() | st.integers(0, USERS - 1),
)
histories = st.lists(st.dictionaries(st.integers(0, 2), states, max_size=3), max_size=6)
"""The new state of each changed source, for each transaction."""
held_roles = st.frozensets(
    st.tuples(
        st.integers(0, USERS - 1),
        st.integers(0, ORGANISATIONS - 1),
        st.sampled_from(("user", "supplier", "admin", "manager")),
    ),
    max_size=8,
)
Roles = frozenset[tuple[int, int, str]]


def sees(held: Roles, user: int | None, state: State) -> bool:
    """Apply section 6 of the contract; None is a caller who is not logged in."""
    if state is None:
        return False
    organisation, modifier, supplier = state
    roles = {role for holder, place, role in held if (holder, place) == (user, organisation)}
    return {
        0: True,
        100: user is not None,
        200: user is not None and bool(roles & {"user", "supplier", "admin"}),
        300: user is not None and (supplier == user or "admin" in roles),
    }[modifier]


@dataclass
class Setup:
    """The users and organisations that all histories share, and the clients of these users."""

    engine: Engine
    organisations: list[int]
    users: list[int]
    clients: list[Client]

    def grant(self, held: Roles) -> None:
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM roles"))
            for user, organisation, role in held:
                values = {
                    "user_id": self.users[user],
                    "organisation_id": self.organisations[organisation],
                }
                connection.execute(insert(roles).values(**values, role=role))

    def run(self, history: list[dict[int, State]]) -> list[tuple[str, State, State]]:
        """Run the history; return uuid, old state and new state of each change, in the order of the feed."""
        uuids, states, changes = {}, dict[int, State](), []
        for step in history:
            changed = []
            with self.engine.begin() as connection:
                for number, state in step.items():
                    before = states.get(number)
                    if before is None and state is not None:
                        uuids[number] = self.put(connection, None, state)
                    elif before is not None:
                        self.put(connection, uuids[number], state)
                    if state != before:
                        changed.append((uuids[number], before, state))
                    states[number] = state
            changes += sorted(changed, key=lambda change: change[0])
        return changes

    def put(self, connection: Any, uuid: str | None, state: State) -> str:
        """Add, change or delete a source, so that it has this state; return its uuid."""
        if state is None:
            connection.execute(
                text("DELETE FROM raster_sources WHERE uuid = :uuid"), {"uuid": uuid}
            )
            return str(uuid)
        organisation, modifier, supplier = state
        values = {"organisation": self.organisations[organisation], "modifier": modifier, "uuid": uuid,
                  "supplier": None if supplier is None else self.users[supplier]}  # fmt: skip
        statement = """
            UPDATE raster_sources
            SET organisation_id = :organisation, access_modifier = :modifier, supplier_id = :supplier
            WHERE uuid = :uuid RETURNING uuid::text
        """ if uuid else """
            INSERT INTO raster_sources (name, organisation_id, access_modifier, supplier_id)
            VALUES ('n', :organisation, :modifier, :supplier) RETURNING uuid::text
        """  # fmt: skip
        return str(connection.execute(text(statement), values).scalar_one())


@pytest.fixture(scope="module")
def setup(engine: Engine, client: Client, add_organisation: Any) -> Iterator[Setup]:
    organisations = [add_organisation(f"Organisation {number}") for number in range(ORGANISATIONS)]
    with callers(engine, client, USERS) as (users, clients):
        yield Setup(engine, organisations, users, clients)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(held=held_roles, history=histories, page_size=st.sampled_from([1, 2, 1000]))
def test_the_feed_follows_the_access_rules(
    setup: Setup, held: Roles, history: list[dict[int, State]], page_size: int
) -> None:
    setup.grant(held)
    cursors = [read_last_cursor(client) for client in setup.clients]
    changes = setup.run(history)
    for user, client, since in zip([*range(USERS), None], setup.clients, cursors, strict=True):
        expected = [
            (
                {(True, True): "updated", (False, True): "created", (True, False): "deleted"}[seen],
                uuid,
            )
            for uuid, before, after in changes
            if any(seen := (sees(held, user, before), sees(held, user, after)))
        ]
        feed, cursor = read_feed(client, since, page_size)
        assert [(change["kind"], change["uuid"]) for change in feed] == expected
        assert (cursor == since) == (expected == [])
        assert read_feed(client, cursor) == ([], cursor)
