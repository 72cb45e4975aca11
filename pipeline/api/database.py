"""The database connections of the API: an asynchronous pool that survives restarts of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import orjson
import psycopg
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql import Executable

from pipeline.api.config import ApiConfig
from pipeline.api.problems import Problem, unavailable
from pipeline.database.connection_errors import database_reason
from pipeline.database.engine import SESSION_OPTIONS, sqlalchemy_url
from pipeline.database.poolers import SessionSettings

Result = TypeVar("Result")
CANCELLED = "57014"
"""SQLSTATE of a query that exceeded its time limit."""
RETRIABLE = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and of a deadlock: the same transaction can succeed when it is repeated."""
AWAY = ("08", "57P", "53")
"""Classes of SQLSTATE: no connection, shutting down or starting, out of resources."""
DATA = ("22", "54")
"""Classes of SQLSTATE: a value that PostgreSQL cannot use, such as an invalid regular expression."""
READ_ONLY = "25006"
"""SQLSTATE of a write on a standby."""
CONFLICT = "23"
"""Class of SQLSTATE: a violated constraint, such as an organisation that was removed in the meantime."""
LOCKED = "55P03"
"""SQLSTATE of a lock that was not available within the time limit."""
ONE_STATE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
"""Begins a transaction whose statements all see the same state of the database."""
ATTEMPTS = 4
WRITER_SHARE, UPLOAD_SHARE = 0.4, 0.3
"""Shares of the connections that transactions of changes and of uploads may use."""
POOL_IS_BUSY = "All connections are in use; try again later."


class Database:
    """A pool of connections; the first request that needs one opens it."""

    stores = True
    """Whether writes are committed."""

    def __init__(
        self,
        engine: AsyncEngine,
        sessions: SessionSettings,
        writers: asyncio.Semaphore,
        seconds: float,
    ) -> None:
        self.engine, self.sessions = engine, sessions
        self._writers, self._seconds = writers, seconds
        self.autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def rows(self, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        """Run and commit one statement, in one round trip, and return all rows.

        A pooler needs a transaction, because the time limit is set for a transaction. Raises Problem 503 when the
        database does not answer or is slow.
        """
        with translate_errors():
            async with (
                self.begin() if self.sessions.pooled else self.autocommit.connect() as connection
            ):
                return (await connection.execute(statement, parameters)).all()

    async def execute(self, statement: Executable, **parameters: Any) -> None:
        """Run and commit one statement."""
        with translate_errors():
            async with self.begin() as connection:
                await connection.execute(statement, parameters)

    async def transaction(
        self,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        slots: asyncio.Semaphore | None = None,
    ) -> Result:
        """Run `work` in one transaction and commit it unless it raises; repeat it after a serialization failure.

        The transaction holds one of the writers' slots, or one of `slots`, so that transactions that wait for a lock
        leave connections for readers.
        """
        semaphore = slots or self._writers
        try:
            async with asyncio.timeout(self._seconds):
                await semaphore.acquire()
        except TimeoutError as error:
            raise unavailable("Too many changes are waiting; try again later.") from error
        try:
            return await self._attempt(work)
        finally:
            semaphore.release()

    async def _attempt(self, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        for attempt in range(ATTEMPTS):
            try:
                async with self.begin() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if sqlstate(error) not in RETRIABLE or attempt == ATTEMPTS - 1:
                    with translate_errors():
                        raise
            except PoolTimeout as error:
                raise unavailable(POOL_IS_BUSY) from error
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that is committed at the end of the block."""
        async with self.engine.begin() as connection:
            yield connection

    def dry_run(self) -> "DryRunDatabase":
        """Return the same pool with transactions that are rolled back."""
        return DryRunDatabase(self.engine, self.sessions, self._writers, self._seconds)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


class DryRunDatabase(Database):
    """The pool for a dry run: every statement runs in a transaction that is rolled back."""

    stores = False

    async def rows(self, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        """Return all rows of one statement and roll back its writes."""

        async def fetch(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement, parameters)).all()

        return await self.transaction(fetch)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that is rolled back at the end of the block."""
        async with self.engine.connect() as connection:
            yield connection
            await connection.rollback()


def new_database(config: ApiConfig, connections: int | None = None) -> Database:
    """Return a pool that tests connections before use, so that clients do not notice a restart of PostgreSQL."""
    engine = create_async_engine(
        sqlalchemy_url(config.database_url),
        connect_args={"connect_timeout": 5},
        pool_size=connections or config.connections + config.readers,
        max_overflow=0,
        pool_timeout=config.statement_timeout_seconds,
        pool_pre_ping=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    milliseconds = max(1, int(config.statement_timeout_seconds * 1000))
    options = {
        **SESSION_OPTIONS,
        "statement_timeout": str(milliseconds),
        "idle_in_transaction_session_timeout": "60s",
    }
    sessions = SessionSettings(engine.sync_engine, options, prepare=config.prepare)
    slots = connection_slots(config, WRITER_SHARE)
    return Database(engine, sessions, slots, config.statement_timeout_seconds)


def connection_slots(config: ApiConfig, share: float) -> asyncio.Semaphore:
    """Return a semaphore for a share of the connections."""
    return asyncio.Semaphore(max(1, int(config.connections * share)))


DatabaseError = DBAPIError | psycopg.Error
"""An error of PostgreSQL: as SQLAlchemy raises it, or as psycopg does."""


def original(error: DatabaseError) -> BaseException | None:
    """Return the error of psycopg."""
    return error.orig if isinstance(error, DBAPIError) else error


def sqlstate(error: DatabaseError) -> str:
    """Return the SQLSTATE of an error, five characters; empty when the connection itself failed."""
    return getattr(original(error), "sqlstate", None) or ""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise Problem for errors of the database that are not caused by a bug of ours."""
    try:
        yield
    except PoolTimeout as error:
        raise unavailable(POOL_IS_BUSY) from error
    except (DBAPIError, psycopg.Error) as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise problem from error


def problem_of(error: DatabaseError) -> Problem | None:
    """Return the answer to an error of the database; None for an error that a bug of ours causes."""
    state = sqlstate(error)
    if state == CANCELLED:
        return unavailable("The query took too long; ask for less, or try again later.")
    if state == READ_ONLY:
        return unavailable(
            "The database accepts no changes now, for example because it is a read-only standby; try again later."
        )
    connection_errors = psycopg.OperationalError | psycopg.InterfaceError
    is_lost = not state and isinstance(original(error), connection_errors)
    if state.startswith(AWAY) or state in RETRIABLE or is_lost:
        return unavailable()
    if state.startswith(CONFLICT):
        return Problem(
            400, "The change conflicts with the stored data; read them again and repeat the change."
        )
    if state.startswith(DATA):
        return Problem(400, f"A value is not usable: {database_reason(error).rstrip('.')}.")
    return None
