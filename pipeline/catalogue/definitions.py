"""Which definitions were synced from which sources.toml, and what to do with those that left it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.staging import Connection
from pipeline.database.engine import transaction
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError, RunInProgress

REMEMBER = """
    INSERT INTO definitions (id, config, uuid) VALUES (%s, %s, %s)
    ON CONFLICT (id) DO UPDATE SET config = excluded.config, uuid = excluded.uuid, synced = now()
"""
CONFIG_OF = "SELECT config FROM definitions WHERE id = %s"
FIND = """
    SELECT config, id, (SELECT count(*) FROM raster_sources AS source WHERE source.definition = definitions.id)
    FROM definitions WHERE NOT id = ANY (%s) ORDER BY id
"""

# A source that people made becomes that of a definition which names its uuid.
ADOPT = """
    UPDATE raster_sources SET definition = %(definition)s, group_key = 'all'
    WHERE uuid = %(uuid)s AND definition IS NULL AND NOT EXISTS (
        SELECT FROM raster_sources WHERE definition = %(definition)s AND group_key = 'all')
"""
OWNER_OF = "SELECT definition FROM raster_sources WHERE uuid = %(uuid)s"
UUID_OF = "SELECT uuid FROM raster_sources WHERE definition = %(definition)s AND group_key = 'all'"

LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(id)s, 0))"
LOCK_SOURCES = """
    SELECT id, uuid = (SELECT uuid FROM definitions WHERE id = %(id)s) FROM raster_sources WHERE definition = %(id)s
    ORDER BY id FOR UPDATE
"""
# What a drop folder brought is in sources of others, and stays.
REMOVE_FILES = """
    DELETE FROM raster_files AS file USING raster_sources AS source
    WHERE file.source_id = source.id AND source.definition = %(id)s AND file.definition = %(id)s
"""


@dataclass(frozen=True)
class Orphan:
    """A definition or a drop folder that left its sources.toml."""

    id: str
    sources: int
    """Raster sources that it made and that are still there."""
    kept: int = 0
    """Those of them that were emptied but not removed: something depends on them or was sent to them, or the definition
    named them by their uuid."""


def record_definition(engine: Engine, name: str, config: Path, uuid: UUID | None = None) -> None:
    """Keep where a definition or drop folder stands, before a sync brings anything in: what that leaves is its own.

    `uuid` is that of the raster source that a definition names.
    """
    with transaction(engine) as connection:
        connection.execute(REMEMBER, (name, str(config.absolute()), uuid))


def other_config(engine: Engine, definition: Definition, config: Path) -> str | None:
    """The path of another sources.toml from which a definition of this id was synced last, if it is still there."""
    with transaction(engine) as connection:
        (known,) = connection.execute(CONFIG_OF, (definition.id,)).fetchone() or (None,)
    return known if known and Path(known).exists() and not is_same(known, config) else None


def find_orphans(engine: Engine, config: Path, ids: Sequence[str]) -> list[Orphan]:
    """The definitions that were synced from this file and are not among these."""
    with transaction(engine) as connection:
        rows = connection.execute(FIND, (list(ids),)).fetchall()
    return [Orphan(*row) for known, *row in rows if is_same(known, config)]


def is_same(known: str, config: Path) -> bool:
    """Whether two paths are those of one file, also where a link on the way to it leads elsewhere by now."""
    return known == str(config.absolute()) or Path(known).resolve() == config.resolve()


def prune(engine: Engine, orphan: Orphan) -> Orphan:
    """Take the files of a definition out of its sources, and with them the sources that nothing is left of.

    Raises RunInProgress where a run of the definition is at work.
    """
    name = {"id": orphan.id}
    with transaction(engine) as connection:
        if connection.execute(LOCK, name).fetchone() != (True,):
            raise RunInProgress(f'a run of "{orphan.id}" is at work; wait for it')
        own: dict[int, bool | None] = dict(connection.execute(LOCK_SOURCES, name).fetchall())
        connection.execute(REMOVE_FILES, name)
        connection.execute("SELECT derive_sources(%s)", (list(own),))
        for table in ("rejected_files", "tombstones"):
            connection.execute(f"DELETE FROM {table} WHERE definition = %(id)s", name)  # noqa: S608
        kept = [number for number, named in own.items() if named]
        kept += delete_removable(connection, [number for number in own if number not in kept])
        # What stays is nobody's but that of the people who use it.
        connection.execute(
            "UPDATE raster_sources SET definition = NULL, group_key = NULL, definition_hash = NULL"
            " WHERE definition = %(id)s",
            name,
        )
        connection.execute("DELETE FROM definitions WHERE id = %(id)s", name)
    return replace(orphan, kept=len(kept))


def claim_source(engine: Engine, definition: Definition) -> None:
    """Make the source that a definition names by its uuid that of the definition, if it is there.

    Raises CatalogueError as `check_uuid` does.
    """
    if definition.uuid is None:
        return
    with transaction(engine) as connection:
        connection.execute(ADOPT, {"definition": definition.id, "uuid": definition.uuid})
        refuse_wrong_uuid(connection, definition)


def check_uuid(engine: Engine, definition: Definition) -> None:
    """Raises CatalogueError when a source is another definition's, or when the definition has one of another uuid."""
    if definition.uuid is not None:
        with transaction(engine) as connection:
            refuse_wrong_uuid(connection, definition)


def refuse_wrong_uuid(connection: Connection, definition: Definition) -> None:
    """The same, in a transaction."""
    names = {"definition": definition.id, "uuid": definition.uuid}
    own = connection.execute(UUID_OF, names).fetchone()
    if own is not None and own[0] != definition.uuid:
        raise CatalogueError(
            f'"{definition.id}" has a raster source already, {own[0]}; delete that one first, or name its uuid'
        )
    owner = connection.execute(OWNER_OF, names).fetchone()
    if owner is not None and owner[0] not in (None, definition.id):
        raise CatalogueError(
            f'raster source {definition.uuid} is that of the definition "{owner[0]}"; give another uuid'
        )
