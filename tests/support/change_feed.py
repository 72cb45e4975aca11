"""Read the change feed as its clients do."""

from typing import Any

from httpx import Client

FEED = "/api/v4/changes/"


def read(client: Client, since: str = "", page_size: int = 1000) -> tuple[list[Any], str]:
    """All changes behind a cursor, by following `next`, and the cursor at the end."""
    answer = client.get(FEED, params={"since": since, "page_size": page_size})
    found = []
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["results"]
        assert len(page["results"]) == page_size or page["next"] is None
        if page["next"] is None:
            return found, page["cursor"]
        answer = client.get(page["next"])


def end(client: Client) -> str:
    """The cursor behind everything."""
    return read(client)[1]


def kinds(client: Client, since: str) -> list[tuple[str, str]]:
    """Kind and uuid of the changes behind a cursor."""
    return [(one["kind"], one["uuid"]) for one in read(client, since)[0]]
