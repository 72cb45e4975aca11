"""Records definitions with their sources.toml, removes those that left it, and updates the sources of changed ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine

from pipeline.catalogue.comparison import Comparison
from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.owners import Owner
from pipeline.catalogue.register import source_parameters
from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError, RunInProgress

QUERIES = queries("definitions")


@dataclass(frozen=True)
class Orphan:
    """A definition or drop folder that was removed from its sources.toml."""

    id: str
    sources: int
    """Number of existing raster sources that it created."""
    kept: int = 0
    """Number of these sources that `prune` emptied but did not delete, because something depends on them, a user sent
    files to them, or the definition named them by their uuid."""


def record_definition(engine: Engine, name: str, config: Path, uuid: UUID | None = None) -> None:
    """Record the sources.toml of a definition or drop folder.

    A sync records it before it writes anything else, so that all its records can be pruned. `uuid` is that of the
    raster source that the definition names.
    """
    execute(engine, QUERIES["record"], id=name, config=str(config.absolute()), uuid=uuid)


def other_config(engine: Engine, definition: Definition, config: Path) -> str | None:
    """Return the path of another existing sources.toml from which a definition with this id was synced, or None."""
    rows = execute(engine, QUERIES["get_config"], id=definition.id)
    path = rows[0].config if rows else None
    return path if path and Path(path).exists() and not is_same(path, config) else None


def find_orphans(engine: Engine, config: Path, ids: Sequence[str]) -> list[Orphan]:
    """Return the definitions that were synced from this file, except those with these ids."""
    rows = execute(engine, QUERIES["find_orphans"], ids=list(ids))
    return [Orphan(*row) for path, *row in rows if is_same(path, config)]


def is_same(path: str, config: Path) -> bool:
    """Return whether two paths lead to the same file, or did so when the first was recorded."""
    return path == str(config.absolute()) or Path(path).resolve() == config.resolve()


def prune(engine: Engine, orphan: Orphan) -> Orphan:
    """Remove the files of a definition from its sources, and delete the sources that are empty then.

    Sources in use stay, without a definition. Raises RunInProgress when a run of the definition is in progress.
    """
    name = {"id": orphan.id}
    with begin(engine) as connection:
        if not connection.execute(QUERIES["lock"], name).scalar_one():
            raise RunInProgress(f'a run of "{orphan.id}" is in progress; wait until it ends')
        uuid = connection.execute(QUERIES["get_uuid"], name).scalar()
        ids = connection.execute(QUERIES["find_sources"], name).scalars()
        with lock_sources(connection, ids) as sources:
            connection.execute(QUERIES["remove_files"], name)
        connection.execute(QUERIES["forget"], name)
        unnamed = [id for id, source in sources.items() if source.uuid != uuid]
        kept = len(sources) - len(unnamed) + len(delete_removable(connection, unnamed))
        connection.execute(QUERIES["release_sources"], name)
    return replace(orphan, kept=kept)


def check_uuid(engine: Engine, definition: Definition, *, claim: bool = False) -> None:
    """Raise CatalogueError when the uuid belongs to another definition's source, or the definition has another source.

    With `claim`, a source with this uuid that a user created becomes the source of the definition first.
    """
    if definition.uuid is None:
        return
    names = {"id": definition.id, "uuid": definition.uuid}
    with begin(engine) as connection:
        if claim:
            connection.execute(QUERIES["claim_source"], names)
        source_uuid = connection.execute(QUERIES["get_uuid_of_source"], names).scalar()
        owner = connection.execute(QUERIES["get_definition_of_source"], names).scalar()
    if source_uuid not in (None, definition.uuid):
        raise CatalogueError(
            f'"{definition.id}" already has the raster source {source_uuid}; delete it first, or give its uuid'
        )
    if owner not in (None, definition.id):
        raise CatalogueError(
            f'raster source {definition.uuid} belongs to the definition "{owner}"; give another uuid'
        )


def count_outdated_sources(comparison: Comparison, definition: Definition) -> int:
    """Return how many sources have fields of an earlier version of their definition and have no unchanged file."""
    parameters = {"definition": definition.id, "hash": definition.hash()}
    with comparison.transaction() as connection:
        return int(connection.execute(QUERIES["count_outdated_sources"], parameters).scalar_one())


def add_grid_to_names(engine: Engine, definition: Definition) -> None:
    """Rename raster sources that the present run of an import created under the same name.

    Several sources get the same name when a collection has several grids.
    """
    execute(engine, QUERIES["add_grid_to_names"], definition=definition.id)


def update_outdated_sources(engine: Engine, definition: Definition, owner: Owner) -> None:
    """Set the fields of a changed definition, except the name, on those of its sources that the run did not write.

    Call it after all files are written.
    """
    parameters = source_parameters(definition, owner)
    with begin(engine) as connection:
        ids = connection.execute(QUERIES["find_outdated_sources"], parameters).scalars()
        with lock_sources(connection, ids) as sources:
            parameters["ids"] = list(sources)
            connection.execute(QUERIES["update_outdated_sources"], parameters)
