"""Take raster files and raster sources out of the catalogue; the files themselves stay where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from pipeline.catalogue.empty_sources import delete_removable
from pipeline.database.engine import transaction
from pipeline.definitions.fields import REGISTER_ID
from pipeline.errors import CatalogueError

# Files of these URIs or below them, of these sources; never those that clients sent.
CHOSEN = """
    file.definition IS NOT NULL AND (
        file.uri = ANY (%(uris)s)
        OR EXISTS (SELECT FROM unnest(%(uris)s::text[]) AS folder (uri)
                   WHERE starts_with(file.uri, rtrim(folder.uri, '/') || '/'))
        OR file.source_id IN (SELECT id FROM raster_sources WHERE uuid = ANY (%(uuids)s)))
"""
LOCK_SOURCES = f"""
    SELECT id, uuid FROM raster_sources WHERE id IN (
        SELECT id FROM raster_sources WHERE uuid = ANY (%(uuids)s)
        UNION SELECT source_id FROM raster_files AS file WHERE {CHOSEN})
    ORDER BY id FOR UPDATE
"""  # noqa: S608 - the part is the one above

# What was registered by hand comes back only by hand; a definition would bring its files back by itself.
BURY = f"""
    INSERT INTO tombstones (definition, source_uuid, name, organisation_id, uri, fingerprint)
    SELECT file.definition, source.uuid, source.name, source.organisation_id, file.uri, file.fingerprint
    FROM raster_files AS file JOIN raster_sources AS source ON source.id = file.source_id
    WHERE file.definition <> %(by_hand)s AND {CHOSEN}
    ON CONFLICT (definition, uri) WHERE uri IS NOT NULL DO UPDATE SET fingerprint = excluded.fingerprint
"""  # noqa: S608
REMOVE = f"DELETE FROM raster_files AS file WHERE {CHOSEN}"  # noqa: S608
FORGET = """
    DELETE FROM rejected_files AS file WHERE file.definition = %(by_hand)s AND (
        file.uri = ANY (%(uris)s)
        OR EXISTS (SELECT FROM unnest(%(uris)s::text[]) AS folder (uri)
                   WHERE starts_with(file.uri, rtrim(folder.uri, '/') || '/')))
"""


@dataclass(frozen=True)
class UnregisterResult:
    """What was taken out."""

    files: int
    sources: int
    """Raster sources that went with their last file."""
    emptied: int
    """Raster sources that stay, with nothing in them: something depends on them, was sent to them, or may come back."""


def unregister(engine: Engine, uris: Sequence[str], uuids: Sequence[UUID]) -> UnregisterResult:
    """Take out the files of these URIs or below them, and all files of these raster sources.

    Raises CatalogueError when nothing of these names is registered.
    """
    parameters: dict[str, Any] = {"uris": list(uris), "uuids": list(uuids), "by_hand": REGISTER_ID}
    with transaction(engine) as connection:
        locked = connection.execute(LOCK_SOURCES, parameters).fetchall()
        unknown = set(uuids) - {uuid for _, uuid in locked}
        if unknown:
            raise CatalogueError(f"there is no raster source {min(map(str, unknown))}")
        connection.execute(BURY, parameters)
        files = connection.execute(REMOVE, parameters).rowcount
        forgotten = connection.execute(FORGET, parameters).rowcount
        if not files and not forgotten and not uuids:
            raise CatalogueError("nothing of that name is registered; see `rastersources plan`")
        ids = [number for number, _ in locked]
        connection.execute("SELECT derive_sources(%s)", (ids,))
        empty = [
            number
            for (number,) in connection.execute(
                "SELECT id FROM raster_sources WHERE id = ANY (%s) AND file_count = 0", (ids,)
            )
        ]
        kept = delete_removable(connection, empty)
    return UnregisterResult(files, len(empty) - len(kept), len(kept))
