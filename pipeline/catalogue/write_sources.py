"""The write path of all writers: lock raster sources, change their files, derive their fields.

A writer locks raster sources in the order of their ids before it changes their files, so that two writers cannot
deadlock. Only marking files as missing and moving a dropped file lock no source.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, TextClause

from pipeline.database.queries import queries

QUERIES = queries("write_sources")


@dataclass(frozen=True)
class LockedSource:
    """A raster source whose row is locked until the transaction ends."""

    uuid: UUID
    temporal: bool
    """Whether it is a time series."""


@contextmanager
def lock_sources(connection: Connection, ids: Iterable[int]) -> Iterator[dict[int, LockedSource]]:
    """Lock raster sources, and derive their fields from their files at the end of the block.

    Yields the sources that exist, by id. A writer that creates sources in the block must add them with `lock_rows`. The
    fields are not derived when the block raises, because then the transaction is rolled back.
    """
    sources = lock_rows(connection, ids)
    yield sources
    if sources:
        connection.execute(derive_sources(sources))


def derive_sources(ids: Iterable[int]) -> TextClause:
    """Compute the derived fields of locked raster sources."""
    return QUERIES["derive"].bindparams(ids=list(ids))


def lock_rows(connection: Connection, ids: Iterable[int]) -> dict[int, LockedSource]:
    """Lock the rows of raster sources in the order of their ids; return those that exist, by id."""
    rows = connection.execute(QUERIES["lock"], {"ids": sorted(set(ids))})
    return {row.id: LockedSource(row.uuid, row.temporal) for row in rows}
