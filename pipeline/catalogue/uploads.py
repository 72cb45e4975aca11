"""Uploads on their way into the catalogue: taken up by one worker at a time, registered or refused in one transaction.

Whoever works on an upload holds an advisory lock, which ends with its connection: what a dead worker left in the
state `processing` is taken up again. Only the transaction that finds the upload still in that state settles it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.catalogue.grid_consistency import check_upload
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.register import require_time
from pipeline.catalogue.staging import database_reason, stage, write_staged
from pipeline.catalogue.write_sources import LockedSource, lock_rows, lock_sources
from pipeline.database.connection_errors import READ_ONLY
from pipeline.database.engine import begin, translate_errors
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError, NotFound, RasterError, Rejection, Unreadable
from pipeline.raster import RasterFile

LOCK_KIND = 0x55504C44
"""First number of our advisory locks ("UPLD"); the second is the upload's."""
SECONDS_TO_RETRY = 2
"""Before the first repetition; twice as long before each further one."""

QUERIES = queries("uploads")


@dataclass(frozen=True)
class ClaimedUpload:
    """An upload that this worker has taken up."""

    id: int
    source_id: int
    uri: str
    time: datetime | None
    """What the client said; None where the file itself must say it."""
    attempts: int
    """This one included."""
    temporal: bool
    """Whether its source is a series in time."""
    crs: str | None = None
    """What the client said for a file without a CRS."""
    nodata: str | None = None
    """The same for one without nodata."""


@dataclass(frozen=True)
class UploadOutcome:
    """What became of an upload."""

    state: str
    """committed, rejected, retry; or gone, where somebody else ended it meanwhile."""
    rejection: Rejection | None = None
    unused: Sequence[str] = ()
    """URIs of files that may not be needed any more."""


def waiting(engine: Engine, most: int) -> dict[int, list[int]]:
    """The ids of uploads that may be taken up, by organisation: of each the oldest, `most` at most.

    Raises CatalogueError on a read-only standby, which also lags behind what it would have to delete by.
    """
    with begin(engine) as connection:
        if connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on":
            raise CatalogueError(READ_ONLY)
        parameters = {"delay": SECONDS_TO_RETRY, "most": most}
        rows = connection.execute(QUERIES["find_waiting"], parameters)
        return {row.organisation_id: row.ids for row in rows}


@contextmanager
def held(engine: Engine, number: int) -> Iterator[bool]:
    """Whether an upload is this worker's alone until the end of the block: another one may have taken it."""
    with begin(engine) as connection:
        parameters = {"kind": LOCK_KIND, "id": number}
        yield bool(connection.execute(QUERIES["hold"], parameters).scalar_one())


def claim(engine: Engine, number: int) -> ClaimedUpload | None:
    """Take up an upload that is held, if it still waits."""
    with begin(engine) as connection:
        row = connection.execute(QUERIES["claim"], {"id": number}).first()
        return ClaimedUpload(*row) if row else None


def register_upload(engine: Engine, upload: ClaimedUpload, facts: RasterFile) -> UploadOutcome:
    """Write what was read into the source; refuse it where it does not fit."""
    try:
        with (
            stored_facts(),
            begin(engine) as connection,
            lock_sources(connection, [upload.source_id]) as sources,
        ):
            if not is_pending(connection, upload, sources):
                return UploadOutcome("gone", unused=[upload.uri])
            source = sources[upload.source_id]
            replaced = write_upload(connection, upload.source_id, source.temporal, facts)
            settle(connection, upload, source.uuid, replaced)
    except RasterError as error:
        return reject_upload(engine, upload, Rejection(upload.uri, error.code, error.message))
    return UploadOutcome("committed", unused=replaced)


def try_upload(engine: Engine, upload: ClaimedUpload, facts: RasterFile) -> int:
    """How many files `register_upload` would replace; nothing is stored. Raises RasterError where it would refuse."""
    with (
        stored_facts(),
        translate_errors(),
        engine.connect() as connection,  # without a commit
        lock_sources(connection, [upload.source_id]) as sources,
    ):
        if not sources:
            raise NotFound("the raster source is not there any more; send it to another one")
        temporal = sources[upload.source_id].temporal
        return len(write_upload(connection, upload.source_id, temporal, facts))


@contextmanager
def stored_facts() -> Iterator[None]:
    """Raises Unreadable for facts that the database cannot hold; that it is away is a TransientError by now."""
    try:
        yield
    except (psycopg.DatabaseError, DBAPIError) as error:
        reason = database_reason(error)
        raise Unreadable(
            f"the catalogue cannot hold what it says ({reason}); write it again"
        ) from error


def reject_upload(
    engine: Engine, upload: ClaimedUpload, rejection: Rejection, *, again: bool = False
) -> UploadOutcome:
    """Say why it is not registered, not where our storage lies; `again` says that it will be tried again."""
    state = "retry" if again else "rejected"
    message = hide_folders(rejection.message, upload.uri)
    settled = {
        "id": upload.id,
        "state": state,
        "status": "RETRY" if again else "FAILURE",
        "detail": f"{rejection.code}: {message}",
        "result": None,
        "task_detail": f"{rejection.code}: {message}",
    }
    with begin(engine) as connection:
        # the source first: a client that deletes it, or its data, locks in the same order
        if not is_pending(connection, upload, lock_rows(connection, [upload.source_id])):
            return UploadOutcome("gone", unused=[upload.uri])
        connection.execute(QUERIES["settle"], settled)
    return UploadOutcome(state, rejection, [] if again else [upload.uri])


def is_pending(
    connection: Connection, upload: ClaimedUpload, sources: Mapping[int, LockedSource]
) -> bool:
    """Lock the upload; return whether its source exists and the upload still waits for this worker."""
    if upload.source_id not in sources:
        return False
    return connection.execute(QUERIES["lock_upload"], {"id": upload.id}).first() is not None


def write_upload(
    connection: Connection,
    source: int,
    temporal: bool,
    facts: RasterFile,
    definition: str | None = None,
    reading_hash: str | None = None,
) -> list[str]:
    """Write a file into its locked source, in the place of others; return the URIs of these.

    `definition` is the id of the drop folder that brought it, None for a client's file. Raises RasterError.
    """
    require_time(temporal, facts, "give it a timestamp")
    stage(connection, [(None, facts)], definition, reading_hash)
    connection.execute(QUERIES["assign_source"], {"source": source})
    check_upload(connection)
    replaced = connection.execute(QUERIES["replace_files"], {"temporal": temporal}).scalars().all()
    write_staged(connection)
    return list(replaced)


def settle(
    connection: Connection, upload: ClaimedUpload, source: UUID, replaced: Sequence[str]
) -> None:
    """Say that it is part of its source now."""
    connection.execute(
        QUERIES["settle"],
        {
            "id": upload.id,
            "state": "committed",
            "status": "SUCCESS",
            "detail": None,
            "result": f"rastersources/{source}",
            "task_detail": f"Files replaced: {len(replaced)}.",
        },
    )
