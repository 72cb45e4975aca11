"""Finds the raster source of each dropped file, and records its outcome in one transaction per file."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Engine

from pipeline.catalogue.drop_moves import FileMove, begin_move
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.lookups import BadValue, parse_uuid
from pipeline.catalogue.owners import find_or_create
from pipeline.catalogue.register import upsert_rejections
from pipeline.catalogue.sync_runs import RunReport, count_batch
from pipeline.catalogue.uploads import stored_facts, write_upload
from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin, execute, is_storable
from pipeline.database.queries import queries
from pipeline.definitions.drop_file_names import Interpretation
from pipeline.definitions.drop_folder import DropFolder
from pipeline.errors import CatalogueError, MissingTime, Rejection, Unmatched, WrongSupplier

QUERIES = queries("drop_files")


@dataclass(frozen=True)
class DropScope:
    """The owners of the raster sources to which dropped files may be added; None means all owners."""

    organisation_ids: Sequence[int] | None = None
    supplier_id: int | None = None

    @property
    def owner(self) -> int | None:
        """The organisation of a rejected file without a source; None if there may be several."""
        ids = self.organisation_ids or ()
        return ids[0] if len(ids) == 1 else None


@dataclass(frozen=True)
class CandidateSource:
    """A raster source to which a file may belong."""

    id: int
    temporal: bool
    """Whether it is a time series."""
    organisation_id: int
    supplier_id: int | None
    by_uuid: bool
    """Whether the name of the file has its uuid, not its supplier code."""


def find_scope(engine: Engine, drop: DropFolder) -> DropScope:
    """Return the scope of a drop folder; raise CatalogueError if its organisation or supplier does not exist."""
    with begin(engine) as connection:

        def id_of(kind: Literal["organisation", "user"], name: str) -> int:
            row_id = find_or_create(connection, kind, name, create=False)
            if row_id is None:
                raise CatalogueError(
                    f'"{drop.id}" names the {kind} "{name}", which does not exist; '
                    f'add it with: rastersources {kind} add "{name}"'
                )
            return row_id

        ids = [id_of("organisation", name) for name in drop.organisation or ()]
        supplier = drop.supplier and id_of("user", drop.supplier)
    return DropScope(ids or None, supplier or None)


def find_candidates(
    engine: Engine, scope: DropScope, keys: Iterable[str]
) -> dict[str, list[CandidateSource]]:
    """Return the raster sources with these uuids or supplier codes, by key.

    Codes count only in the organisations of the scope.
    """
    storable_keys = sorted({key for key in keys if is_storable(key)})
    uuids, ids = [_canonical_uuid(key) for key in storable_keys], scope.organisation_ids
    query, candidates = QUERIES["find_candidates"], defaultdict(list)
    for key, *row in execute(engine, query, keys=storable_keys, uuids=uuids, organisations=ids):
        candidates[key].append(CandidateSource(*row))
    return candidates


def _canonical_uuid(key: str) -> str | None:
    try:
        return str(parse_uuid(key))
    except BadValue:
        return None


def choose_source(
    interpretations: Sequence[Interpretation],
    candidates: Mapping[str, Sequence[CandidateSource]],
    scope: DropScope,
) -> tuple[CandidateSource, datetime | None]:
    """Return the source of a file, and the time in its name. Raises Unmatched, WrongSupplier or MissingTime."""
    for name in interpretations:
        sources = candidates.get(name.key, ())
        # A uuid may be the supplier code of another source.
        sources = [source for source in sources if source.by_uuid] or sources
        if not sources:
            continue
        allowed = [source for source in sources if scope.supplier_id in (None, source.supplier_id)]
        if not allowed:
            raise WrongSupplier(
                f'the raster source "{name.key}" has another supplier; ask that supplier or an administrator'
            )
        if len(allowed) > 1:
            raise Unmatched(
                f'{len(allowed)} raster sources have the code "{name.key}"; name the file by the uuid of one of them'
            )
        if name.fault:
            raise MissingTime(
                f"the time in the file name is not valid: {name.fault}; rename the file"
            )
        return allowed[0], name.time
    if scope.organisation_ids is None:
        raise Unmatched(
            "no raster source has the uuid in its name; name it <uuid>[_<timestamp>].tif (a supplier_code counts only "
            "where the drop folder names its organisation)"
        )
    raise Unmatched(
        "no raster source has the uuid or supplier_code in its name; name it <uuid or supplier_code>[_<timestamp>].tif"
    )


def find_rejected(engine: Engine, definition: str, uris: Sequence[str]) -> set[str]:
    """Return those of the files that are on the list of rejected files."""
    return {
        uri
        for (uri,) in execute(engine, QUERIES["find_rejected"], definition=definition, uris=uris)
    }


def register_dropped_file(
    engine: Engine, drop: DropFolder, folder: str, move: FileMove, source_id: int, file: FileRow
) -> None:
    """Add a file to its source under its target, and begin its move.

    URIs of dropped files begin with `folder`. Raises RasterError if the file does not fit the source, or if the
    source was deleted.
    """
    parameters = {**_parameters(drop, move), "source": source_id, "folder": folder}
    with stored_facts(), begin(engine) as connection:
        former = connection.execute(QUERIES["find_sources"], parameters).scalars()
        with lock_sources(connection, [source_id, *former]) as sources:
            if source_id not in sources:
                raise Unmatched("its raster source was deleted in the meantime; drop it again")
            connection.execute(QUERIES["leave_sources"], parameters)
            moved, temporal = file._replace(uri=move.target), sources[source_id].temporal
            write_upload(connection, source_id, temporal, moved, drop.id, drop.reading_hash())
            connection.execute(QUERIES["forget_rejections"], parameters)
            connection.execute(QUERIES["forget_tombstones"], parameters)
        begin_move(connection, drop.id, move)
        count_batch(connection, RunReport(registered=1, bytes=file.size))


def reject_dropped_file(
    engine: Engine,
    drop: DropFolder,
    rejection: Rejection,
    move: FileMove,
    organisation_id: int | None,
) -> None:
    """Record a rejection under the target of the file, begin its move, and remove the file from its source."""
    parameters = {
        **_parameters(drop, move),
        "source": -1,
        "organisation_id": organisation_id,
        "reading_hash": drop.reading_hash(),
    }
    with begin(engine) as connection:
        if rejection.seen:
            former = connection.execute(QUERIES["find_sources"], parameters).scalars()
            with lock_sources(connection, former):
                connection.execute(QUERIES["leave_sources"], parameters)
        if not move.stays:
            connection.execute(QUERIES["forget_rejections"], {**parameters, "uris": [move.uri]})
        upsert_rejections(connection, parameters, [(replace(rejection, uri=move.target), None)])
        begin_move(connection, drop.id, move)
        count_batch(connection, RunReport(rejected=[rejection]))


def _parameters(drop: DropFolder, move: FileMove) -> dict[str, object]:
    return {"definition": drop.id, "uris": [move.uri, move.target], "target": move.target}
