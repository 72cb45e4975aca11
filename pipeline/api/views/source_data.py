"""The data of a raster source: files are sent to it and removed from it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import ClientDisconnect, Request

from pipeline.api.auth import require_login
from pipeline.api.body import CSRF_FIELD, FORM, JSON, MULTIPART, media_type, read_object
from pipeline.api.endpoint import Answer, Call, Endpoint
from pipeline.api.links import API, Links
from pipeline.api.media_types import written_contents
from pipeline.api.multipart import FILE, UploadForm
from pipeline.api.problems import Problem, forbidden, invalid, unavailable
from pipeline.api.quota import check_quota, left_for_good
from pipeline.api.receive_upload import (
    Destination,
    DryRunReservation,
    Reservation,
    given_up,
    storage_problem,
)
from pipeline.api.resources.common_fields import INTEGER
from pipeline.api.resources.field import LINK, STRING, Field, Json, nullable
from pipeline.api.resources.field import UUID as UUID_SCHEMA
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.upload_store import discard_ended
from pipeline.api.views.confirm_delete import Question, ask_about_data
from pipeline.api.views.list_detail import one
from pipeline.api.views.write import locked
from pipeline.catalogue import source_data, upload_files, writes
from pipeline.catalogue.lookups import BLANK, TIMESTAMP_PATTERN, BadValue, parse_timestamp
from pipeline.errors import CatalogueError, RasterError, TransientError
from pipeline.raster import CRS_PATTERN, NODATA_PATTERN, normalize_crs, normalize_nodata
from pipeline.storage.uploads import DryRunUpload, FolderUploadStore, OpenUpload, UnnamedUpload

PIECE = 2**20
"""Bytes that are gathered before a thread parses and writes them."""
LEAST = 64 * 2**10
"""Bytes that have to arrive within the time that a body may stand still."""
ENVELOPE = 128 * 2**10
"""What a form may hold beside its file."""

WHEN = {"type": "string", "pattern": f"^({BLANK}*{TIMESTAMP_PATTERN}{BLANK}*)?$"}
CRS = {"type": "string", "pattern": f"^({BLANK}*{CRS_PATTERN}{BLANK}*)?$"}
NODATA = {"type": "string", "pattern": f"^({BLANK}*({NODATA_PATTERN}){BLANK}*)?$"}
BINARY = {"type": "string", "format": "binary"}
FORM_SCHEMA = {
    "type": "object",
    "properties": {"file": BINARY, "timestamp": WHEN, "crs": CRS, "nodata": NODATA},
    "required": ["file"],
}
PERIOD_SCHEMA = {
    "type": "object",
    "properties": {"start": nullable(WHEN), "stop": nullable(WHEN)},
    "anyOf": [{"maxProperties": 0}, {"required": ["start"]}, {"required": ["stop"]}],
}
RECEIVED_SCHEMA = {
    "type": "object",
    "properties": {"task_id": UUID_SCHEMA, "url": LINK},
    "required": ["task_id", "url"],
}
COUNTS = ("removed", "revoked", "partly")
TRIED_SCHEMA = {
    "type": "object",
    "properties": {"status": {"enum": ["SUCCESS"]}, "result": LINK, "detail": STRING},
    "required": ["status", "result", "detail"],
}
REMOVED_SCHEMA = {
    "type": "object",
    "properties": {"detail": STRING, **dict.fromkeys(COUNTS, INTEGER)},
    "required": ["detail", *COUNTS],
}


def no_show(_: Any, __: Links) -> None:
    """What is sent is never shown."""


def as_sent(value: Json) -> Json:
    """Fields of a form are read while it arrives."""
    return value


class SourceData(Endpoint):
    """POST a file, DELETE what is there."""

    title = "Raster Source Data"
    description = (
        'Send a GeoTIFF as multipart/form-data: "file", and "timestamp" where the file itself does not say its time, '
        '"crs" (EPSG:CODE) and "nodata" where it has none. '
        "The answer names a task, which tells what becomes of the file.\n\n"
        'DELETE removes all data; {"start": ..., "stop": ...} the files whose steps all lie between the two times, '
        "both included."
    )
    fields = (
        Field("file", "file upload", no_show, BINARY, "A GeoTIFF.", read=as_sent, required=True),
        Field(
            "timestamp", "datetime", no_show, WHEN, "The time of its data, ISO 8601.", read=as_sent
        ),
        Field(
            "crs",
            "string",
            no_show,
            CRS,
            "EPSG:CODE, for a file without a CRS.",
            read=as_sent,
            label="CRS",
        ),
        Field(
            "nodata", "string", no_show, NODATA, "For a file without a nodata value.", read=as_sent
        ),
    )
    parses = (MULTIPART, JSON, FORM)
    bodies = {  # noqa: RUF012
        "POST": {"required": True, "content": {MULTIPART: {"schema": FORM_SCHEMA}}},
        "DELETE": {"content": written_contents(PERIOD_SCHEMA)},
    }
    answers = {"POST": {"anyOf": [RECEIVED_SCHEMA, TRIED_SCHEMA]}, "DELETE": REMOVED_SCHEMA}  # noqa: RUF012
    refusals = {"POST": (507,)}  # noqa: RUF012

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when the source is not there for the caller."""
        await one(call, RASTER_SOURCES)

    def finds_token(self, call: Call) -> bool:
        """A form with a file has it in a field before the file."""
        return call.request.method == "POST" and media_type(call.request) == MULTIPART

    async def may_write(self, call: Call) -> bool:
        """Whether the source is the caller's to write."""
        return bool((await one(call, RASTER_SOURCES)).writable)

    async def question(self, call: Call, answer: Answer) -> Question:
        """How many files go."""
        return await ask_about_data(call, answer.data)

    async def post(self, call: Call) -> Answer:
        """A file for the source: on the disk and in the catalogue before this answers."""
        source = await writable(call)
        declared = int_header(call.request, "content-length") - ENVELOPE
        check_length(declared, call.api.config.upload_bytes)
        destination, expected = Destination(source.id, source.organisation_id), max(0, declared)
        try:
            if call.dry_run:
                with call.api.trials.place(source.organisation_id):
                    return await try_out(call, source, destination, expected)
            async with call.api.receiver.reservation(destination, expected) as reservation:
                task = await receive(call, reservation)
        except TransientError as error:
            raise storage_problem(error) from error
        return Answer({"task_id": task, "url": call.links.at(f"{API}/tasks/{task}")})

    async def delete(self, call: Call) -> Answer:
        """Without data, all or a range of time."""
        await writable(call)
        body = await read_object(call.body)
        if body and not {"start", "stop"} & body.keys():
            sentence = "Give start, stop or both; an empty body removes all data."
            raise invalid({"non_field_errors": [sentence]})
        start, stop = (read_moment(body.get(name), name) for name in ("start", "stop"))
        if start and stop and start > stop:
            raise invalid({"stop": ["Must not be before start."]})
        work = partial(remove, call, start, stop)
        removed, revoked, partly = await call.api.database.transaction(work)
        await discard_ended(call.api.config, call.api.database, [*removed, *revoked])
        counts = {"removed": len(removed), "revoked": len(revoked), "partly": partly}
        return Answer({"detail": f"Files removed: {len(removed)}.", **counts})


def check_length(size: int, limit: int) -> None:
    """Raises Problem 413 for a file that is longer than any may be."""
    if size > limit:
        raise Problem(413, f"A file may be {limit} bytes long.")


async def writable(call: Call) -> Any:
    """The source, which the caller may write; raises Problem 401, 403 or 404."""
    require_login(call.caller)
    source = await one(call, RASTER_SOURCES)
    if not source.writable:
        raise forbidden()
    return source


async def try_out(call: Call, source: Any, destination: Destination, expected: int) -> Answer:
    """What would become of the file: it is read as an upload is, and nothing is left of it.

    Raises Problem or TransientError.
    """
    judge, deposit = call.api.config.try_upload, await call.api.receiver.open()
    if judge is None:
        raise unavailable("This server reads no files; ask one that does.")
    folder = deposit.folder if isinstance(deposit, FolderUploadStore) else None
    shared = (call.api.receiver, call.api.database, call.api.config, deposit, destination)
    incoming = await asyncio.to_thread(UnnamedUpload, folder)
    trial = DryRunReservation(*shared, incoming=incoming, announced=call.api.trials.announced)
    try:
        await trial.begin(expected)
        sent = read_sent(await receive_form(call, incoming, trial))
        await asyncio.to_thread(incoming.keep)
        said = (sent.timestamp, sent.crs, sent.nodata)
        upload = DryRunUpload(incoming.stored(), source.id, source.temporal, *said)
        async with call.api.trials.turn(source.organisation_id, call.request):
            replaced = await asyncio.to_thread(judge, upload)
    except RasterError as error:
        raise invalid({FILE: [f"{error.code}: {error.message}"]}) from error
    finally:
        call.api.trials.announced.pop(incoming, None)
        await asyncio.to_thread(incoming.close)
    result = call.links.to("rastersources", source.uuid)
    return Answer({"status": "SUCCESS", "result": result, "detail": f"Files replaced: {replaced}."})


@dataclass(frozen=True)
class Sent:
    """What a client says of a file that it sends."""

    filename: str | None
    timestamp: datetime | None
    crs: str | None
    nodata: str | None


def read_sent(form: UploadForm) -> Sent:
    """The fields beside the file; raises Problem 400 that names a wrong one."""
    fields = form.fields
    return Sent(
        form.filename,
        read_moment(fields.get("timestamp"), "timestamp"),
        read_assigned(fields.get("crs"), "crs"),
        read_assigned(fields.get("nodata"), "nodata"),
    )


async def receive(call: Call, reservation: Reservation) -> UUID:
    """Take the form in; the uuid of the task, once all is durable. Raises Problem or TransientError."""
    incoming = await asyncio.to_thread(reservation.deposit.receive, reservation.uri)
    try:
        sent = read_sent(await receive_form(call, incoming, reservation))
        await asyncio.to_thread(incoming.keep)
    finally:
        await asyncio.to_thread(incoming.close)
    work = partial(record, call, {**asdict(sent), "size": incoming.size, "uri": incoming.uri})
    return await call.api.receiver.transaction(call.api.database, work)


async def receive_form(call: Call, incoming: OpenUpload, reservation: Reservation) -> UploadForm:
    """Write the file of a form as it arrives, once there is room for it. Raises Problem or TransientError."""
    config, arrived, total = call.api.config, bytearray(), 0

    def begin(fields: Mapping[str, str]) -> None:
        call.check_token(fields.get(CSRF_FIELD))

    form = UploadForm(call.request.headers.get("content-type", ""), begin, arrived.extend)
    call.request.state.fields = form.fields  # which a page shows again
    async for piece in pieces(call.request, config.body_seconds):
        total += len(piece)
        check_length(total - ENVELOPE, config.upload_bytes)
        await asyncio.to_thread(form.write, piece)
        if arrived:
            check_length(incoming.size + len(arrived), config.upload_bytes)
            await reservation.extend(incoming.size + len(arrived))
            await asyncio.to_thread(incoming.write, bytes(arrived))
            arrived.clear()
    form.finish()
    return form


async def pieces(request: Request, seconds: float) -> AsyncIterator[bytes]:
    """The body, some of it at a time; raises Problem 400 when it breaks off, 408 when it comes too slowly."""
    piece, stream, clock = bytearray(), request.stream(), asyncio.get_running_loop().time
    patience, missing = clock() + seconds, LEAST
    while True:
        try:
            async with asyncio.timeout_at(patience):
                arrived = await anext(stream, None)
        except TimeoutError as error:
            raise Problem(408, "The body did not arrive in time.") from error
        except ClientDisconnect as error:
            raise Problem(400, "The body ended too early.") from error
        piece += arrived or b""
        missing -= len(arrived or b"")
        whole = len(piece) >= PIECE or (piece and arrived is None)
        if whole:
            yield bytes(piece)
            piece.clear()
        if arrived is None:
            return
        if whole or missing <= 0:  # what took us the time to write counts for nobody
            patience, missing = clock() + seconds, LEAST


async def record(call: Call, values: dict[str, Any], connection: AsyncConnection) -> UUID:
    """An upload that waits to be processed, and its task, whose uuid is returned; raises Problem."""
    source = await locked(call, RASTER_SOURCES, call.uuid(RASTER_SOURCES.model), connection)
    ended = upload_files.end_receiving(values["uri"], call.api.receiver.number)
    if (await connection.execute(ended)).one_or_none() is None:
        raise given_up()
    check_quota(values["size"], await left_for_good(source.organisation_id, connection))
    task = (await connection.execute(source_data.insert_task())).one()
    whose = {"source_id": source.id, "task_id": task.id, "user_id": call.caller.user_id}
    await connection.execute(source_data.insert_upload(**values, **whose))
    uuid: UUID = task.uuid
    return uuid


async def remove(
    call: Call, start: datetime | None, stop: datetime | None, connection: AsyncConnection
) -> tuple[list[str], list[str], int]:
    """URIs of the files that go, URIs of the uploads that end, and how many files lie partly in the range."""
    source = await locked(call, RASTER_SOURCES, call.uuid(RASTER_SOURCES.model), connection)
    period = (source.id, start, stop)
    removed = (await connection.execute(source_data.remove_files(*period))).scalars().all()
    revoked = (await connection.execute(source_data.revoke_uploads(*period))).scalars().all()
    partly = (await connection.execute(source_data.count_partly_inside(*period))).scalar_one()
    await connection.execute(writes.derive_source(source.id))
    return list(removed), list(revoked), partly


def read_moment(value: Json, name: str) -> datetime | None:
    """A time of a body or form; raises Problem 400 that names the field."""
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str):
            raise BadValue("Must be a text, such as 2016-06-21T06:05:00Z.")
        return parse_timestamp(value)
    except BadValue as error:
        raise invalid({name: [str(error)]}) from error


def read_assigned(value: str | None, name: str) -> str | None:
    """The CRS or nodata of a form; raises Problem 400 that names the field.

    PROJ is asked here, in the one thread that runs the server: it does not bear several.
    """
    if not value or not value.strip():
        return None
    try:
        return normalize_crs(value) if name == "crs" else normalize_nodata(value)
    except CatalogueError as error:
        sentence = str(error)
        raise invalid({name: [f"{sentence[0].upper()}{sentence[1:]}."]}) from error


def int_header(request: Request, name: str) -> int:
    """A header that is a number; 0 for any other."""
    text = request.headers.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
