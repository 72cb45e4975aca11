"""What users deleted on purpose: ingestion leaves it out until it is restored, or until the file changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, TextClause, bindparam
from sqlalchemy.types import BigInteger

from pipeline.database.engine import begin, is_storable
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

QUERIES = queries("tombstones")


@dataclass(frozen=True)
class Tombstone:
    """A raster source or a raster file that was deleted."""

    definition: str
    source: UUID
    name: str
    """Of the raster source."""
    uri: str | None
    """The file; None for the source as a whole."""
    created: datetime


def add_source_tombstones(source_id: int) -> TextClause:
    """Return the statement that leaves tombstones of a raster source that is about to be deleted."""
    return QUERIES["add_source_tombstones"].bindparams(
        bindparam("source", source_id, type_=BigInteger)
    )


def find_deleted_groups(engine: Engine, definition: str) -> frozenset[str]:
    """Return the keys of the groups of a definition that a user deleted as a whole."""
    with begin(engine) as connection:
        rows = connection.execute(QUERIES["find_deleted_groups"], {"definition": definition})
        return frozenset(rows.scalars())


def list_tombstones(engine: Engine) -> list[Tombstone]:
    """Return what was deleted and not restored, the oldest first."""
    with begin(engine) as connection:
        return [Tombstone(*row) for row in connection.execute(QUERIES["list"])]


def restore(
    engine: Engine, names: Sequence[str], uris: Sequence[str], *, everything: bool = False
) -> int:
    """Let the next sync bring back deleted sources and files, and return how many.

    `names` are uuids of raster sources and ids of definitions, `uris` those of files and of folders above them. Raises
    CatalogueError when nothing of these names was deleted.
    """
    storable = [name for name in names if is_storable(name)]
    parameters = {"names": storable, "uris": list(uris), "everything": everything}
    with begin(engine) as connection:
        ids = connection.execute(QUERIES["find"], parameters).scalars().all()
        if not ids and not everything:
            raise CatalogueError(
                "nothing of that name was deleted; `rastersources restore` without a name lists what was"
            )
        connection.execute(QUERIES["restore"], {"ids": ids})
    return len(ids)
