"""What was created, updated and deleted in the order of commits, as statements: to each what is theirs to know."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from pipeline.catalogue.access import Caller, readable_as
from pipeline.catalogue.lookups import BadValue, optional_pattern
from pipeline.database.tables import changes, commits

BATCH_SIZE = 10_000
"""Transactions that are given their place in the feed at once."""
CURSOR = re.compile(r"([0-9a-f]{32})([0-9a-f]{32})")
CURSOR_PATTERN = optional_pattern("[0-9a-f]{64}")


@dataclass(frozen=True)
class Cursor:
    """The last change that somebody has read."""

    commit: UUID
    source: UUID

    def __str__(self) -> str:
        return f"{self.commit.hex}{self.source.hex}"


def parse_cursor(value: str) -> Cursor | None:
    """The cursor that a client gives back; None from the beginning. Raises BadValue."""
    if not value:
        return None
    found = CURSOR.fullmatch(value)
    if not found:
        raise BadValue("Must be a cursor that this feed gave, or empty.")
    return Cursor(UUID(found[1]), UUID(found[2]))


def number_commits() -> Select[Any]:
    """Give transactions that were committed since the last time their place; how many, at most MOST_AT_ONCE.

    A standby shows what was numbered on the primary.
    """
    read_only = func.current_setting("transaction_read_only") == "on"
    return select(case((read_only, 0), else_=func.number_commits(BATCH_SIZE)))


def position_of(cursor: Cursor) -> Select[Any]:
    """The place of a cursor's transaction in the feed; no row when it is not there."""
    return select(commits.c.seq).where(commits.c.uuid == cursor.commit, commits.c.seq.is_not(None))


def changes_after(caller: Caller, place: int, source: UUID | None, limit: int) -> Select[Any]:
    """The first changes that the caller may know of, behind a source in the transaction at a place; 0 and None: all.

    What one transaction changed comes in the order of uuids.
    """
    now, before = _readable("is", caller), _readable("was", caller)
    kind = case((now, case((before, "updated"), else_="created")), else_="deleted")
    behind = commits.c.seq > place
    if source is not None:
        behind = or_(behind, changes.c.source_uuid > source) & (commits.c.seq >= place)
    return (
        select(
            commits.c.uuid.label("commit"),
            commits.c.at,
            changes.c.source_uuid.label("uuid"),
            kind.label("kind"),
        )
        .join_from(commits, changes, changes.c.commit_id == commits.c.id)
        .where(behind, or_(now, before))
        .order_by(commits.c.seq, changes.c.source_uuid)
        .limit(limit)
    )


def _readable(when: str, caller: Caller) -> ColumnElement[bool]:
    """Whether the caller may see the source as it `is` after the change, or `was` before; null where there was none."""
    access, organisation, supplier = (
        changes.c[f"{when}_{name}"]
        for name in ("access_modifier", "organisation_id", "supplier_id")
    )
    return readable_as(access, organisation, supplier, caller)
