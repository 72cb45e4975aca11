"""The definitions that were synced, from which sources.toml; what becomes of those that left it or changed."""

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
    """A definition or a drop folder that left its sources.toml."""

    id: str
    sources: int
    """Raster sources that it made and that still exist."""
    kept: int = 0
    """Those of them that were emptied but not deleted: something depends on them or was sent to them, or the definition
    named them by their uuid."""


def record_definition(engine: Engine, name: str, config: Path, uuid: UUID | None = None) -> None:
    """Record the sources.toml of a definition or drop folder.

    A sync records it before it writes anything, so that whatever it leaves can be pruned. `uuid` is that of the raster
    source that the definition names.
    """
    execute(engine, QUERIES["record"], id=name, config=str(config.absolute()), uuid=uuid)


def other_config(engine: Engine, definition: Definition, config: Path) -> str | None:
    """Return the path of another sources.toml that a definition of this id was synced from, if that file exists."""
    rows = execute(engine, QUERIES["get_config"], id=definition.id)
    known = rows[0].config if rows else None
    return known if known and Path(known).exists() and not is_same(known, config) else None


def find_orphans(engine: Engine, config: Path, ids: Sequence[str]) -> list[Orphan]:
    """Return the definitions that were synced from this file, except those with these ids."""
    rows = execute(engine, QUERIES["find_orphans"], ids=list(ids))
    return [Orphan(*row) for known, *row in rows if is_same(known, config)]


def is_same(known: str, config: Path) -> bool:
    """Return whether two paths lead to one file, or did before a link on the way changed."""
    return known == str(config.absolute()) or Path(known).resolve() == config.resolve()


def prune(engine: Engine, orphan: Orphan) -> Orphan:
    """Remove the files of a definition from its sources, and delete the sources that are empty then.

    Sources that something uses stay, without a definition. Raises RunInProgress when a run of the definition is at
    work.
    """
    name = {"id": orphan.id}
    with begin(engine) as connection:
        if not connection.execute(QUERIES["lock"], name).scalar_one():
            raise RunInProgress(f'a run of "{orphan.id}" is at work; wait for it')
        named = connection.execute(QUERIES["get_uuid"], name).scalar()
        ids = connection.execute(QUERIES["find_sources"], name).scalars()
        with lock_sources(connection, ids) as sources:
            connection.execute(QUERIES["remove_files"], name)
        connection.execute(QUERIES["forget"], name)
        unnamed = [id for id, source in sources.items() if source.uuid != named]
        kept = len(sources) - len(unnamed) + len(delete_removable(connection, unnamed))
        connection.execute(QUERIES["release_sources"], name)
    return replace(orphan, kept=kept)


def check_uuid(engine: Engine, definition: Definition, *, claim: bool = False) -> None:
    """Raise CatalogueError when the uuid is that of another definition's source, or the definition has another one.

    With `claim`, the definition first gets the source that it names, if a user created that.
    """
    if definition.uuid is None:
        return
    names = {"id": definition.id, "uuid": definition.uuid}
    with begin(engine) as connection:
        if claim:
            connection.execute(QUERIES["claim_source"], names)
        own = connection.execute(QUERIES["get_uuid_of_source"], names).scalar()
        owner = connection.execute(QUERIES["get_definition_of_source"], names).scalar()
    if own not in (None, definition.uuid):
        raise CatalogueError(
            f'"{definition.id}" has a raster source already, {own}; delete that one first, or name its uuid'
        )
    if owner not in (None, definition.id):
        raise CatalogueError(
            f'raster source {definition.uuid} is that of the definition "{owner}"; give another uuid'
        )


def count_outdated_sources(comparison: Comparison, definition: Definition) -> int:
    """Return how many sources have the fields of an earlier version of their definition, and no unchanged file."""
    parameters = {"definition": definition.id, "hash": definition.hash()}
    with comparison.transaction() as connection:
        return int(connection.execute(QUERIES["count_outdated_sources"], parameters).scalar_one())


def tell_sources_apart(engine: Engine, definition: Definition) -> None:
    """Give raster sources of an import that share a name, because a collection has several grids, names of their own.

    Only those that the present run created.
    """
    execute(engine, QUERIES["tell_apart"], definition=definition.id)


def update_outdated_sources(engine: Engine, definition: Definition, owner: Owner) -> None:
    """Set the fields of a changed definition, except the name, on sources that no file of the run led to.

    Call it after all files are written.
    """
    parameters = source_parameters(definition, owner)
    with begin(engine) as connection:
        ids = connection.execute(QUERIES["find_outdated_sources"], parameters).scalars()
        with lock_sources(connection, ids) as sources:
            parameters["ids"] = list(sources)
            connection.execute(QUERIES["update_outdated_sources"], parameters)
