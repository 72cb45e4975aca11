"""Statements with which clients change the data of a raster source: send an upload, remove a range of time."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, TextClause, func, insert, select

from pipeline.catalogue.upload_files import reserved_bytes
from pipeline.catalogue.upload_states import OPEN_STATES, UploadState
from pipeline.database.queries import queries
from pipeline.database.tables import organisations, raster_sources, tasks, uploads

QUERIES = queries("source_data")


def select_storage_use(organisation_id: int) -> Select[Any]:
    """Select `capacity` and `used`, in bytes, of an organisation; no row if it has no quota.

    Its raster sources, its open uploads and the files that it is sending count.
    """
    owned = raster_sources.c.organisation_id == organisation_id
    stored = select(func.coalesce(func.sum(raster_sources.c.size), 0)).where(owned)
    used = stored.scalar_subquery() + _bytes_to_come(owned)
    capacity = organisations.c.raster_storage_capacity.label("capacity")
    return select(capacity, used.label("used")).where(*_with_quota(organisation_id))


def select_size(source_id: int) -> Select[Any]:
    """Select the bytes of a raster source, of its open uploads and of the files that are being sent to it."""
    this = raster_sources.c.id == source_id
    return select(func.coalesce(raster_sources.c.size, 0) + _bytes_to_come(this)).where(this)


def _bytes_to_come(sources: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return the bytes of the open uploads of some raster sources, and of the files that are being sent to them."""
    waiting = (
        select(func.coalesce(func.sum(uploads.c.size), 0))
        .join(raster_sources, raster_sources.c.id == uploads.c.source_id)
        .where(sources, uploads.c.state.in_(OPEN_STATES))
    )
    both = (waiting, reserved_bytes(sources))
    waiting_bytes, receiving_bytes = (part.correlate(None).scalar_subquery() for part in both)
    return waiting_bytes + receiving_bytes


def lock_organisation(organisation_id: int) -> Select[Any]:
    """Lock an organisation that has a quota, so that additions are checked one after the other."""
    organisation = select(organisations.c.id).where(*_with_quota(organisation_id))
    return organisation.with_for_update(key_share=True)


def _with_quota(organisation_id: int) -> tuple[ColumnElement[bool], ...]:
    has_quota = organisations.c.raster_storage_capacity.is_not(None)
    return organisations.c.id == organisation_id, has_quota


def insert_task() -> Executable:
    """Insert a pending task and return its id and uuid."""
    return insert(tasks).returning(tasks.c.id, tasks.c.uuid)


def insert_upload(**values: Any) -> Executable:
    """Insert an upload whose file is durable."""
    return insert(uploads).values(state=UploadState.RECEIVED, **values)


def remove_files(source_id: int, start: datetime | None, stop: datetime | None) -> TextClause:
    """Remove the files of a source whose steps all lie between two times, inclusive; return their URIs.

    None: there is no limit. A file without a time counts as of 1970-01-01, which its source shows.
    """
    return QUERIES["remove_files"].bindparams(source=source_id, start=start, stop=stop)


def count_partly_inside(
    source_id: int, start: datetime | None, stop: datetime | None
) -> TextClause:
    """Count the files with some steps between two times; to be run after `remove_files`."""
    return QUERIES["count_partly_inside"].bindparams(source=source_id, start=start, stop=stop)


def revoke_uploads(source_id: int, start: datetime | None, stop: datetime | None) -> TextClause:
    """End the open uploads with a given time in the range, or all of them without limits; return their URIs."""
    return QUERIES["revoke_uploads"].bindparams(
        source=source_id, start=start, stop=stop, open_states=OPEN_STATES
    )


def select_uploaded_uris(source_id: int) -> Select[Any]:
    """Select the URIs of all files that were uploaded to a source."""
    return select(uploads.c.uri).where(uploads.c.source_id == source_id, uploads.c.uri.is_not(None))


def select_file_counts(source_id: int) -> TextClause:
    """Select the `files` and `bytes` of a source, how many of its files were `uploaded`, and its `waiting` uploads."""
    return QUERIES["count_files"].bindparams(source=source_id, open_states=OPEN_STATES)
