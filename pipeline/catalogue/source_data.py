"""What clients change in the data of a raster source, as statements: an upload received, a range of time removed."""

from datetime import datetime
from typing import Any

from sqlalchemy import Executable, Select, TextClause, bindparam, cast, func, insert, select, text
from sqlalchemy.types import BigInteger, DateTime

from pipeline.catalogue.tombstones import ADD_FILE_TOMBSTONES
from pipeline.catalogue.upload_files import reserved_bytes
from pipeline.database.tables import (
    organisations,
    raster_files,
    raster_sources,
    tasks,
    upload_files,
    uploads,
)

OPEN = ("requested", "received", "processing", "retry")
"""States of uploads that are not settled yet."""


def select_storage_use(organisation_id: int) -> Select[Any]:
    """`capacity` in bytes and `used`: all raster sources, and uploads on their way, those included that are being
    received. No row without a quota."""
    stored = select(func.coalesce(func.sum(raster_sources.c.size), 0)).where(
        raster_sources.c.organisation_id == organisation_id
    )
    waiting = (
        select(func.coalesce(func.sum(uploads.c.size), 0))
        .join(raster_sources, raster_sources.c.id == uploads.c.source_id)
        .where(raster_sources.c.organisation_id == organisation_id, uploads.c.state.in_(OPEN))
    )
    receiving = reserved_bytes(raster_sources.c.organisation_id == organisation_id)
    used = stored.scalar_subquery() + waiting.scalar_subquery() + receiving.scalar_subquery()
    return select(
        organisations.c.raster_storage_capacity.label("capacity"), used.label("used")
    ).where(
        organisations.c.id == organisation_id, organisations.c.raster_storage_capacity.is_not(None)
    )


def select_size(source_id: int) -> Select[Any]:
    """Bytes of a raster source, and of the uploads on their way to it."""
    waiting = select(func.coalesce(func.sum(uploads.c.size), 0)).where(
        uploads.c.source_id == source_id, uploads.c.state.in_(OPEN)
    )
    stored = func.coalesce(raster_sources.c.size, 0)
    receiving = reserved_bytes(upload_files.c.source_id == source_id)
    size = stored + waiting.scalar_subquery() + receiving.correlate(None).scalar_subquery()
    return select(size).where(raster_sources.c.id == source_id)


def lock_organisation(organisation_id: int) -> Select[Any]:
    """Makes whatever adds to an organisation with a quota wait for each other: together they must not exceed it."""
    return (
        select(organisations.c.id)
        .where(
            organisations.c.id == organisation_id,
            organisations.c.raster_storage_capacity.is_not(None),
        )
        .with_for_update(key_share=True)
    )


def insert_task() -> Executable:
    """A task that waits; its id and uuid."""
    return insert(tasks).returning(tasks.c.id, tasks.c.uuid)


def insert_upload(**values: Any) -> Executable:
    """An upload whose file is durable."""
    return insert(uploads).values(state="received", **values)


# Those that ingestion brought leave tombstones, so that its next run does not bring them back.
REMOVE_FILES = text(f"""
    WITH removed AS (
        DELETE FROM raster_files
        WHERE source_id = :source
          AND coalesce(times[1], timestamptz 'epoch') >= coalesce(:start, timestamptz '-infinity')
          AND coalesce(times[cardinality(times)], timestamptz 'epoch') <= coalesce(:stop, timestamptz 'infinity')
        RETURNING source_id, definition, uri, fingerprint
    ), buried AS ({ADD_FILE_TOMBSTONES})
    SELECT uri FROM removed
""")  # noqa: S608 - the part is a constant
COUNT_PARTLY = text("""
    SELECT count(*) FROM raster_files
    WHERE source_id = :source
      AND times[1] <= coalesce(:stop, timestamptz 'infinity')
      AND times[cardinality(times)] >= coalesce(:start, timestamptz '-infinity')
""")
REVOKE_UPLOADS = text("""
    WITH revoked AS (
        UPDATE uploads
        SET state = 'rejected', state_detail = 'The data was removed before it was processed.', updated_at = now()
        WHERE source_id = :source AND state IN ('requested', 'received', 'processing', 'retry')
          AND (num_nonnulls(:start, :stop) = 0 OR "timestamp" BETWEEN
               coalesce(:start, timestamptz '-infinity') AND coalesce(:stop, timestamptz 'infinity'))
        RETURNING uri, task_id
    ), ended AS (
        UPDATE tasks SET status = 'REVOKED', detail = 'The data was removed before it was processed.', updated = now()
        WHERE id IN (SELECT task_id FROM revoked)
    )
    SELECT uri FROM revoked
""")


def _of_period(
    statement: TextClause, source: int, start: datetime | None, stop: datetime | None
) -> TextClause:
    moment = DateTime(timezone=True)
    return statement.bindparams(
        bindparam("source", source, BigInteger),
        bindparam("start", start, moment),
        bindparam("stop", stop, moment),
    )


def remove_files(source: int, start: datetime | None, stop: datetime | None) -> TextClause:
    """Take the files out of a source whose steps all lie between two times, both included; their URIs.

    None is no limit. A file without a time counts as of 1970-01-01, as its source shows it.
    """
    return _of_period(REMOVE_FILES, source, start, stop)


def count_partly_inside(source: int, start: datetime | None, stop: datetime | None) -> TextClause:
    """How many files, those apart that were removed, have some of their steps between two times."""
    return _of_period(COUNT_PARTLY, source, start, stop)


def revoke_uploads(source: int, start: datetime | None, stop: datetime | None) -> TextClause:
    """End the uploads that are not processed yet: those given a time in the range, without limits all; their URIs."""
    return _of_period(REVOKE_UPLOADS, source, start, stop)


def select_uploaded_uris(source: int) -> Select[Any]:
    """The URIs of all that was uploaded to a source."""
    return select(uploads.c.uri).where(uploads.c.source_id == source, uploads.c.uri.is_not(None))


def select_file_counts(source: int) -> Select[Any]:
    """Of a raster source: how many `files` and `bytes` it has, how many of these were `uploaded`, and how many wait."""
    mine = raster_files.c.source_id == source
    sent = select(uploads.c.id).where(uploads.c.uri == raster_files.c.uri).exists()
    waiting = select(func.count()).select_from(uploads)
    waiting = waiting.where(uploads.c.source_id == source, uploads.c.state.in_(OPEN))
    return select(
        func.count().label("files"),
        cast(func.coalesce(func.sum(raster_files.c.size), 0), BigInteger).label("bytes"),
        func.count().filter(sent).label("uploaded"),
        waiting.scalar_subquery().label("waiting"),
    ).where(mine)
