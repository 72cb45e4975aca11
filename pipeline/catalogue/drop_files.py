"""Dropped files: which raster source each is meant for, and what became of it, recorded in one transaction each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Table

from pipeline.catalogue.drop_moves import FileMove, begin_move
from pipeline.catalogue.lookups import BadValue, parse_uuid
from pipeline.catalogue.owners import find_or_create
from pipeline.catalogue.register import upsert_rejections
from pipeline.catalogue.uploads import stored_facts, write_upload
from pipeline.catalogue.write_sources import lock_sources
from pipeline.database.engine import begin, is_storable
from pipeline.database.queries import queries
from pipeline.database.tables import organisations, users
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.file_names import Interpretation
from pipeline.errors import (
    CatalogueError,
    MissingTime,
    Rejection,
    Unmatched,
    WrongSupplier,
)
from pipeline.raster import RasterFile

QUERIES = queries("drop_files")


@dataclass(frozen=True)
class DropScope:
    """Whose raster sources files may be dropped for; None: everyone's."""

    organisation_ids: Sequence[int] | None = None
    supplier_id: int | None = None

    @property
    def owner(self) -> int | None:
        """The organisation of a refused file that no source is known for; None where that may be another one."""
        ids = self.organisation_ids
        return ids[0] if ids is not None and len(ids) == 1 else None


@dataclass(frozen=True)
class CandidateSource:
    """A raster source that a file may be meant for."""

    id: int
    temporal: bool
    """Whether it is a series in time."""
    organisation_id: int
    supplier_id: int | None
    named: bool
    """Whether it was found by its uuid."""


def find_scope(engine: Engine, drop: DropFolder) -> DropScope:
    """Whose sources a drop folder is for; raises CatalogueError where they are not there."""
    with begin(engine) as connection:

        def id_of(table: Table, column: str, name: str, what: str) -> int:
            number = find_or_create(connection, table, column, name, create=False)
            if number is None:
                raise CatalogueError(
                    f'there is no {what} "{name}", whom "{drop.id}" names; '
                    f'add it with: rastersources {what} add "{name}"'
                )
            return number

        ids = [
            id_of(organisations, "name", name, "organisation") for name in drop.organisation or ()
        ]
        supplier = drop.supplier and id_of(users, "username", drop.supplier, "user")
    return DropScope(ids or None, supplier or None)


def match(
    engine: Engine, scope: DropScope, keys: Iterable[str]
) -> dict[str, list[CandidateSource]]:
    """Uuid or code -> the raster sources that have it; codes in the organisations of the scope alone."""
    wanted = sorted({key for key in keys if is_storable(key)})
    parameters = {
        "keys": wanted,
        "uuids": [uuid_of(key) for key in wanted],
        "organisations": None if scope.organisation_ids is None else list(scope.organisation_ids),
    }
    found: dict[str, list[CandidateSource]] = {}
    with begin(engine) as connection:
        for key, *row in connection.execute(QUERIES["match"], parameters):
            found.setdefault(key, []).append(CandidateSource(*row))
    return found


def uuid_of(key: str) -> str | None:
    """The uuid that a text is, in its canonical form."""
    try:
        return str(parse_uuid(key))
    except BadValue:
        return None


def choose(
    meanings: Sequence[Interpretation],
    known: Mapping[str, Sequence[CandidateSource]],
    scope: DropScope,
) -> tuple[CandidateSource, datetime | None]:
    """Which source a file is meant for, and the time in its name; raises Unmatched, NotTheSupplier or MissingTime."""
    for meaning in meanings:
        found = known.get(meaning.key, ())
        found = [one for one in found if one.named] or found  # a uuid may be another one's code
        if not found:
            continue
        own = [one for one in found if scope.supplier_id in (None, one.supplier_id)]
        if not own:
            raise WrongSupplier(
                f'the raster source "{meaning.key}" has another supplier; ask them, or an administrator'
            )
        if len(own) > 1:
            raise Unmatched(
                f'{len(own)} raster sources have the code "{meaning.key}"; name the file by the uuid of one of them'
            )
        if meaning.fault:
            raise MissingTime(f"the time in its name is none: {meaning.fault}; rename it")
        return own[0], meaning.time
    if scope.organisation_ids is None:
        raise Unmatched(
            "no raster source has the uuid in its name; name it <uuid>[_<timestamp>].tif (a supplier_code counts only "
            "where the drop folder names its organisation)"
        )
    raise Unmatched(
        "no raster source has the uuid or supplier_code in its name; name it <uuid or supplier_code>[_<timestamp>].tif"
    )


def refused_before(engine: Engine, definition: str, uris: Sequence[str]) -> set[str]:
    """Those of the files that are on the list of rejected files."""
    with begin(engine) as connection:
        parameters = {"definition": definition, "uris": list(uris)}
        return set(connection.execute(QUERIES["find_rejected"], parameters).scalars())


def record(
    engine: Engine, drop: DropFolder, folder: str, move: FileMove, source: int, facts: RasterFile
) -> None:
    """Make a file part of its source, under its target; `folder` is what URIs of dropped files begin with.

    Raises RasterError when the file does not fit the source, or the source is gone.
    """
    parameters = {**parameters_of(drop, move), "source": source, "folder": folder}
    with stored_facts(), begin(engine) as connection:
        former = connection.execute(QUERIES["find_sources"], parameters).scalars()
        with lock_sources(connection, [source, *former]) as sources:
            if source not in sources:
                raise Unmatched("its raster source was deleted just now; drop it again")
            connection.execute(QUERIES["leave_sources"], parameters)
            moved = replace(facts, uri=move.target)
            temporal = sources[source].temporal
            write_upload(connection, source, temporal, moved, drop.id, drop.reading_hash())
            connection.execute(QUERIES["forget_rejections"], parameters)
            connection.execute(QUERIES["forget_tombstones"], parameters)
        begin_move(connection, drop.id, move)


def refuse(
    engine: Engine,
    drop: DropFolder,
    rejection: Rejection,
    move: FileMove,
    organisation_id: int | None,
) -> None:
    """Record a rejection under the target of the file; a file that was looked at leaves its source."""
    parameters = {
        **parameters_of(drop, move),
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
        moved = replace(rejection, uri=move.target)
        upsert_rejections(connection, parameters, [(moved, None)])
        begin_move(connection, drop.id, move)


def parameters_of(drop: DropFolder, move: FileMove) -> dict[str, Any]:
    """What the statements on one file share."""
    return {"definition": drop.id, "uris": [move.uri, move.target], "target": move.target}
