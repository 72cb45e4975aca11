"""Raster sources that no file is left of, and their deletion."""

from collections.abc import Iterable

from sqlalchemy import Connection

from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.database.queries import queries

QUERIES = queries("missing_files")


def delete_removable(connection: Connection, locked: Iterable[int]) -> list[int]:
    """Delete the locked sources that are removable; return the ids of the others.

    Once they are locked, what began to use them meanwhile is seen.
    """
    ids = set(locked)
    removable = find_removable(connection, ids)
    connection.execute(QUERIES["delete_sources"], {"ids": removable})
    return sorted(ids.difference(removable))


def find_removable(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Return the sources that are empty, that nothing uses, and that no file may come back to."""
    parameters = {"ids": list(ids), "open_states": OPEN_STATES}
    return list(connection.execute(QUERIES["find_removable"], parameters).scalars())
