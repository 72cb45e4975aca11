"""Read the change feed as its clients do."""

from typing import Any

from httpx import Client

FEED = "/api/v4/changes/"


def read_feed(client: Client, since: str = "", page_size: int = 1000) -> tuple[list[Any], str]:
    """Follow `next` from a cursor; return all changes and the last cursor."""
    answer = client.get(FEED, params={"since": since, "page_size": page_size})
    changes: list[Any] = []
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        changes += page["results"]
        assert len(page["results"]) == page_size or page["next"] is None
        if page["next"] is None:
            return changes, page["cursor"]
        answer = client.get(page["next"])


def read_last_cursor(client: Client) -> str:
    """Return the cursor after the last change."""
    return read_feed(client)[1]


def read_kinds(client: Client, since: str) -> list[tuple[str, str]]:
    """Return the kind and the uuid of each change after a cursor."""
    return [(change["kind"], change["uuid"]) for change in read_feed(client, since)[0]]
