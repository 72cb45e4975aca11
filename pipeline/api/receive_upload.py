"""Files on their way into the storage of uploads: recorded before they are written, with room kept for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from secrets import randbelow
from time import monotonic
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import Executable

from pipeline.api.config import ApiConfig
from pipeline.api.database import (
    LOCKED,
    UPLOADS,
    Database,
    new_database,
    places,
    sqlstate,
    translated,
)
from pipeline.api.problems import Problem, not_found, unavailable
from pipeline.api.quota import check_quota, left_for_good
from pipeline.api.upload_store import deposit_of, discard_unneeded
from pipeline.catalogue import upload_files
from pipeline.database.engine import make_engine
from pipeline.errors import CatalogueError, DiskFull, TransientError
from pipeline.storage.uploads import UnnamedUpload, UploadStore

Result = TypeVar("Result")
SECONDS_TO_BEGIN = 2.0
"""For so long an upload waits for the locks that it needs before its file is sent."""
MILLISECONDS_FOR_A_LOCK = 200
"""For so long a transaction waits for a lock; then it leaves its connection to another one, and tries again later."""
SECONDS_BETWEEN_ATTEMPTS = 0.2
SECONDS_BETWEEN_LOOKS = 2.0
"""For so long the lock of this server is taken for held after it was looked at."""
AHEAD = 64 * 2**20
"""Bytes of the disk that are kept for a file beyond those that arrived: who announces much may never send it."""
FOREIGN = (
    "This server takes no uploads, because its storage of uploads belongs to another catalogue; "
    "its messages tell the operator what to do."
)


class UploadReceiver:
    """This server as one that receives files: it has a number, and holds a lock of that number while it lives."""

    def __init__(self, config: ApiConfig, database: Database) -> None:
        self.number = 1 + randbelow(2**31 - 1)
        self._config, self._database = config, database
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._holding, self._seen_at = asyncio.Lock(), float("-inf")
        self._is_ours = False
        self._places = asyncio.Semaphore(places(config, UPLOADS))
        self._releases: set[asyncio.Task[None]] = set()

    async def open(self) -> UploadStore:
        """Where files go; raises Problem 503 where that is not possible now."""
        deposit = deposit_of(self._config)
        if not self._is_ours:
            try:
                await asyncio.to_thread(self._take_up, deposit)
            except CatalogueError as error:
                raise unavailable(FOREIGN) from error
            except TransientError as error:
                raise storage_problem(error) from error
            self._is_ours = True
        await self.hold()
        return deposit

    def _take_up(self, deposit: UploadStore) -> None:
        engine = make_engine(self._config.database_url, prepare=self._config.prepare)
        try:
            upload_files.claim_storage(engine, deposit)
        finally:
            engine.dispose()

    async def hold(self) -> None:
        """Hold the lock, again where its connection broke; raises Problem 503."""
        async with self._holding:
            if monotonic() < self._seen_at + SECONDS_BETWEEN_LOOKS:
                return
            with translated():
                if self._connection is not None:
                    try:
                        await self._connection.exec_driver_sql("SELECT 1")
                    except DBAPIError:
                        await self._let_go()
                if self._connection is None:
                    await self._connect()
            self._seen_at = monotonic()

    async def _connect(self) -> None:
        if self._engine is None:
            self._engine = new_database(self._config, connections=1).engine
        connection = await self._engine.connect()
        try:
            await connection.execute(upload_files.hold_receiver(self.number))
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):
                await connection.close()

    async def close(self) -> None:
        """Let the lock go: nothing is received any more."""
        for release in self._releases:
            release.cancel()
        await self._let_go()
        if self._engine is not None:
            await self._engine.dispose()

    @asynccontextmanager
    async def reservation(self, source: "Destination", size: int) -> AsyncIterator["Reservation"]:
        """A recorded file, with room for so many bytes; deleted where the block fails. Raises Problem."""
        deposit = await self.open()
        reservation = Reservation(self, self._database, self._config, deposit, source)
        try:
            await reservation.begin(size)
            yield reservation
        except Exception:
            await self._release(deposit, reservation.uri)
            raise

    async def transaction(
        self,
        database: Database,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        seconds: float | None = None,
    ) -> Result:
        """Run work in a transaction, which holds one of few connections only while it gets the locks that it needs.

        Raises Problem 503 where these were not to be had within so many seconds, or those that a query may take.
        """
        patience = self._config.statement_timeout_seconds if seconds is None else seconds
        end = monotonic() + patience
        while True:
            try:
                return await database.transaction(partial(_hasty, work), self._places)
            except DBAPIError as error:
                if sqlstate(error) != LOCKED:
                    raise
                if monotonic() > end:
                    raise being_changed() from error
            await asyncio.sleep(SECONDS_BETWEEN_ATTEMPTS)

    async def _release(self, deposit: UploadStore, uri: str) -> None:
        """Give a file up and delete it, unless it became an upload; once the database answers."""
        try:
            ended = upload_files.end_receiving(uri, self.number)
            await self.transaction(self._database, lambda connection: connection.execute(ended))
            await discard_unneeded(self._database, deposit, [uri])
        except Problem:
            task = asyncio.create_task(self._release_later(deposit, uri))
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)

    async def _release_later(self, deposit: UploadStore, uri: str) -> None:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        await self._release(deposit, uri)


async def _hasty(
    work: Callable[[AsyncConnection], Awaitable[Result]], connection: AsyncConnection
) -> Result:
    await connection.execute(upload_files.limit_lock_wait(MILLISECONDS_FOR_A_LOCK))
    return await work(connection)


@dataclass(frozen=True)
class Destination:
    """The raster source that a file is sent to."""

    id: int
    organisation_id: int


@dataclass
class Reservation:
    """A file on its way, and the bytes that are kept for it: of the quota, and of the disk."""

    receiver: UploadReceiver
    database: Database
    config: ApiConfig
    deposit: UploadStore
    source: Destination
    uri: str = field(init=False)
    size: int = 0
    """Bytes that are reserved of the quota."""
    arrived: int = field(init=False, default=0)
    room: int = field(init=False, default=0)
    """Up to this length the disk has room that nobody else is given."""

    def __post_init__(self) -> None:
        self.uri = self.deposit.new_uri()

    async def begin(self, size: int) -> None:
        """Record the file; raises Problem 413 or 507 where there is no room for so many bytes."""
        number = self.receiver.number
        lock = upload_files.lock_source(self.source.id)
        record = upload_files.begin_receiving(self.uri, self.source.id, number, size)
        work = partial(self._reserve, size, lock, record)
        if not await self.receiver.transaction(self.database, work, SECONDS_TO_BEGIN):
            raise not_found("RasterSource")  # it was deleted just now
        self.size, self.room = size, min(size, AHEAD)

    async def extend(self, size: int) -> None:
        """Before a file becomes this long; raises Problem 413 or 507 where there is no room."""
        await self._extend(size)
        self.arrived = size

    async def _extend(self, size: int) -> None:
        with suppress(Problem):  # a database that is away is needed at the end only
            await self.receiver.hold()
        if size <= self.room:
            await asyncio.to_thread(self._check_disk, {self.uri: self.room})
            return
        whole = max(size, self.size)
        lock = upload_files.lock_file(self.uri, self.receiver.number)
        record = upload_files.update_reservation(self.uri, self.receiver.number, whole)
        work = partial(self._reserve, whole, lock, record)
        try:
            recorded = await self.receiver.transaction(self.database, work)
        except Problem as problem:
            if problem.status != 503 or size > self.size:
                raise
            await asyncio.to_thread(self._check_disk, {self.uri: size})
            return  # a database that is away is needed at the end only
        if not recorded:
            raise given_up()
        self.size, self.room = whole, min(whole, max(size, self.arrived + AHEAD))

    async def _reserve(
        self, size: int, lock: Executable, record: Executable, connection: AsyncConnection
    ) -> bool:
        """Whether there was a row to lock, so that this is recorded; raises Problem."""
        if (await connection.execute(lock)).one_or_none() is None:
            return False
        await self._check_room(size, size, self.size, connection)
        await connection.execute(record)
        return True

    async def _check_room(
        self, size: int, to_come: int, kept: int, connection: AsyncConnection
    ) -> None:
        """Raises Problem 413 or 507 where a file of this size has no room; locks what others may not change meanwhile.

        `to_come` are the bytes of it that the disk does not hold yet, `kept` those that are reserved for it.
        """
        left = await left_for_good(self.source.organisation_id, connection)
        check_quota(size, None if left is None else left + kept)
        await connection.execute(upload_files.lock_reservations())
        others = (await connection.execute(upload_files.select_receiving())).all()
        announced = {row.uri: row.reserved for row in others} | {self.uri: to_come}
        await asyncio.to_thread(self._check_disk, {self.uri: to_come})  # all of it, by itself
        await asyncio.to_thread(self._check_disk, announced, AHEAD)

    def _check_disk(self, announced: dict[str, int], ahead: int | None = None) -> None:
        """Raises Problem 507 where these files, as far as they are looked ahead, would take what must stay free."""
        try:
            free = self.deposit.bytes_free(announced, ahead)
        except TransientError as error:
            raise storage_problem(error) from error
        if free is not None and free < self.config.upload_reserve_bytes:
            raise no_room()


@dataclass
class DryRunReservation(Reservation):
    """The same checks for a file of a dry run; nothing is recorded or kept for it."""

    incoming: UnnamedUpload = field(kw_only=True)
    announced: dict[UnnamedUpload, int] = field(kw_only=True)
    """The files of all dry runs that are on their way, and how many bytes each will have."""

    async def begin(self, size: int) -> None:
        """Raises Problem 413 or 507 where there is no room for a file of so many bytes."""
        self.announced[self.incoming] = self.size = size
        check = partial(self._check_room, size, size - self.incoming.size, 0)
        await self.receiver.transaction(self.database, check, SECONDS_TO_BEGIN)

    async def extend(self, size: int) -> None:
        """The same before the file becomes this long."""
        if size > self.size:
            await self.begin(size)
        else:
            await asyncio.to_thread(self._check_disk, {self.uri: self.size - self.incoming.size})

    def _check_disk(self, announced: dict[str, int], ahead: int | None = None) -> None:
        """On the disk of the file too, which is another one where the storage is a bucket."""
        super()._check_disk(announced, ahead)
        # Their sizes first: what is written meanwhile counts twice, never not at all.
        to_come = {one: size - one.size for one, size in self.announced.copy().items()}
        missing = sum(min(AHEAD, max(0, size)) for size in to_come.values())
        missing = max(missing, to_come[self.incoming])  # all of it, by itself
        if self.incoming.bytes_free() - missing < self.config.upload_reserve_bytes:
            raise no_room()


def storage_problem(error: TransientError) -> Problem:
    """507 where the disk is full, 503 for any other trouble of the storage."""
    return no_room() if isinstance(error, DiskFull) else unavailable(f"{error}.")


def given_up() -> Problem:
    """503: another server found this one dead, and deleted the file."""
    return unavailable("The file was given up while the database was away; send it again.")


def being_changed() -> Problem:
    """503: something else holds the locks, such as an ingestion or a deletion."""
    return unavailable(
        "The raster source or the quota of its organisation is being changed just now; send it again."
    )


def no_room() -> Problem:
    """507: the disk has no room."""
    return Problem(
        507,
        "The server's disk has no room for this file beside what others are sending and what it keeps free; "
        "try again later, or ask the operator to make room.",
    )
