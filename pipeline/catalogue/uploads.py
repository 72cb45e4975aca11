"""Registers or rejects uploads; a worker claims an upload first, so that one worker at a time works on it.

A worker holds an advisory lock that is released when its connection ends. So an upload that a dead worker left in the
state `processing` can be claimed again. A transaction finishes an upload only if it is still in that state.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.grid_consistency import check_upload
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.register import require_time
from pipeline.catalogue.staging import stage, write_staged
from pipeline.catalogue.upload_states import WAITING_STATES, UploadState
from pipeline.catalogue.write_sources import LockedSource, lock_rows, lock_sources
from pipeline.database.connection_errors import READ_ONLY, database_reason
from pipeline.database.engine import begin, execute, translate_errors
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError, NotFound, RasterError, Rejection, Unreadable

QUERIES = queries("uploads")
LOCK_KIND = 0x55504C44
"""First key of the advisory locks of uploads ("UPLD"); the second key is the id of the upload."""
SECONDS_TO_RETRY = 2
"""Pause before the first retry; it doubles with each further retry."""


@dataclass(frozen=True)
class ClaimedUpload:
    """An upload that this worker has claimed."""

    id: int
    source_id: int
    uri: str
    timestamp: datetime | None
    """The time that the client sent; None if the file must contain it."""
    attempts: int
    """Number of readings, including the present one."""
    temporal: bool
    """Whether its source is a time series."""
    crs: str | None
    """The CRS that the client sent for a file without a CRS."""
    nodata: str | None
    """The nodata value that the client sent for a file without a nodata value."""


@dataclass(frozen=True)
class UploadOutcome:
    """The outcome of an upload."""

    state: UploadState | None
    """None if it was finished elsewhere in the meantime."""
    rejection: Rejection | None = None
    unused: Sequence[str] = ()
    """URIs of files that may not be needed any more."""


def list_waiting(engine: Engine, most: int) -> dict[int, list[int]]:
    """Return organisation id -> ids of its oldest uploads that may be claimed, at most `most`.

    Raises CatalogueError on a read-only standby, because its data may be outdated and files are deleted by them.
    """
    with begin(engine) as connection:
        if connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on":
            raise CatalogueError(READ_ONLY)
        parameters = {"delay": SECONDS_TO_RETRY, "most": most, "waiting_states": WAITING_STATES}
        rows = connection.execute(QUERIES["list_waiting"], parameters)
        return {row.organisation_id: row.ids for row in rows}


@contextmanager
def hold_upload(engine: Engine, upload_id: int) -> Iterator[bool]:
    """Hold the lock of an upload during the block; yield False if another worker holds it."""
    with begin(engine) as connection:
        parameters = {"kind": LOCK_KIND, "id": upload_id}
        yield bool(connection.execute(QUERIES["hold"], parameters).scalar_one())


def claim_upload(engine: Engine, upload_id: int) -> ClaimedUpload | None:
    """Claim an upload whose lock is held; return None if it is not waiting any more."""
    rows = execute(engine, QUERIES["claim"], id=upload_id, waiting_states=WAITING_STATES)
    return ClaimedUpload(*rows[0]) if rows else None


def register_upload(engine: Engine, upload: ClaimedUpload, file: FileRow) -> UploadOutcome:
    """Write the file of an upload into its source; reject it if it does not fit."""
    try:
        with (
            stored_facts(),
            begin(engine) as connection,
            lock_sources(connection, [upload.source_id]) as sources,
        ):
            if not _is_pending(connection, upload, sources):
                return UploadOutcome(None, unused=[upload.uri])
            source = sources[upload.source_id]
            replaced = write_upload(connection, upload.source_id, source.temporal, file)
            detail, outcome = f"Files replaced: {len(replaced)}.", f"rastersources/{source.uuid}"
            finished = {"id": upload.id, "state": UploadState.COMMITTED}
            connection.execute(QUERIES["finish"], {**finished, "detail": detail, "result": outcome})
    except RasterError as error:
        return reject_upload(engine, upload, Rejection(upload.uri, error.code, error.message))
    return UploadOutcome(UploadState.COMMITTED, unused=replaced)


def count_replaced_files(engine: Engine, source_id: int, file: FileRow) -> int:
    """Return how many files an upload would replace, and roll back. Raises RasterError if it would be rejected."""
    with (
        stored_facts(),
        translate_errors(),
        engine.connect() as connection,  # is never committed
        lock_sources(connection, [source_id]) as sources,
    ):
        if not sources:
            raise NotFound("the raster source was deleted; send the file to another one")
        return len(write_upload(connection, source_id, sources[source_id].temporal, file))


@contextmanager
def stored_facts() -> Iterator[None]:
    """Turn errors about values that the database cannot store into Unreadable."""
    try:
        yield
    except (psycopg.DatabaseError, DBAPIError) as error:  # COPY raises the driver's own errors
        raise Unreadable(
            f"the catalogue cannot store the metadata of the file ({database_reason(error)}); write the file again"
        ) from error


def reject_upload(
    engine: Engine, upload: ClaimedUpload, rejection: Rejection, *, again: bool = False
) -> UploadOutcome:
    """Record why an upload is not registered, without paths of folders; with `again` a worker will retry it."""
    state = UploadState.RETRY if again else UploadState.REJECTED
    detail = f"{rejection.code}: {hide_folders(rejection.message, upload.uri)}"
    with begin(engine) as connection:
        # A client that deletes the source or its data also locks the source first.
        if not _is_pending(connection, upload, lock_rows(connection, [upload.source_id])):
            return UploadOutcome(None, unused=[upload.uri])
        finished = {"id": upload.id, "state": state, "detail": detail, "result": None}
        connection.execute(QUERIES["finish"], finished)
    return UploadOutcome(state, rejection, [] if again else [upload.uri])


def _is_pending(
    connection: Connection, upload: ClaimedUpload, sources: Mapping[int, LockedSource]
) -> bool:
    """Lock the upload; return whether its source exists and this worker must still finish the upload."""
    if upload.source_id not in sources:
        return False
    return connection.execute(QUERIES["lock_upload"], {"id": upload.id}).first() is not None


def write_upload(
    connection: Connection,
    source_id: int,
    temporal: bool,
    file: FileRow,
    definition: str | None = None,
    reading_hash: str | None = None,
) -> list[str]:
    """Write a file into its locked source; return the URIs of the files that it replaces.

    `definition` is the id of the drop folder of the file; None for an upload. Raises RasterError.
    """
    require_time(temporal, file, "give it a timestamp")
    stage(connection, [(None, file)], definition, reading_hash)
    connection.execute(QUERIES["assign_source"], {"source": source_id})
    check_upload(connection)
    replaced = connection.execute(QUERIES["replace_files"], {"temporal": temporal}).scalars().all()
    write_staged(connection)
    return list(replaced)
