"""What users deleted on purpose: ingestion leaves it out until it is restored, or until the file changes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, TextClause, bindparam
from sqlalchemy.types import BigInteger

from pipeline.database.engine import begin, execute, is_storable
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

QUERIES = queries("tombstones")


def add_source_tombstones(source_id: int) -> TextClause:
    """Return the statement that leaves tombstones of a raster source that is about to be deleted."""
    source = bindparam("source", source_id, type_=BigInteger)
    return QUERIES["add_source_tombstones"].bindparams(source)


def find_deleted_groups(engine: Engine, definition: str) -> frozenset[str]:
    """Return the keys of the groups of a definition that a user deleted as a whole."""
    rows = execute(engine, QUERIES["find_deleted_groups"], definition=definition)
    return frozenset(key for (key,) in rows)


def list_tombstones(engine: Engine) -> Sequence[Row[Any]]:
    """Return deleted files, and sources that were deleted as a whole (without `uri`), the oldest first."""
    return execute(engine, QUERIES["list"])


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
