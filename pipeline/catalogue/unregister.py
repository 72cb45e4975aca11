"""Removes raster files and raster sources from the catalogue; it does not delete the files themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Engine

from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.definitions.field_types import REGISTER_ID
from pipeline.errors import CatalogueError

QUERIES = queries("unregister")


@dataclass(frozen=True)
class UnregisterResult:
    """What was removed."""

    files: int
    sources: int
    """Raster sources that were deleted because they had no files any more."""
    emptied: int
    """Raster sources that stay without files, because they are in use or their files may be registered again."""


def unregister(engine: Engine, uris: Sequence[str], uuids: Sequence[UUID]) -> UnregisterResult:
    """Remove the files with these URIs or below them, and all files of these raster sources.

    Files of a definition get tombstones, so that its next run does not register them again. Raises CatalogueError if
    nothing matches.
    """
    parameters = {"uris": list(uris), "uuids": list(uuids), "by_hand": REGISTER_ID}
    with begin(engine) as connection:

        def execute(name: str, **more: object) -> CursorResult[Any]:
            return connection.execute(QUERIES[name], {**parameters, **more})

        with lock_sources(connection, execute("find_sources").scalars()) as sources:
            unknown = set(uuids).difference(source.uuid for source in sources.values())
            if unknown:
                raise CatalogueError(
                    f"raster source {min(map(str, unknown))} does not exist; find sources with: rastersources search"
                )
            files = execute("remove_files").scalar_one()
            forgotten = execute("forget_rejections").rowcount
            if not files and not forgotten and not uuids:
                raise CatalogueError(
                    "no registered file has this name; `rastersources show NAME` lists the files of a source"
                )
        empty = execute("find_empty", ids=list(sources)).scalars().all()
        kept = delete_removable(connection, empty)
    return UnregisterResult(files, len(empty) - len(kept), len(kept))
