"""Undoes a run: removes the files, raster sources and rejections that it created, in one transaction.

It adds no tombstones, so that the corrected command can register the files. It keeps objects that were changed since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, CursorResult, Engine

from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError, RunInProgress

QUERIES = queries("undo")
LARGEST_RUN = 2**31 - 1


@dataclass(frozen=True)
class KeptSource:
    """A raster source that the run created and that is kept."""

    uuid: UUID
    name: str
    reason: str


@dataclass(frozen=True)
class KeptFile:
    """A file that the run added and that was registered again since."""

    uri: str
    run: int | None
    """The run that registered it again; None: an upload did."""


@dataclass(frozen=True)
class Undo:
    """What is removed of a run, and what is kept."""

    run: int
    definition: str
    started: datetime
    files: int
    sources: int
    rejections: int
    kept_sources: Sequence[KeptSource]
    kept_files: Sequence[KeptFile]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is removed."""
        return not (self.files or self.sources or self.rejections)


def undo(engine: Engine, run: int, *, dry_run: bool = False) -> Undo:
    """Undo a run, or only return what that would do for a dry run.

    Raises CatalogueError if the run does not exist, RunInProgress when a run of its definition is in progress.
    """
    with begin(engine) as connection:
        result = _undo(connection, run)
        if dry_run:
            connection.rollback()
    return result


def _undo(connection: Connection, run: int) -> Undo:
    row = None
    if 0 < run <= LARGEST_RUN:
        row = connection.execute(QUERIES["get_run"], {"run": run}).first()
    if row is None:
        raise CatalogueError(f"run {run} does not exist; list runs with: rastersources runs list")
    parameters: dict[str, Any] = {"run": run, "definition": row.definition}

    def execute(name: str, **more: Any) -> CursorResult[Any]:
        return connection.execute(QUERIES[name], {**parameters, **more})

    if not execute("lock").scalar_one():
        raise RunInProgress(f'a run of "{row.definition}" is in progress; wait until it ends')
    with lock_sources(connection, execute("find_sources").scalars()) as sources:
        parameters["ids"] = list(sources)
        changed = execute("find_changed_sources").all()
        parameters["kept"] = [source.id for source in changed]
        kept_files = [KeptFile(*file) for file in execute("find_changed_files")]
        files = execute("remove_files").rowcount
        rejections = execute("forget_rejections").rowcount
    empty = execute("find_empty").scalars().all()
    used = delete_removable(connection, empty)
    execute("mark_undone")
    kept = [KeptSource(source.uuid, source.name, describe_change(source.run)) for source in changed]
    kept += [
        KeptSource(source.uuid, source.name, "it is in use; it has no files now")
        for source in execute("describe_sources", ids=used)
    ]
    return Undo(
        run,
        row.definition,
        row.started,
        files,
        len(empty) - len(used),
        rejections,
        kept,
        kept_files,
    )


def describe_change(run: int | None) -> str:
    """Return a text about who changed a source since: another run, or a user."""
    return "a user changed it since" if run is None else f"run {run} changed it since"
