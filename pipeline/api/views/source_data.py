"""The view with which clients send files to a raster source and remove them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import ClientDisconnect, Request

from pipeline.api.body import (
    CSRF_FIELD,
    FORM,
    JSON,
    MULTIPART,
    declared_bytes,
    media_type,
    read_object,
)
from pipeline.api.endpoint import Call, Endpoint, read_row
from pipeline.api.links import API
from pipeline.api.media_types import body_content
from pipeline.api.multipart import FILE, UploadForm
from pipeline.api.problems import Problem, invalid, unavailable
from pipeline.api.quota import check_quota, lock_bytes_left
from pipeline.api.receive_upload import (
    DryRunReservation,
    Reservation,
    file_was_deleted,
    storage_problem,
)
from pipeline.api.resources.field import INTEGER, LINK, STRING, Field, Json, nullable, object_schema
from pipeline.api.resources.field import UUID as UUID_SCHEMA
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.responses import Answer, Question
from pipeline.api.upload_store import discard_unless_dry_run
from pipeline.api.views.confirm_delete import ask_about_data
from pipeline.api.views.write import lock_row
from pipeline.catalogue import upload_files
from pipeline.catalogue.lookups import BLANK, TIMESTAMP_PATTERN, BadValue, parse_timestamp
from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.catalogue.write_sources import derive_sources
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError, RasterError, TransientError
from pipeline.raster.stated_values import (
    CRS_PATTERN,
    NODATA_PATTERN,
    normalize_crs,
    normalize_nodata,
)
from pipeline.storage.uploads import DryRunUpload, FolderUploadStore, OpenUpload, UnnamedUpload

QUERIES = queries("source_data")
CHUNK_BYTES = 2**20
"""Bytes that are collected before a thread parses and writes them."""
MIN_BYTES = 64 * 2**10
"""Bytes that must arrive within the time limit of a body."""
FORM_BYTES = 128 * 2**10
"""Maximum number of bytes of a form, not counting its file."""

WRITTEN_TIMESTAMP = {"type": "string", "pattern": f"^({BLANK}*{TIMESTAMP_PATTERN}{BLANK}*)?$"}
CRS = {"type": "string", "pattern": f"^({BLANK}*{CRS_PATTERN}{BLANK}*)?$"}
NODATA = {"type": "string", "pattern": f"^({BLANK}*({NODATA_PATTERN}){BLANK}*)?$"}
BINARY = {"type": "string", "format": "binary"}
FORM_SCHEMA = {
    "type": "object",
    "properties": {"file": BINARY, "timestamp": WRITTEN_TIMESTAMP, "crs": CRS, "nodata": NODATA},
    "required": ["file"],
}
PERIOD_SCHEMA = {
    "type": "object",
    "properties": {"start": nullable(WRITTEN_TIMESTAMP), "stop": nullable(WRITTEN_TIMESTAMP)},
    "anyOf": [{"maxProperties": 0}, {"required": ["start"]}, {"required": ["stop"]}],
}
RECEIVED_SCHEMA = object_schema(task_id=UUID_SCHEMA, url=LINK)
DRY_RUN_SCHEMA = object_schema(status={"enum": ["SUCCESS"]}, result=LINK, detail=STRING)
REMOVED_SCHEMA = object_schema(detail=STRING, removed=INTEGER, revoked=INTEGER, partly=INTEGER)


def form_field(name: str, kind: str, schema: Mapping[str, Any], help: str, **options: Any) -> Field:
    """Return a field of the upload form; it is write-only."""
    return Field(name, kind, schema, help, lambda *_: None, read=lambda value: value, **options)


class SourceData(Endpoint):
    """POST adds a file; DELETE removes data."""

    row_of = RASTER_SOURCES
    title = "Raster Source Data"
    description = (
        'Send a GeoTIFF as multipart/form-data: "file", and "timestamp" if the file does not contain its time, '
        '"crs" (EPSG:CODE) if it has no CRS, and "nodata" if it has no nodata value. '
        "The answer has the URL of a task, which shows the state of the file.\n\n"
        'DELETE removes all data. With {"start": ..., "stop": ...} it removes the files whose steps all lie between '
        "these times, or on them."
    )
    fields = (
        form_field("file", "file upload", BINARY, "A GeoTIFF.", required=True),
        form_field("timestamp", "datetime", WRITTEN_TIMESTAMP, "The time of its data, ISO 8601."),
        form_field("crs", "string", CRS, "EPSG:CODE, for a file without a CRS.", label="CRS"),
        form_field("nodata", "string", NODATA, "For a file without a nodata value."),
    )
    parses = (MULTIPART, JSON, FORM)
    bodies = {  # noqa: RUF012
        "POST": {"required": True, "content": {MULTIPART: {"schema": FORM_SCHEMA}}},
        "DELETE": {"content": body_content(PERIOD_SCHEMA)},
    }
    answers = {"POST": {"anyOf": [RECEIVED_SCHEMA, DRY_RUN_SCHEMA]}, "DELETE": REMOVED_SCHEMA}  # noqa: RUF012
    problems = {"POST": (507,)}  # noqa: RUF012

    def reads_token(self, call: Call) -> bool:
        """Return whether the request is a form with a file; its token is a field before the file."""
        return call.request.method == "POST" and media_type(call.request) == MULTIPART

    async def may_write(self, call: Call) -> bool:
        """Return whether the caller may write the source."""
        return bool((await read_row(call, RASTER_SOURCES)).writable)

    async def question(self, call: Call, answer: Answer) -> Question:
        """Return the question with the number of files."""
        return await ask_about_data(call, answer.data)

    async def post(self, call: Call) -> Answer:
        """Receive a file; return after it is stored and recorded."""
        source = await read_row(call, RASTER_SOURCES)
        declared = declared_bytes(call.request) - FORM_BYTES
        _check_length(declared, call.api.config.upload_bytes)
        expected = max(0, declared)
        try:
            if call.dry_run:
                with call.api.dry_runs.slot(source.organisation_id):
                    return await dry_run(call, source, expected)
            async with call.api.receiver.reservation(source, expected) as reservation:
                task = await receive(call, reservation)
        except TransientError as error:
            raise storage_problem(error) from error
        return Answer({"task_id": task, "url": call.links.at(f"{API}/tasks/{task}")})

    async def delete(self, call: Call) -> Answer:
        """Remove all data or that of a period."""
        body = await read_object(call.body)
        if body and not {"start", "stop"} & body.keys():
            sentence = "Send start, stop or both; an empty body removes all data."
            raise invalid({"non_field_errors": [sentence]})
        start, stop = (read_timestamp(body.get(name), name) for name in ("start", "stop"))
        if start and stop and start > stop:
            raise invalid({"stop": ["Must not be before start."]})
        write = partial(remove, call, start, stop)
        removed, revoked, partly = await call.api.database.transaction(write)
        await discard_unless_dry_run(call.api.config, call.api.database, [*removed, *revoked])
        counts = {"removed": len(removed), "revoked": len(revoked), "partly": partly}
        return Answer({"detail": f"Files removed: {len(removed)}.", **counts})


def _check_length(size: int, limit: int) -> None:
    """Raise Problem 413 if a file is longer than the limit."""
    if size > limit:
        raise Problem(413, f"A file may be at most {limit} bytes long.")


async def dry_run(call: Call, source: Any, expected: int) -> Answer:
    """Read the file like an upload and return the answer of its task, but store nothing.

    Raises Problem or TransientError.
    """
    dry_run, store = call.api.config.dry_run_upload, await call.api.receiver.open()
    if dry_run is None:
        raise unavailable("This server cannot read files, so it has no dry runs of uploads.")
    folder = store.folder if isinstance(store, FolderUploadStore) else None
    shared = (call.api.receiver, call.api.database, call.api.config, store, source)
    upload = await asyncio.to_thread(UnnamedUpload, folder)
    reservation = DryRunReservation(*shared, upload=upload, slots=call.api.dry_runs)
    try:
        await reservation.begin(expected)
        sent = read_fields(await receive_form(call, upload, reservation))
        await asyncio.to_thread(upload.commit)
        judged = DryRunUpload(upload.stored(), source.id, source.temporal, **sent)
        async with call.api.dry_runs.reader(source.organisation_id, call.request):
            replaced = await asyncio.to_thread(dry_run, judged)
    except RasterError as error:
        raise invalid({FILE: [f"{error.code}: {error.message}"]}) from error
    finally:
        call.api.dry_runs.forget(upload)
        await asyncio.to_thread(upload.close)
    result = call.links.to("rastersources", source.uuid)
    return Answer({"status": "SUCCESS", "result": result, "detail": f"Files replaced: {replaced}."})


def read_fields(form: UploadForm) -> dict[str, Any]:
    """Return `timestamp`, `crs` and `nodata` of the form; raise Problem 400 for an invalid one."""
    return {
        "timestamp": read_timestamp(form.fields.get("timestamp"), "timestamp"),
        "crs": read_assigned(form.fields.get("crs"), "crs"),
        "nodata": read_assigned(form.fields.get("nodata"), "nodata"),
    }


async def receive(call: Call, reservation: Reservation) -> UUID:
    """Receive the form, and return the uuid of its task after all is durable. Raises Problem or TransientError."""
    upload = await asyncio.to_thread(reservation.store.open_upload, reservation.uri)
    try:
        form = await receive_form(call, upload, reservation)
        values = {"filename": form.filename, **read_fields(form)}
        await asyncio.to_thread(upload.commit)
    finally:
        await asyncio.to_thread(upload.close)
    write = partial(record, call, {**values, "size": upload.size, "uri": upload.uri})
    return await call.api.receiver.transaction(call.api.database, write)


async def receive_form(call: Call, upload: OpenUpload, reservation: Reservation) -> UploadForm:
    """Write the file of a form while it arrives, after reserving room for it. Raises Problem or TransientError."""
    config, arrived, total = call.api.config, bytearray(), 0

    def begin(fields: Mapping[str, str]) -> None:
        call.check_token(fields.get(CSRF_FIELD))

    form = UploadForm(call.request.headers.get("content-type", ""), begin, arrived.extend)
    call.request.state.fields = form.fields  # the page of a rejected form shows them again
    async for chunk in read_chunks(call.request, config.body_seconds):
        total += len(chunk)
        _check_length(total - FORM_BYTES, config.upload_bytes)
        await asyncio.to_thread(form.write, chunk)
        if arrived:
            _check_length(upload.size + len(arrived), config.upload_bytes)
            await reservation.extend(upload.size + len(arrived))
            await asyncio.to_thread(upload.write, bytes(arrived))
            arrived.clear()
    form.finish()
    return form


async def read_chunks(request: Request, seconds: float) -> AsyncIterator[bytes]:
    """Yield the body in chunks; raise Problem 400 if the connection breaks, 408 if the body arrives too slowly."""
    chunk, stream, clock = bytearray(), request.stream(), asyncio.get_running_loop().time
    deadline, missing = clock() + seconds, MIN_BYTES
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                arrived = await anext(stream, None)
        except TimeoutError as error:
            raise Problem(408, "The body did not arrive in time.") from error
        except ClientDisconnect as error:
            raise Problem(400, "The body ended too early.") from error
        chunk += arrived or b""
        missing -= len(arrived or b"")
        is_full = len(chunk) >= CHUNK_BYTES or (chunk and arrived is None)
        if is_full:
            yield bytes(chunk)
            chunk.clear()
        if arrived is None:
            return
        if is_full or missing <= 0:  # the time limit excludes our own writing
            deadline, missing = clock() + seconds, MIN_BYTES


async def record(call: Call, values: dict[str, Any], connection: AsyncConnection) -> UUID:
    """Record an upload that waits for processing and return the uuid of its task; raise Problem."""
    source = await lock_row(call, RASTER_SOURCES, call.uuid(RASTER_SOURCES.model), connection)
    received = {"uri": values["uri"], "receiver": call.api.receiver.number}
    ended = await connection.execute(upload_files.QUERIES["end_receiving"], received)
    if ended.one_or_none() is None:
        raise file_was_deleted()
    check_quota(values["size"], await lock_bytes_left(source.organisation_id, connection))
    task = (await connection.execute(QUERIES["insert_task"])).one()
    owner = {"source_id": source.id, "task_id": task.id, "user_id": call.caller.user_id}
    await connection.execute(QUERIES["insert_upload"], {**values, **owner})
    uuid: UUID = task.uuid
    return uuid


async def remove(
    call: Call, start: datetime | None, stop: datetime | None, connection: AsyncConnection
) -> tuple[list[str], list[str], int]:
    """Remove data; return the URIs of removed files and of cancelled uploads, and the number of files partly inside."""
    source = await lock_row(call, RASTER_SOURCES, call.uuid(RASTER_SOURCES.model), connection)
    period = {"source": source.id, "start": start, "stop": stop, "open_states": OPEN_STATES}
    removed = (await connection.execute(QUERIES["remove_files"], period)).scalars().all()
    revoked = (await connection.execute(QUERIES["revoke_uploads"], period)).scalars().all()
    partly = (await connection.execute(QUERIES["count_partly_inside"], period)).scalar_one()
    await connection.execute(derive_sources([source.id]))
    return list(removed), list(revoked), partly


def read_timestamp(value: Json, name: str) -> datetime | None:
    """Return a time of a body or form; raise Problem 400 that names the field."""
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str):
            raise BadValue("Must be a text, such as 2016-06-21T06:05:00Z.")
        return parse_timestamp(value)
    except BadValue as error:
        raise invalid({name: [str(error)]}) from error


def read_assigned(value: str | None, name: str) -> str | None:
    """Return the CRS or nodata value of a form; raise Problem 400 that names the field.

    Call it only in the thread of the event loop, because PROJ is not thread-safe.
    """
    if not value or not value.strip():
        return None
    try:
        return normalize_crs(value) if name == "crs" else normalize_nodata(value)
    except CatalogueError as error:
        sentence = str(error)
        raise invalid({name: [f"{sentence[0].upper()}{sentence[1:]}."]}) from error
