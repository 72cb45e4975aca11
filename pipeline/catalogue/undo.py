"""Take back what a run created: its files, its raster sources and its rejections, in one transaction.

It leaves no tombstones, so that the corrected command brings the files in. What was changed since stays.
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
    """A raster source that the run created and that stays."""

    uuid: UUID
    name: str
    reason: str


@dataclass(frozen=True)
class KeptFile:
    """A file that the run added and that another run registered again."""

    uri: str
    run: int | None
    """The other run; None: no run did."""


@dataclass(frozen=True)
class Undo:
    """What is taken back of a run, and what stays."""

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
        """Whether nothing is taken back."""
        return not (self.files or self.sources or self.rejections)


def undo(engine: Engine, run: int, *, dry_run: bool = False) -> Undo:
    """Take back what a run created, or roll that back for a dry run; return what it is.

    Raises CatalogueError if the run does not exist, RunInProgress when a run of its definition is at work.
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
        raise CatalogueError(f"run {run} does not exist; see: rastersources runs list")
    parameters: dict[str, Any] = {"run": run, "definition": row.definition}

    def execute(name: str, **more: Any) -> CursorResult[Any]:
        return connection.execute(QUERIES[name], {**parameters, **more})

    if not execute("lock").scalar_one():
        raise RunInProgress(f'a run of "{row.definition}" is at work; wait for it')
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
        KeptSource(source.uuid, source.name, "it is in use, and is empty now")
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
    """Return who changed a source since: another run, or people."""
    return "people changed it since" if run is None else f"run {run} changed it since"
