"""Finds and deletes raster sources that have no files."""

from collections.abc import Iterable

from sqlalchemy import Connection

from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.database.queries import queries

QUERIES = queries("missing_files")


def delete_removable(connection: Connection, locked: Iterable[int]) -> list[int]:
    """Delete the locked sources that are removable; return the ids of the others.

    The check runs after locking, so that it sees objects that began to use a source in the meantime.
    """
    ids = set(locked)
    removable = find_removable(connection, ids)
    connection.execute(QUERIES["delete_sources"], {"ids": removable})
    return sorted(ids.difference(removable))


def find_removable(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Return the sources that are empty and unused, and whose files will not be registered again."""
    parameters = {"ids": list(ids), "open_states": OPEN_STATES}
    return list(connection.execute(QUERIES["find_removable"], parameters).scalars())
