"""Uploads on their way into the catalogue: taken up by one worker at a time, registered or refused in one transaction.

Whoever works on an upload holds an advisory lock, which ends with its connection: what a dead worker left in the
state `processing` is taken up again. Only the transaction that finds the upload still in that state settles it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Engine

from pipeline.catalogue.grid_consistency import REJECT_MISFITS
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.register import UPSERT_FILES, UPSERT_SYSTEMS, require_time
from pipeline.catalogue.staging import Connection, stage
from pipeline.catalogue.tombstones import ADD_FILE_TOMBSTONES
from pipeline.database.connection_errors import READ_ONLY
from pipeline.database.engine import transaction
from pipeline.errors import CatalogueError, NotFound, RasterError, Rejection, Unreadable
from pipeline.raster import RasterFile

LOCK_KIND = 0x55504C44
"""First number of our advisory locks ("UPLD"); the second is the upload's."""
SECONDS_TO_RETRY = 2
"""Before the first repetition; twice as long before each further one."""

# The oldest uploads of each organisation that wait, or whose worker died.
WAITING = """
    SELECT organisation_id, array_agg(id ORDER BY id) FROM (
        SELECT upload.id, source.organisation_id,
               row_number() OVER (PARTITION BY source.organisation_id ORDER BY upload.id) AS place
        FROM uploads AS upload JOIN raster_sources AS source ON source.id = upload.source_id
        WHERE upload.state IN ('received', 'processing', 'retry')
          AND (upload.state <> 'retry'
               OR upload.updated_at < now() - %(delay)s * interval '1 second' * 2 ^ (upload.attempts - 1))
    ) AS waiting WHERE place <= %(most)s GROUP BY organisation_id
"""

HOLD = "SELECT pg_try_advisory_xact_lock(%(kind)s, (%(id)s %% 2147483648)::integer)"

CLAIM = """
    WITH claimed AS (
        UPDATE uploads SET state = 'processing', state_detail = NULL, attempts = attempts + 1, updated_at = now()
        WHERE id IN (
            SELECT id FROM uploads WHERE id = %(id)s AND state IN ('received', 'processing', 'retry')
            FOR UPDATE SKIP LOCKED
        ) RETURNING id, source_id, task_id, uri, "timestamp", attempts, crs, nodata
    ), started AS (
        UPDATE tasks SET status = 'STARTED', updated = now() WHERE id IN (SELECT task_id FROM claimed)
    )
    SELECT claimed.id, claimed.source_id, claimed.uri, claimed."timestamp", claimed.attempts, source.temporal,
           claimed.crs, claimed.nodata
    FROM claimed JOIN raster_sources AS source ON source.id = claimed.source_id
"""

# The source first: a client that deletes it, or its data, locks in the same order.
LOCK_SOURCE = "SELECT uuid, temporal FROM raster_sources WHERE id = %(source)s FOR UPDATE"
LOCK_UPLOAD = "SELECT FROM uploads WHERE id = %(id)s AND state = 'processing' FOR UPDATE"

# What an upload takes the place of: files of no other time that lie within it, to half a pixel.
# Files that ingestion brought leave tombstones, so that its next run does not put them beside what replaced them.
REPLACE_FILES = f"""
    WITH removed AS (
        DELETE FROM raster_files AS file USING staged
        WHERE file.source_id = staged.source_id AND file.uri <> staged.uri
          AND (NOT %(temporal)s OR (file.times <@ staged.times AND cardinality(file.times) > 0))
          AND file.origin_x >= staged.origin_x - abs(staged.pixelsize_x) / 2
          AND file.origin_y >= staged.origin_y - abs(staged.pixelsize_y) / 2
          AND file.upper_bound_x <= staged.upper_bound_x + abs(staged.pixelsize_x) / 2
          AND file.upper_bound_y <= staged.upper_bound_y + abs(staged.pixelsize_y) / 2
        RETURNING file.source_id, file.definition, file.uri, file.fingerprint
    ), buried AS ({ADD_FILE_TOMBSTONES})
    SELECT uri FROM removed
"""  # noqa: S608 - the part is a constant

SETTLE = """
    WITH settled AS (
        UPDATE uploads SET state = %(state)s, state_detail = %(detail)s, updated_at = now()
        WHERE id = %(id)s RETURNING task_id
    )
    UPDATE tasks SET status = %(status)s, result = %(result)s, detail = %(task_detail)s, updated = now()
    WHERE id IN (SELECT task_id FROM settled)
"""


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
    with transaction(engine) as connection:
        if connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
            raise CatalogueError(READ_ONLY)
        return dict(
            connection.execute(WAITING, {"delay": SECONDS_TO_RETRY, "most": most}).fetchall()
        )


@contextmanager
def held(engine: Engine, number: int) -> Iterator[bool]:
    """Whether an upload is this worker's alone until the end of the block: another one may have taken it."""
    with transaction(engine) as connection:
        row = connection.execute(HOLD, {"kind": LOCK_KIND, "id": number}).fetchone()
        yield row is not None and row[0]


def claim(engine: Engine, number: int) -> ClaimedUpload | None:
    """Take up an upload that is held, if it still waits."""
    with transaction(engine) as connection:
        row = connection.execute(CLAIM, {"id": number}).fetchone()
        return ClaimedUpload(*row) if row else None


def register_upload(engine: Engine, upload: ClaimedUpload, facts: RasterFile) -> UploadOutcome:
    """Write what was read into the source; refuse it where it does not fit."""
    try:
        with stored_facts(), transaction(engine) as connection:
            found = lock(connection, upload)
            if found is None:
                return UploadOutcome("gone", unused=[upload.uri])
            replaced = write(connection, upload.source_id, found[1], facts)
            settle(connection, upload, found[0], replaced)
    except RasterError as error:
        return reject_upload(engine, upload, Rejection(upload.uri, error.code, error.message))
    return UploadOutcome("committed", unused=replaced)


def try_upload(engine: Engine, upload: ClaimedUpload, facts: RasterFile) -> int:
    """How many files `register_upload` would replace; nothing is stored. Raises RasterError where it would refuse."""
    replaced: Sequence[str] = ()
    with stored_facts(), transaction(engine) as connection:
        source = connection.execute(LOCK_SOURCE, {"source": upload.source_id}).fetchone()
        if source is None:
            raise NotFound("the raster source is not there any more; send it to another one")
        replaced = write(connection, upload.source_id, source[1], facts)
        raise psycopg.Rollback
    return len(replaced)


@contextmanager
def stored_facts() -> Iterator[None]:
    """Raises Unreadable for facts that the database cannot hold; that it is away is a TransientError by now."""
    try:
        yield
    except psycopg.DatabaseError as error:
        reason = str(error).partition("\n")[0]
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
    with transaction(engine) as connection:
        if lock(connection, upload) is None:
            return UploadOutcome("gone", unused=[upload.uri])
        connection.execute(SETTLE, settled)
    return UploadOutcome(state, rejection, [] if again else [upload.uri])


def lock(connection: Connection, upload: ClaimedUpload) -> tuple[UUID, bool] | None:
    """Uuid of the source and whether it is temporal, both rows locked; None where the upload has been ended."""
    numbers = {"id": upload.id, "source": upload.source_id}
    source = connection.execute(LOCK_SOURCE, numbers).fetchone()
    if source is None or connection.execute(LOCK_UPLOAD, numbers).fetchone() is None:
        return None
    return source[0], source[1]


def write(
    connection: Connection,
    source: int,
    temporal: bool,
    facts: RasterFile,
    definition: str | None = None,
    reading_hash: str | None = None,
) -> list[str]:
    """The file as part of its source, which is locked, in the place of others, whose URIs are returned.

    `definition` is the id of the drop folder that brought it, None for what clients sent. Raises RasterError.
    """
    require_time(temporal, facts, "give it a timestamp")
    parameters: dict[str, Any] = {
        "source": source,
        "uris": [facts.uri],
        "temporal": temporal,
        "missing_count": True,  # what a client sends has to fit what the source says of itself
    }
    stage(connection, [(None, facts)], definition, reading_hash)
    connection.execute("UPDATE staged SET source_id = %(source)s", parameters)
    for _, code, message, *_ in connection.execute(REJECT_MISFITS, parameters):
        raise RasterError(message, code)
    connection.execute(UPSERT_SYSTEMS)
    replaced = [uri for (uri,) in connection.execute(REPLACE_FILES, parameters)]
    connection.execute(UPSERT_FILES)
    connection.execute("SELECT derive_sources(%s)", [[source]])
    return replaced


def settle(
    connection: Connection, upload: ClaimedUpload, source: UUID, replaced: Sequence[str]
) -> None:
    """Say that it is part of its source now."""
    connection.execute(
        SETTLE,
        {
            "id": upload.id,
            "state": "committed",
            "status": "SUCCESS",
            "detail": None,
            "result": f"rastersources/{source}",
            "task_detail": f"Files replaced: {len(replaced)}.",
        },
    )
