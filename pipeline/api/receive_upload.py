"""Receives uploads: before a file is written, it is recorded and its bytes are reserved."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from secrets import randbelow
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline.api.config import ApiConfig
from pipeline.api.database import (
    LOCKED,
    UPLOAD_SHARE,
    Database,
    connection_slots,
    new_database,
    sqlstate,
    translate_errors,
)
from pipeline.api.dry_run_uploads import AHEAD, DryRunSlots
from pipeline.api.problems import Problem, not_found, unavailable
from pipeline.api.quota import check_quota, lock_bytes_left
from pipeline.api.upload_store import discard_unneeded, open_store
from pipeline.catalogue.upload_files import QUERIES, RECEIVER_LOCK, claim_storage
from pipeline.database.engine import open_engine
from pipeline.errors import CatalogueError, DiskFull, TransientError
from pipeline.storage.uploads import UnnamedUpload, UploadStore

Result = TypeVar("Result")
SECONDS_TO_BEGIN = 2.0
"""How long an upload waits for its locks before it reads the file."""
LOCK_MILLISECONDS = 200
"""How long a transaction waits for a lock before it releases its connection and tries again later."""
SECONDS_BETWEEN_ATTEMPTS = 0.2
SECONDS_BETWEEN_CHECKS = 2.0
"""How long after a check the lock of this server is assumed to be held."""
FOREIGN_STORE = (
    "This server accepts no uploads, because its storage of uploads belongs to another catalogue; "
    "ask the operator to follow the advice in the server's log."
)

BEING_CHANGED = (
    "The raster source or the quota of its organisation is being changed; send the file again."
)


class UploadReceiver:
    """Receives files for this server process, which has a number and holds the lock with that number while it runs."""

    def __init__(self, config: ApiConfig, database: Database) -> None:
        self.number = 1 + randbelow(2**31 - 1)
        self._config, self._database = config, database
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._checking, self._checked_at = asyncio.Lock(), float("-inf")
        self._owns_store = False
        self._slots = connection_slots(config, UPLOAD_SHARE)
        self._releases: set[asyncio.Task[None]] = set()

    async def open(self) -> UploadStore:
        """Return the storage of uploads; raise Problem 503 if it is not available."""
        store = open_store(self._config)
        if not self._owns_store:
            try:
                await asyncio.to_thread(self._claim, store)
            except CatalogueError as error:
                raise unavailable(FOREIGN_STORE) from error
            except TransientError as error:
                raise storage_problem(error) from error
            self._owns_store = True
        await self.hold_lock()
        return store

    def _claim(self, store: UploadStore) -> None:
        with open_engine(self._config.database_url, prepare=self._config.prepare) as engine:
            claim_storage(engine, store)

    async def hold_lock(self) -> None:
        """Take the lock of this server, or take it again if its connection broke; raise Problem 503."""
        async with self._checking:
            if monotonic() < self._checked_at + SECONDS_BETWEEN_CHECKS:
                return
            with translate_errors():
                if self._connection is not None:
                    try:
                        await self._connection.exec_driver_sql("SELECT 1")
                    except DBAPIError:
                        await self._disconnect()
                if self._connection is None:
                    await self._connect()
            self._checked_at = monotonic()

    async def _connect(self) -> None:
        if self._engine is None:
            self._engine = new_database(self._config, connections=1).engine
        connection = await self._engine.connect()
        try:
            names = {"lock": RECEIVER_LOCK, "receiver": self.number}
            await connection.execute(QUERIES["hold_receiver"], names)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):
                await connection.close()

    async def close(self) -> None:
        """Release the lock; afterwards the server receives no files."""
        for release in self._releases:
            release.cancel()
        await self._disconnect()
        if self._engine is not None:
            await self._engine.dispose()

    @asynccontextmanager
    async def reservation(self, source: Any, size: int) -> AsyncIterator["Reservation"]:
        """Record a file and reserve bytes for it; delete the file if the block fails. Raises Problem."""
        store = await self.open()
        reservation = Reservation(self, self._database, self._config, store, source)
        try:
            await reservation.begin(size)
            yield reservation
        except Exception:  # after any error the file must be deleted
            await self._release(store, reservation.uri)
            raise

    async def transaction(
        self,
        database: Database,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        seconds: float | None = None,
    ) -> Result:
        """Run `work` in a transaction that releases its connection while it waits for locks.

        Raises Problem 503 if the locks are not free within `seconds`, by default the time limit of a query.
        """
        deadline = monotonic() + (seconds or self._config.statement_timeout_seconds)
        while True:
            try:
                return await database.transaction(partial(_limit_lock_wait, work), self._slots)
            except DBAPIError as error:
                if sqlstate(error) != LOCKED:
                    raise
                if monotonic() > deadline:
                    raise unavailable(BEING_CHANGED) from error
            await asyncio.sleep(SECONDS_BETWEEN_ATTEMPTS)

    async def _release(self, store: UploadStore, uri: str, delay: float = 0) -> None:
        """Delete a file that did not become an upload; try again later if the database does not answer."""
        await asyncio.sleep(delay)
        try:
            ended = QUERIES["end_receiving"].bindparams(uri=uri, receiver=self.number)
            await self.transaction(self._database, lambda connection: connection.execute(ended))
            await discard_unneeded(self._database, store, [uri])
        except Problem:
            task = asyncio.create_task(self._release(store, uri, SECONDS_BETWEEN_CHECKS))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)


async def _limit_lock_wait(
    work: Callable[[AsyncConnection], Awaitable[Result]], connection: AsyncConnection
) -> Result:
    await connection.execute(QUERIES["limit_lock_wait"], {"limit": f"{LOCK_MILLISECONDS}ms"})
    return await work(connection)


@dataclass
class Reservation:
    """A file that is being received, and the bytes that are reserved for it in the quota and on the disk."""

    receiver: UploadReceiver
    database: Database
    config: ApiConfig
    store: UploadStore
    source: Any
    """The row of the raster source that receives the file."""
    uri: str = field(init=False)
    size: int = 0
    """Bytes reserved in the quota."""
    arrived: int = field(init=False, default=0)
    reserved_on_disk: int = field(init=False, default=0)
    """Length of the file up to which its bytes are reserved on the disk."""

    def __post_init__(self) -> None:
        self.uri = self.store.new_uri()

    async def begin(self, size: int) -> None:
        """Record the file; raise Problem 413 or 507 if the quota or the disk has no room for `size` bytes."""
        reserve = partial(self._reserve, size, "lock_source", "begin_receiving")
        if not await self.receiver.transaction(self.database, reserve, SECONDS_TO_BEGIN):
            raise not_found("RasterSource")  # deleted since the request began
        self.size, self.reserved_on_disk = size, min(size, AHEAD)

    async def extend(self, size: int) -> None:
        """Reserve room before the file grows to `size` bytes; raise Problem 413 or 507 if there is not enough."""
        await self._extend(size)
        self.arrived = size

    async def _extend(self, size: int) -> None:
        with suppress(Problem):  # the upload needs the database only at its end
            await self.receiver.hold_lock()
        if size <= self.reserved_on_disk:
            await asyncio.to_thread(self._check_disk, {self.uri: self.reserved_on_disk})
            return
        total = max(size, self.size)
        reserve = partial(self._reserve, total, "lock_file", "update_reservation")
        try:
            recorded = await self.receiver.transaction(self.database, reserve)
        except Problem as problem:
            if problem.status != 503 or size > self.size:
                raise
            await asyncio.to_thread(self._check_disk, {self.uri: size})
            return  # the upload needs the database only at its end
        if not recorded:
            raise file_was_deleted()
        self.size, self.reserved_on_disk = total, min(total, max(size, self.arrived + AHEAD))

    async def _reserve(
        self, size: int, lock: str, record: str, connection: AsyncConnection
    ) -> bool:
        """Run the statements that lock a row and record `size`; return False if the row was deleted. Raises Problem."""
        this = {"uri": self.uri, "source": self.source.id, "receiver": self.receiver.number}
        if (await connection.execute(QUERIES[lock], this)).one_or_none() is None:
            return False
        await self._check_room(size, size, self.size, connection)
        await connection.execute(QUERIES[record], {**this, "reserved": size})
        return True

    async def _check_room(
        self, size: int, to_come: int, reserved: int, connection: AsyncConnection
    ) -> None:
        """Lock the quota and the reservations; raise Problem 413 or 507 if there is no room for a file of this size.

        `to_come` is the number of its bytes that are not on the disk yet, `reserved` the bytes that it has reserved in
        the quota.
        """
        bytes_left = await lock_bytes_left(self.source.organisation_id, connection)
        check_quota(size, None if bytes_left is None else bytes_left + reserved)
        await connection.execute(QUERIES["lock_reservations"], {"lock": RECEIVER_LOCK})
        others = (await connection.execute(QUERIES["select_receiving"])).all()
        announced = {row.uri: row.reserved for row in others} | {self.uri: to_come}
        # first the whole file alone, then together with the bytes that other files will need soon
        await asyncio.to_thread(self._check_disk, {self.uri: to_come})
        await asyncio.to_thread(self._check_disk, announced, AHEAD)

    def _check_disk(self, announced: dict[str, int], ahead: int | None = None) -> None:
        """Raise Problem 507 if files of these sizes would leave less than the reserve free.

        `ahead` is the maximum number of bytes that count for each file beyond those that arrived.
        """
        try:
            free = self.store.bytes_free(announced, ahead)
        except TransientError as error:
            raise storage_problem(error) from error
        if free is not None and free < self.config.upload_reserve_bytes:
            raise _disk_full()


@dataclass
class DryRunReservation(Reservation):
    """The same checks for the file of a dry run, without a record or a reservation."""

    upload: UnnamedUpload = field(kw_only=True)
    slots: DryRunSlots = field(kw_only=True)

    async def begin(self, size: int) -> None:
        """Raise Problem 413 or 507 if there is no room for `size` bytes."""
        self.size = size
        self.slots.announce(self.upload, size)
        check = partial(self._check_room, size, size - self.upload.size, 0)
        await self.receiver.transaction(self.database, check, SECONDS_TO_BEGIN)

    async def extend(self, size: int) -> None:
        """Raise the same problems before the file grows to `size` bytes."""
        if size > self.size:
            await self.begin(size)
        else:
            await asyncio.to_thread(self._check_disk, {self.uri: self.size - self.upload.size})

    def _check_disk(self, announced: dict[str, int], ahead: int | None = None) -> None:
        """Check the disk of the unnamed file too; it is another disk if the storage is a bucket."""
        super()._check_disk(announced, ahead)
        # Read the sizes before the free space, so that bytes written in between count twice instead of not at all.
        to_come = self.size - self.upload.size  # the rest of this file alone
        missing = max(self.slots.bytes_to_come(), to_come)
        if self.upload.bytes_free() - missing < self.config.upload_reserve_bytes:
            raise _disk_full()


def storage_problem(error: TransientError) -> Problem:
    """Return Problem 507 for a full disk, 503 for any other error of the storage."""
    return _disk_full() if isinstance(error, DiskFull) else unavailable(f"{error}.")


def file_was_deleted() -> Problem:
    """Return Problem 503 for a file that another server deleted because this server had lost its lock."""
    return unavailable("The file was deleted because the database did not answer; send it again.")


def _disk_full() -> Problem:
    return Problem(
        507,
        "The server's disk has no room for this file; other uploads and a reserve need the free space. "
        "Try again later, or ask the operator to make room.",
    )
