"""What people deleted on purpose: left out of ingestion until it is restored, or until the file itself changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, TextClause, bindparam, text
from sqlalchemy.types import BigInteger

from pipeline.database.engine import is_storable, transaction
from pipeline.errors import CatalogueError

# For a raster source that is about to be deleted: its group as a whole, refused files included, and what other
# definitions brought into it.
BURY_SOURCE = text("""
    WITH source AS (
        SELECT id, uuid, name, organisation_id, definition, group_key FROM raster_sources WHERE id = :source
    ), forgotten AS (
        DELETE FROM rejected_files AS refused USING source
        WHERE refused.definition = source.definition AND refused.group_key = source.group_key
    )
    INSERT INTO tombstones (definition, source_uuid, name, organisation_id, group_key, uri, fingerprint)
    SELECT definition, uuid, name, organisation_id, group_key, NULL, NULL FROM source WHERE definition IS NOT NULL
    UNION ALL
    SELECT file.definition, source.uuid, source.name, source.organisation_id, NULL, file.uri, file.fingerprint
    FROM source JOIN raster_files AS file ON file.source_id = source.id
    WHERE file.definition IS NOT NULL AND file.definition IS DISTINCT FROM source.definition
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("source", type_=BigInteger))

# For the files of a common table expression `removed`: source_id, definition, uri, fingerprint.
ADD_FILE_TOMBSTONES = """
    INSERT INTO tombstones (definition, source_uuid, name, organisation_id, uri, fingerprint)
    SELECT removed.definition, source.uuid, source.name, source.organisation_id, removed.uri, removed.fingerprint
    FROM removed JOIN raster_sources AS source ON source.id = removed.source_id
    WHERE removed.definition IS NOT NULL
    ON CONFLICT (definition, uri) WHERE uri IS NOT NULL DO UPDATE SET
        source_uuid = excluded.source_uuid, name = excluded.name, fingerprint = excluded.fingerprint
"""

BURIED_GROUPS = "SELECT group_key FROM tombstones WHERE definition = %s AND uri IS NULL"

LIST = """
    SELECT definition, source_uuid, name, uri, created FROM tombstones ORDER BY created, id
"""

# By the uuid of the source, by the definition, by the file, or by a folder or prefix above it. The group of a source of
# one file is the URI of that.
FIND = """
    SELECT id FROM tombstones
    WHERE %(all)s OR source_uuid::text = ANY (%(names)s) OR definition = ANY (%(names)s)
       OR coalesce(uri, group_key) = ANY (%(uris)s)
       OR EXISTS (SELECT FROM unnest(%(uris)s::text[]) AS folder (uri)
                  WHERE starts_with(coalesce(tombstones.uri, group_key), rtrim(folder.uri, '/') || '/'))
    FOR UPDATE
"""

# A deleted source comes back empty under its uuid; the next sync fills it, and gives it the fields of its definition.
REVIVE = """
    INSERT INTO raster_sources (uuid, name, organisation_id, definition, group_key)
    SELECT source_uuid, name, organisation_id, definition, group_key FROM tombstones
    WHERE id = ANY (%(ids)s) AND uri IS NULL ORDER BY id
    ON CONFLICT DO NOTHING
"""


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


def add_source_tombstones(number: int) -> TextClause:
    """Leave tombstones of a raster source that is about to be deleted."""
    return BURY_SOURCE.bindparams(source=number)


def find_deleted_groups(engine: Engine, definition: str) -> frozenset[str]:
    """The keys of the groups of a definition that people deleted as a whole."""
    with transaction(engine) as connection:
        return frozenset(key for (key,) in connection.execute(BURIED_GROUPS, (definition,)))


def list_tombstones(engine: Engine) -> list[Tombstone]:
    """All that was deleted and not restored, the oldest first."""
    with transaction(engine) as connection:
        return [Tombstone(*row) for row in connection.execute(LIST)]


def restore(
    engine: Engine, names: Sequence[str], uris: Sequence[str], *, everything: bool = False
) -> int:
    """Let the next sync bring back what was deleted; how many sources and files.

    `names` are uuids of raster sources and ids of definitions, `uris` those of files and of folders above them. Raises
    CatalogueError when nothing of these names was deleted.
    """
    parameters: dict[str, Any] = {
        "names": [name for name in names if is_storable(name)],
        "uris": list(uris),
        "all": everything,
    }
    with transaction(engine) as connection:
        ids = [number for (number,) in connection.execute(FIND, parameters)]
        if not ids and not everything:
            raise CatalogueError(
                "nothing of that name was deleted; `rastersources restore` without a name lists what was"
            )
        connection.execute(REVIVE, {"ids": ids})
        connection.execute("DELETE FROM tombstones WHERE id = ANY (%s)", (ids,))
    return len(ids)
