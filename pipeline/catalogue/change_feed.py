"""Statements of the change feed: raster sources that were created, updated and deleted, in the order of commits."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, or_, select

from pipeline.catalogue.access import Caller, readable_as
from pipeline.catalogue.lookups import BadValue, optional_pattern
from pipeline.database.queries import queries
from pipeline.database.tables import changes, commits

QUERIES = queries("change_feed")
BATCH_SIZE = 10_000
"""Number of transactions that get their position in the feed in one call."""
CURSOR = re.compile(r"([0-9a-f]{32})([0-9a-f]{32})")
CURSOR_PATTERN = optional_pattern("[0-9a-f]{64}")


@dataclass(frozen=True)
class Cursor:
    """The last change that a client has read."""

    commit: UUID
    source: UUID

    def __str__(self) -> str:
        return f"{self.commit.hex}{self.source.hex}"


def parse_cursor(value: str) -> Cursor:
    """Parse a cursor. Raises BadValue."""
    match = CURSOR.fullmatch(value)
    if not match:
        raise BadValue("Must be a cursor from this feed, or empty.")
    return Cursor(UUID(match[1]), UUID(match[2]))


def changes_after(caller: Caller, position: int, source: UUID | None, limit: int) -> Select[Any]:
    """Select the first `limit` changes that the caller may see after a source in the transaction at a position.

    With position 0 and no source it starts at the beginning. The changes of a transaction are in the order of uuids.
    """
    kind, is_visible = _kind(caller)
    after = commits.c.seq > position
    if source is not None:
        after = or_(after, changes.c.source_uuid > source) & (commits.c.seq >= position)
    return (
        select(
            commits.c.uuid.label("commit"),
            commits.c.at,
            changes.c.source_uuid.label("uuid"),
            kind,
        )
        .join_from(commits, changes, changes.c.commit_id == commits.c.id)
        .where(after, is_visible)
        .order_by(commits.c.seq, changes.c.source_uuid)
        .limit(limit)
    )


def history_of(caller: Caller, source: UUID, limit: int) -> Select[Any]:
    """Select the last `limit` changes of a raster source that the caller may see, the latest first."""
    kind, is_visible = _kind(caller)
    return (
        select(commits.c.at, kind)
        .join_from(changes, commits, changes.c.commit_id == commits.c.id)
        .where(changes.c.source_uuid == source, commits.c.ticket.is_not(None), is_visible)
        .order_by(commits.c.at.desc(), commits.c.id.desc())
        .limit(limit)
    )


def _kind(caller: Caller) -> tuple[ColumnElement[str], ColumnElement[bool]]:
    """Return the kind of a change from the caller's point of view, and whether the caller may see it."""
    now, before = _readable("is", caller), _readable("was", caller)
    kind = case((now, case((before, "updated"), else_="created")), else_="deleted")
    return kind.label("kind"), or_(now, before)


def _readable(when: str, caller: Caller) -> ColumnElement[bool]:
    """Return the condition for reading a source as it `is` after a change or `was` before; null if it did not exist."""
    access, organisation, supplier = (
        changes.c[f"{when}_{name}"]
        for name in ("access_modifier", "organisation_id", "supplier_id")
    )
    return readable_as(access, organisation, supplier, caller)
