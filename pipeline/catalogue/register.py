"""Write what was read: one transaction per batch, set-based, idempotent by URI and fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pipeline.catalogue.access import Access
from pipeline.catalogue.empty_sources import delete_removable
from pipeline.catalogue.grid_consistency import evict_misfits
from pipeline.catalogue.staging import database_reason, stage, write_staged
from pipeline.catalogue.sync_runs import RunReport
from pipeline.catalogue.write_sources import lock_rows, lock_sources
from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.definitions.definition import Definition
from pipeline.definitions.grouping import SourceGroup, group_of
from pipeline.errors import CatalogueError, MissingTime, RasterError, Rejection
from pipeline.raster import RasterFile
from pipeline.storage import StoredFile, path_of

QUERIES = queries("register")
TIME_WARNINGS = {"unreadable_time", "impossible_time", "ambiguous_time", "unmatched_pattern"}
"""Codes of warnings that say why a file has no time."""


@dataclass(frozen=True)
class Owner:
    """The organisation and supplier of a definition, found in the database."""

    organisation_id: int
    supplier_id: int | None


@dataclass(frozen=True)
class ReadItem:
    """A file that was read."""

    file: StoredFile
    facts: RasterFile
    moved_from: str | None = None
    """The URI under which it was known before, if it moved."""


@dataclass(frozen=True)
class RejectedItem:
    """A file that was rejected when it was listed or read."""

    rejection: Rejection
    file: StoredFile | None = None
    """None when it could not be listed."""


@dataclass(frozen=True)
class OutdatedItem:
    """An unchanged file whose source has the fields of an earlier version of the definition."""

    file: StoredFile


BatchItem = ReadItem | RejectedItem | OutdatedItem


@dataclass(frozen=True)
class GroupMove:
    """A file that moved, with its group before and after."""

    before: SourceGroup
    after: SourceGroup
    old_uri: str
    new_uri: str


@dataclass
class Batch:
    """The items of a batch, sorted, with the groups that their files belong to."""

    definition: Definition
    facts: list[tuple[SourceGroup, RasterFile]] = field(default_factory=list)
    rejected: list[tuple[Rejection, str | None]] = field(default_factory=list)
    """Rejections with the key of their group, None when the path does not say it."""
    names: dict[str, str] = field(default_factory=dict)
    """SourceGroup key -> name of the source, from the first file of the group."""
    moves: list[GroupMove] = field(default_factory=list)
    outdated: int = 0

    def add(self, item: BatchItem) -> None:
        """Sort an item in."""
        match item:
            case ReadItem():
                self._add_facts(item)
            case OutdatedItem(file):
                group = group_of(self.definition, file)
                self.names.setdefault(group.key, group.name)
                self.outdated += 1
            case RejectedItem(rejection, file):
                self.rejected.append((rejection, group_key_of(self.definition, file)))

    def _add_facts(self, item: ReadItem) -> None:
        facts = item.facts
        try:
            require_time(self.definition.temporal, facts)
            group = group_of(self.definition, item.file)
        except RasterError as error:
            rejection = Rejection(
                facts.uri, error.code, error.message, facts.fingerprint, facts.size
            )
            self.rejected.append((rejection, group_key_of(self.definition, item.file)))
            return
        self.facts.append((group, facts))
        self.names.setdefault(group.key, group.name)
        if item.moved_from is not None:
            # only single-file sources follow a rename, and the pattern need not fit the old name
            before = group
            if self.definition.group == "file":
                old = replace(item.file, uri=item.moved_from, real_path=path_of(item.moved_from))
                before = group_of(self.definition, old)
            self.moves.append(GroupMove(before, group, item.moved_from, item.file.uri))

    @property
    def group_keys(self) -> dict[str, str | None]:
        """URI of each file -> key of its group; moved files stand under both URIs."""
        return {
            **{rejection.uri: key for rejection, key in self.rejected},
            **{facts.uri: group.key for group, facts in self.facts},
            **{move.old_uri: move.after.key for move in self.moves},
        }


def register_batch(
    engine: Engine, definition: Definition, owner: Owner, items: Sequence[BatchItem]
) -> RunReport:
    """Write one batch in one transaction, and return what was registered and rejected.

    Raises TransientError when the database is away, CatalogueError when it rejects the batch.
    """
    batch = Batch(definition)
    for item in items:
        batch.add(item)
    try:
        with begin(engine) as connection:
            withheld, misfits = _write(connection, owner, batch)
    except (psycopg.DatabaseError, DBAPIError) as error:  # an absent one is a TransientError
        reason = database_reason(error)
        raise CatalogueError(
            f'the database does not take what "{definition.id}" says of its files ({reason})'
        ) from error
    rejected = [rejection for rejection, _ in batch.rejected] + misfits
    lost = {rejection.uri for rejection in rejected} | withheld
    sizes = [facts.size for _, facts in batch.facts if facts.uri not in lost]
    return RunReport(
        registered=len(sizes),
        unchanged=batch.outdated,
        moved=sum(move.new_uri not in lost for move in batch.moves),
        withheld=len(withheld),
        bytes=sum(sizes),
        rejected=rejected,
    )


def _write(connection: Connection, owner: Owner, batch: Batch) -> tuple[set[str], list[Rejection]]:
    """Write a batch; return the URIs that are withheld, and the files that do not fit their source."""
    definition, group_keys = batch.definition, batch.group_keys
    parameters: dict[str, Any] = {
        **source_parameters(definition, owner),
        "keys": list(batch.names),
        "names": list(batch.names.values()),
        "uris": list(group_keys),
    }

    def execute(name: str, **more: Any) -> Any:
        return connection.execute(QUERIES[name], {**parameters, **more})

    stage(connection, batch.facts, definition.id, definition.reading_hash())
    with lock_sources(connection, execute("find_sources").scalars()) as sources:
        if (
            definition.group == "file"
        ):  # in other sources a file that moves leaves other files behind
            execute("move_groups", **_move_parameters(batch.moves))
        execute("upsert_sources")
        sources |= lock_rows(connection, execute("find_sources").scalars())
        execute("withhold_groups")
        withheld = set(execute("withhold_files").scalars())
        left = {
            source
            for uri, source, key in execute("find_former_sources")
            if group_keys.get(uri) not in (None, key)
        }
        execute("assign_sources")
        gone = [rejection.uri for rejection, _ in batch.rejected if rejection.seen]
        gone += [move.old_uri for move in batch.moves]
        execute("remove_files", withdrawn=gone)
        write_staged(connection)
        read = [facts.uri for _, facts in batch.facts if facts.uri not in withheld]
        misfits = evict_misfits(connection, {**parameters, "uris": read}, list(sources))
        misfit_uris = [rejection.uri for rejection in misfits]
        execute("forget_rejections", misfits=misfit_uris)
        execute("forget_tombstones", misfits=misfit_uris)
        upsert_rejections(connection, parameters, batch.rejected)
    delete_removable(connection, left)
    return withheld, misfits


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
    """Keep rejections with their group keys; `parameters` has definition, organisation_id and reading_hash."""
    by_uri = {rejection.uri: (rejection, key) for rejection, key in rejected}
    rejections = [rejection for rejection, _ in by_uri.values()]
    lists = {
        "uris": list(by_uri),
        "codes": [rejection.code for rejection in rejections],
        "messages": [rejection.message for rejection in rejections],
        "fingerprints": [rejection.fingerprint for rejection in rejections],
        "group_keys": [key for _, key in by_uri.values()],
    }
    connection.execute(QUERIES["upsert_rejections"], {**parameters, **lists})


def require_time(
    temporal: bool,
    facts: RasterFile,
    advice: str = "give a time, or a pattern that finds it in the path",
) -> None:
    """Raise MissingTime when the source is a series in time and the file has no time."""
    if temporal and not facts.times:
        reasons = [warning.message for warning in facts.warnings if warning.code in TIME_WARNINGS]
        raise MissingTime("; ".join([*(reasons or ["nothing says its time"]), advice]))


def group_key_of(definition: Definition, file: StoredFile | None) -> str | None:
    """Return the key of the group of a rejected file; None when its path does not say it."""
    try:
        return group_of(definition, file).key if file else None
    except RasterError:
        return None


def source_parameters(definition: Definition, owner: Owner) -> dict[str, Any]:
    """Return the fields of a definition that its raster sources get, and its hashes."""
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
