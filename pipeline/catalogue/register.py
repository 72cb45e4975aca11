"""Writes files that were read: one transaction per batch, set-based, idempotent by URI and fingerprint."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pipeline.catalogue.access import Access
from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.grid_consistency import evict_misfits
from pipeline.catalogue.owners import Owner
from pipeline.catalogue.staging import stage, write_staged
from pipeline.catalogue.sync_runs import RunReport, count_batch
from pipeline.catalogue.write_sources import lock_rows, lock_sources
from pipeline.database.connection_errors import database_reason
from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.definitions.definition import BY_COLLECTION, Definition
from pipeline.definitions.grouping import SourceGroup, group_of
from pipeline.errors import CatalogueError, MissingTime, RasterError, Rejection
from pipeline.storage import StoredFile, path_of, rejection, storable_text

QUERIES = queries("register")


@dataclass(frozen=True)
class BatchItem:
    """A file of a batch."""

    file: StoredFile | None
    """None when it could not be listed."""
    result: FileRow | Rejection | None
    """The result of reading; None for an unchanged file whose source has the fields of an earlier definition."""
    moved_from: str | None = None
    """Its former URI, if it moved."""


@dataclass(frozen=True)
class GroupMove:
    """A file that moved, with its groups before and after the move."""

    before: SourceGroup
    after: SourceGroup
    old_uri: str
    new_uri: str


@dataclass
class Batch:
    """The items of a batch, sorted by what has to be done, with the groups of their files."""

    definition: Definition
    read: list[tuple[str, FileRow]] = field(default_factory=list)
    """Files to write, with the key of their group."""
    rejected: list[tuple[Rejection, str | None]] = field(default_factory=list)
    """Rejections with the key of their group, or None if the path does not have it."""
    names: dict[str, str] = field(default_factory=dict)
    """SourceGroup key -> name of the source, from the first file of the group."""
    moves: list[GroupMove] = field(default_factory=list)
    outdated: int = 0

    def add(self, item: BatchItem) -> None:
        """Add an item."""
        match item:
            case BatchItem(StoredFile() as file, FileRow() as row):
                self._add_row(file, row, item.moved_from)
            case BatchItem(StoredFile() as file, None):
                self.outdated += 1
                if self.definition.group != BY_COLLECTION:
                    # by collection, the end of the run updates all sources instead
                    group = group_of(self.definition, file)
                    self.names.setdefault(group.key, group.name)
            case BatchItem(file, Rejection() as rejection):
                self.rejected.append((rejection, group_key_of(self.definition, file)))

    def _add_row(self, file: StoredFile, row: FileRow, moved_from: str | None) -> None:
        try:
            require_time(self.definition.temporal, row)
            grid = row.grid if self.definition.group == BY_COLLECTION else ""
            group = group_of(self.definition, file, grid)
        except RasterError as error:
            self.rejected.append((rejection(file, error), group_key_of(self.definition, file)))
            return
        self.read.append((group.key, row))
        self.names.setdefault(group.key, group.name)
        if moved_from is not None:
            # only single-file sources follow a rename; otherwise the old name may not match the pattern
            before = group
            if self.definition.group == "file":
                old = replace(file, uri=moved_from, real_path=path_of(moved_from))
                before = group_of(self.definition, old)
            self.moves.append(GroupMove(before, group, moved_from, file.uri))

    def alone_in_group(self) -> list[bool]:
        """Return for each of the `names` whether the batch has exactly one file for it."""
        files = Counter(key for key, _ in self.read)
        return [files[key] == 1 for key in self.names]

    def report(self, withheld: Collection[str], misfits: Sequence[Rejection]) -> RunReport:
        """Return the report; `withheld` are URIs of files that users deleted, `misfits` files that do not fit."""
        rejected = [*(rejection for rejection, _ in self.rejected), *misfits]
        lost = {rejection.uri for rejection in rejected} | set(withheld)
        written = [row for _, row in self.read if row.uri not in lost]
        return RunReport(
            registered=len(written),
            unchanged=self.outdated,
            moved=sum(move.new_uri not in lost for move in self.moves),
            withheld=len(withheld),
            bytes=sum(row.size for row in written),
            rejected=rejected,
            warnings=Counter(code for row in written for code in row.warnings),
        )

    @property
    def group_keys(self) -> dict[str, str | None]:
        """URI of each file -> key of its group; moved files have both URIs."""
        return {
            **{rejection.uri: key for rejection, key in self.rejected},
            **{row.uri: key for key, row in self.read},
            **{move.old_uri: move.after.key for move in self.moves},
        }


def register_batch(
    engine: Engine, definition: Definition, owner: Owner, items: Sequence[BatchItem]
) -> RunReport:
    """Write one batch in one transaction, and return the report.

    Raises TransientError when the database does not answer, CatalogueError when it rejects the batch.
    """
    batch = Batch(definition)
    for item in items:
        batch.add(item)
    try:
        with begin(engine) as connection:
            withheld, misfits = _write(connection, owner, batch)
            report = batch.report(withheld, misfits)
            count_batch(connection, report)
    except (psycopg.DatabaseError, DBAPIError) as error:  # a lost connection is a TransientError
        reason = database_reason(error)
        raise CatalogueError(
            f'the database rejects the files of "{definition.id}" ({reason})'
        ) from error
    return report


def _write(connection: Connection, owner: Owner, batch: Batch) -> tuple[set[str], list[Rejection]]:
    """Write a batch; return the URIs of files that users deleted, and the files that do not fit their source."""
    definition = batch.definition
    parameters: dict[str, Any] = {
        **source_parameters(definition, owner),
        "keys": list(batch.names),
        "names": list(batch.names.values()),
        "uris": list(batch.group_keys),
    }

    def execute(name: str, **more: Any) -> Any:
        return connection.execute(QUERIES[name], {**parameters, **more})

    with lock_sources(connection, execute("find_sources").scalars()) as sources:
        stage(connection, batch.read, definition.id, definition.reading_hash())
        # a source of several files does not move with one of them
        if batch.moves and definition.group == "file":
            execute("move_groups", **_move_parameters(batch.moves))
        new = set(execute("upsert_sources", alone=batch.alone_in_group()).scalars()) - {None}
        if len(new) < len(batch.names) or batch.rejected:
            sources |= lock_rows(connection, set(execute("find_sources").scalars()) - new)
        execute("withhold_groups")
        withheld = set(execute("withhold_files").scalars())
        if withheld:
            sources |= lock_rows(connection, new)
        former, added_by = _leave_former_sources(execute, batch) if sources else (set(), {})
        execute("assign_sources")
        write_staged(connection)
        if batch.moves:
            moves = [move for move in batch.moves if move.old_uri in added_by]
            runs = [added_by[move.old_uri] for move in moves]
            execute("keep_added_by", moved=[move.new_uri for move in moves], runs=runs)
        read = [row.uri for _, row in batch.read if row.uri not in withheld]
        misfits = evict_misfits(connection, {**parameters, "uris": read}, sources)
        misfit_uris = [rejection.uri for rejection in misfits]
        execute("forget_rejections", misfits=misfit_uris)
        execute("forget_tombstones", misfits=misfit_uris)
        upsert_rejections(connection, parameters, batch.rejected)
    if former:
        delete_removable(connection, former)
    return withheld, misfits


def _leave_former_sources(
    execute: Callable[..., Any], batch: Batch
) -> tuple[set[int], dict[str, int | None]]:
    """Remove files that moved, were rejected or changed their group from their former sources.

    Returns the ids of these sources, and URI -> the run that added the file.
    """
    group_keys = batch.group_keys
    former = {
        source
        for uri, source, key in execute("find_former_sources")
        if group_keys.get(uri) not in (None, key)
    }
    gone = [rejection.uri for rejection, _ in batch.rejected if rejection.seen]
    removed = execute("remove_files", withdrawn=[*gone, *(move.old_uri for move in batch.moves)])
    return former, {row.uri: row.added_by for row in removed}


def _move_parameters(moves: Sequence[GroupMove]) -> dict[str, list[str]]:
    return {
        "old_keys": [move.before.key for move in moves],
        "old_names": [move.before.name for move in moves],
        "new_keys": [move.after.key for move in moves],
        "new_names": [move.after.name for move in moves],
    }


def upsert_rejections(
    connection: Connection,
    parameters: dict[str, Any],
    rejected: Sequence[tuple[Rejection, str | None]],
) -> None:
    """Store rejections with their group keys; `parameters` has definition, organisation_id and reading_hash."""
    if not rejected:
        return
    by_uri = {rejection.uri: (rejection, key) for rejection, key in rejected}
    rejections = [rejection for rejection, _ in by_uri.values()]
    lists = {
        "uris": list(by_uri),
        "codes": [rejection.code for rejection in rejections],
        "messages": [storable_text(rejection.message) for rejection in rejections],
        "fingerprints": [rejection.fingerprint for rejection in rejections],
        "group_keys": [key for _, key in by_uri.values()],
    }
    connection.execute(QUERIES["upsert_rejections"], {**parameters, **lists})


def require_time(
    temporal: bool,
    file: FileRow,
    advice: str = "give a time, or a pattern that finds it in the path",
) -> None:
    """Raise MissingTime when the source is a time series and the file has no time."""
    if temporal and file.undated:
        raise MissingTime(f"{file.undated}; {advice}")


def group_key_of(definition: Definition, file: StoredFile | None) -> str | None:
    """Return the key of the group of a file that was not read; None if its path does not determine it."""
    if file is None or definition.group == BY_COLLECTION:
        return None
    try:
        return group_of(definition, file).key
    except RasterError:
        return None


def source_parameters(definition: Definition, owner: Owner) -> dict[str, Any]:
    """Return the fields that a definition gives its raster sources, and its hashes."""
    return {
        "definition": definition.id,
        "uuid": definition.uuid,
        "hash": definition.hash(),
        "reading_hash": definition.reading_hash(),
        "description": definition.description,
        "organisation_id": owner.organisation_id,
        "access_modifier": int(Access[definition.access_modifier]),
        "supplier_id": owner.supplier_id,
        "supplier_code": definition.supplier_code,
        "temporal": definition.temporal,
        "interval": definition.interval,
    }
