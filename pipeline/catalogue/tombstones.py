"""Tombstones of files and sources that users deleted; runs skip them until they are restored or the file changes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, TextClause, bindparam
from sqlalchemy.types import BigInteger

from pipeline.database.engine import begin, execute, is_storable
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

QUERIES = queries("tombstones")


def add_source_tombstones(source_id: int) -> TextClause:
    """Return the statement that adds the tombstones of a raster source before it is deleted."""
    source = bindparam("source", source_id, type_=BigInteger)
    return QUERIES["add_source_tombstones"].bindparams(source)


def find_deleted_groups(engine: Engine, definition: str) -> frozenset[str]:
    """Return the keys of the groups of a definition that a user deleted as a whole."""
    rows = execute(engine, QUERIES["find_deleted_groups"], definition=definition)
    return frozenset(key for (key,) in rows)


def list_tombstones(engine: Engine) -> Sequence[Row[Any]]:
    """Return deleted files, and sources that were deleted as a whole (these have no `uri`), the oldest first."""
    return execute(engine, QUERIES["list"])


def restore(
    engine: Engine, names: Sequence[str], uris: Sequence[str], *, everything: bool = False
) -> int:
    """Delete tombstones, so that the next sync registers the files again, and return how many.

    `names` are uuids of raster sources and ids of definitions; `uris` are URIs of files and of folders above them.
    Raises CatalogueError when no file or source with such a name was deleted.
    """
    storable = [name for name in names if is_storable(name)]
    parameters = {"names": storable, "uris": list(uris), "everything": everything}
    with begin(engine) as connection:
        ids = connection.execute(QUERIES["find"], parameters).scalars().all()
        if not ids and not everything:
            raise CatalogueError(
                "no file or source with this name was deleted; `rastersources restore` without a name lists them"
            )
        connection.execute(QUERIES["restore"], {"ids": ids})
    return len(ids)
