"""Writes windows of data for tasks: one after the other, to the storage of uploads, while the client polls the task."""

import asyncio
from contextlib import suppress
from typing import BinaryIO
from uuid import UUID

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.pixel_service import pixel_problem
from pipeline.api.problems import Problem, unavailable
from pipeline.api.receive_upload import UploadReceiver
from pipeline.api.upload_store import discard_unneeded
from pipeline.catalogue.downloads import QUERIES, SECONDS_KEPT
from pipeline.errors import RastersourcesError, TransientError
from pipeline.raster.pixels.client import PixelProcess
from pipeline.raster.pixels.requests import Export, PixelLimits
from pipeline.storage.uploads import UploadStore

CHUNK_BYTES = 2**20
STOPPED = "The server stopped while it wrote the file; send the request again."


class ExportService:
    """Writes files for the clients of this server process, in a separate process."""

    def __init__(self, config: ApiConfig, database: Database, receiver: UploadReceiver) -> None:
        self._config, self._database, self._receiver = config, database, receiver
        self._process = PixelProcess(config.budget)
        self._turn = asyncio.Lock()
        self._running: dict[asyncio.Task[None], str] = {}
        """The URI of the file that each task writes."""

    async def begin(self, request: Export, pixels_read: int, filename: str) -> UUID:
        """Record a file, start writing it and return the uuid of its task; raise Problem 400 if too many wait."""
        if len(self._running) >= self._config.pixel_requests:
            raise Problem(400, "Too many files are being written; send the request again later.")
        store = await self._receiver.open()
        uri, receiver = store.new_uri(), self._receiver.number
        (row,) = await self._database.rows(
            QUERIES["create"], uri=uri, receiver=receiver, filename=filename
        )
        limits = PixelLimits(self._config.task_seconds, max(self._config.read_pixels, pixels_read))
        task = asyncio.create_task(self._write(request, limits, store, uri))
        self._running[task] = uri
        task.add_done_callback(self._running.pop)
        uuid: UUID = row.uuid
        return uuid

    async def _write(
        self, request: Export, limits: PixelLimits, store: UploadStore, uri: str
    ) -> None:
        """Write the file and record the outcome of its task."""
        try:
            async with self._turn:
                await self._database.execute(QUERIES["start"], uri=uri)
                file = await asyncio.to_thread(self._process.ask, request, limits)
                await asyncio.to_thread(self._store, file, store, uri)
            await self._receiver.hold_lock()
            receiver = self._receiver.number
            await self._database.execute(
                QUERIES["finish"], uri=uri, receiver=receiver, seconds=SECONDS_KEPT
            )
        except RastersourcesError as error:
            await self._fail(store, uri, pixel_problem(error))
        except Problem as problem:
            await self._fail(store, uri, problem)

    def _store(self, file: BinaryIO, store: UploadStore, uri: str) -> None:
        """Copy a file into the storage. Raises TransientError if that fails."""
        with file:
            size = file.seek(0, 2)
            file.seek(0)
            free = store.bytes_free({uri: size})
            if free is not None and free < self._config.upload_reserve_bytes:
                raise TransientError("the server's disk has no room for the file; try again later")
            upload = store.open_upload(uri)
            try:
                while chunk := file.read(CHUNK_BYTES):
                    upload.write(chunk)
                upload.commit()
            finally:
                upload.close()

    async def _fail(self, store: UploadStore, uri: str, problem: Problem) -> None:
        detail = problem.detail
        if isinstance(detail, dict):
            detail = " ".join(f"{name}: {' '.join(texts)}" for name, texts in detail.items())
        number = self._receiver.number
        with suppress(Problem):  # if the database does not answer, the sweep does this later
            await self._database.execute(QUERIES["fail"], uri=uri, receiver=number, detail=detail)
            await discard_unneeded(self._database, store, [uri])

    async def close(self) -> None:
        """End the process, and mark the tasks of waiting clients as failed."""
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.to_thread(self._process.close)
        for uri in running.values():
            with suppress(Problem):
                await self._fail(await self._receiver.open(), uri, unavailable(STOPPED))
