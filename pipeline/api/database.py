"""The database as the API uses it: a pool of asynchronous connections that outlives restarts of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import orjson
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql import Executable

from pipeline.api.config import ApiConfig
from pipeline.api.problems import Problem, unavailable
from pipeline.database.engine import SESSION_OPTIONS, sqlalchemy_url
from pipeline.database.poolers import SessionSettings

Result = TypeVar("Result")
CANCELLED = "57014"
RETRIABLE = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and of a deadlock: the same transaction works when it is run again."""
AWAY = ("08", "57P", "53")
"""Classes of SQLSTATE: no connection, shutting down or starting, out of resources."""
DATA = ("22", "54")
"""Classes of SQLSTATE: a value that PostgreSQL cannot take, such as a broken regular expression."""
READ_ONLY = "25006"
"""SQLSTATE of a write on a standby."""
CONFLICT = "23"
"""Class of SQLSTATE: a constraint, such as an organisation that was removed in the meantime."""
LOCKED = "55P03"
"""SQLSTATE of a lock that was not to be had in the time for it."""
ATTEMPTS = 4
WRITERS, UPLOADS = 0.4, 0.3
"""Shares of the connections that transactions may have: those of changes, and those of uploads."""


class Database:
    """A pool of connections; the first one is made when the first request needs it."""

    stores = True
    """Whether what is written stays."""

    def __init__(
        self,
        engine: AsyncEngine,
        sessions: SessionSettings,
        writers: asyncio.Semaphore,
        seconds: float,
    ) -> None:
        self.engine, self.sessions = engine, sessions
        self._writers, self._seconds = writers, seconds
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """All rows of one query, in one round trip; raises Problem 503 when the database is away or slow.

        Through a pooler in more: the time limit holds for a transaction.
        """
        reading = self.engine if self.sessions.pooled else self._reading
        with translated():
            async with reading.connect() as connection:
                return (await connection.execute(statement)).all()

    async def execute(self, statement: Executable) -> None:
        """One statement that changes something, committed at once."""
        with translated():
            async with self.begin() as connection:
                await connection.execute(statement)

    async def transaction(
        self,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        places: asyncio.Semaphore | None = None,
    ) -> Result:
        """Run work in one transaction, again when it lost against another; commits unless it raises.

        It needs one of the places of writers, or of these: what waits for a lock leaves connections to those who read.
        """
        taken = places or self._writers
        try:
            async with asyncio.timeout(self._seconds):
                await taken.acquire()
        except TimeoutError as error:
            raise unavailable("Too many changes wait for others; try again later.") from error
        try:
            return await self._attempts(work)
        finally:
            taken.release()

    async def _attempts(self, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        for attempt in range(ATTEMPTS):
            try:
                async with self.begin() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if sqlstate(error) not in RETRIABLE or attempt == ATTEMPTS - 1:
                    with translated():
                        raise
            except PoolTimeout as error:
                raise unavailable("All connections are in use; try again later.") from error
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end of the block."""
        async with self.engine.begin() as connection:
            yield connection

    def dry_run(self) -> "DryRunDatabase":
        """The same pool, whose transactions are rolled back."""
        return DryRunDatabase(self.engine, self.sessions, self._writers, self._seconds)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


class DryRunDatabase(Database):
    """The same pool for a dry run: every statement runs in a transaction that is rolled back."""

    stores = False

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """All rows of one statement; what it writes is rolled back."""

        async def fetch(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement)).all()

        return await self.transaction(fetch)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is rolled back at the end of the block."""
        async with self.engine.connect() as connection:
            yield connection
            await connection.rollback()


def new_database(config: ApiConfig, connections: int | None = None) -> Database:
    """A pool whose connections are tried before use, so that a restart of PostgreSQL goes unnoticed."""
    engine = create_async_engine(
        sqlalchemy_url(config.database_url),
        connect_args={"connect_timeout": 5},
        pool_size=connections or config.connections,
        max_overflow=0,
        pool_timeout=config.statement_timeout_seconds,
        pool_pre_ping=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    sessions = SessionSettings(engine.sync_engine, options(config), prepare=config.prepare)
    writers = asyncio.Semaphore(places(config, WRITERS))
    return Database(engine, sessions, writers, config.statement_timeout_seconds)


def places(config: ApiConfig, share: float) -> int:
    """How many connections of the pool are a share of it."""
    return max(1, int(config.connections * share))


def options(config: ApiConfig) -> dict[str, str]:
    """What holds for each session, or for each transaction through a pooler."""
    milliseconds = max(1, int(config.statement_timeout_seconds * 1000))
    return {
        **SESSION_OPTIONS,
        "statement_timeout": str(milliseconds),
        "idle_in_transaction_session_timeout": "60s",
    }


def sqlstate(error: DBAPIError) -> str:
    """The five letters by which PostgreSQL names an error; empty when the connection itself failed."""
    return getattr(error.orig, "sqlstate", None) or ""


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the database as answers."""
    try:
        yield
    except PoolTimeout as error:
        raise unavailable("All connections are in use; try again later.") from error
    except DBAPIError as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise problem from error


def problem_of(error: DBAPIError) -> Problem | None:
    """The answer that an error of the database calls for; None for a fault of ours."""
    state = sqlstate(error)
    if state == CANCELLED:
        return unavailable("The query took too long; ask for less, or try again later.")
    if state == READ_ONLY:
        return unavailable(
            "The database takes no changes now, as on a read-only standby; try again later."
        )
    if state.startswith(AWAY) or state in RETRIABLE or (not state and is_connection_error(error)):
        return unavailable()
    if state.startswith(CONFLICT):
        return Problem(400, "The change contradicts what is stored; read it again and repeat.")
    if state.startswith(DATA):
        return Problem(400, f"A value is not usable: {first_line(error)}.")
    return None


def is_connection_error(error: DBAPIError) -> bool:
    """Whether it never came to a query, or the connection broke in the middle of it."""
    return error.connection_invalidated or type(error).__name__ in (
        "OperationalError",
        "InterfaceError",
    )


def first_line(error: DBAPIError) -> str:
    """What PostgreSQL says, without the context that names our query."""
    return str(error.orig).split("\n", 1)[0].rstrip(".")
