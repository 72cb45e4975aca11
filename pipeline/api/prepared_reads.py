"""Runs prepared statements directly on psycopg: through SQLAlchemy each takes five times as long."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncRawCursor
from psycopg.rows import TupleRow
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.database import POOL_IS_BUSY, Database, translate_errors
from pipeline.api.problems import unavailable
from pipeline.database.queries import NumberedQuery


@dataclass(frozen=True)
class Reader:
    """One connection of the pool, which stays checked out."""

    connection: AsyncConnection
    driver: psycopg.AsyncConnection[TupleRow]
    cursor: AsyncRawCursor[TupleRow]


class PreparedReads:
    """A few readers; a new one is opened when all others are busy."""

    def __init__(self, database: Database, size: int, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._free: list[Reader] = []
        self._slots = asyncio.Semaphore(size)

    async def row(self, query: NumberedQuery, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Return the row of a query; raise Problem 503 when the database does not answer or is slow."""
        listed = [values[name] for name in query.names]
        with translate_errors():
            if self._database.sessions.pooled:
                return await self._row_through_pooler(query, listed)
            try:
                async with asyncio.timeout(self._seconds if self._slots.locked() else None):
                    await self._slots.acquire()
            except TimeoutError as error:
                raise unavailable(POOL_IS_BUSY) from error
            try:
                return await self._row(query, listed)
            finally:
                self._slots.release()

    async def _row(self, query: NumberedQuery, values: list[Any]) -> tuple[Any, ...] | None:
        """Run a query; repeat it on a new connection if the kept one was lost, as after a restart of PostgreSQL."""
        while self._free:
            reader = self._free.pop()
            try:
                return await self._run(reader, query, values)
            except psycopg.OperationalError:
                if not reader.driver.closed:
                    raise
        reader = await self._connect()
        if self._database.sessions.pooled:  # known after the first connection
            await reader.connection.close()
            return await self._row_through_pooler(query, values)
        return await self._run(reader, query, values)

    async def _run(
        self, reader: Reader, query: NumberedQuery, values: list[Any]
    ) -> tuple[Any, ...] | None:
        """Run a query and keep the reader, unless its connection is lost or the request was cancelled."""
        keep = False
        try:
            await reader.cursor.execute(query.text, values, prepare=query.prepare)
            row = await reader.cursor.fetchone()
            keep = True
        except psycopg.Error:
            keep = not reader.driver.closed
            raise
        finally:
            if keep:
                self._free.append(reader)
            else:
                await reader.connection.invalidate()
                await reader.connection.close()
        return row

    async def _connect(self) -> Reader:
        connection = await self._database.autocommit.connect()
        driver = await driver_of(connection)
        return Reader(connection, driver, AsyncRawCursor(driver))

    async def _row_through_pooler(
        self, query: NumberedQuery, values: list[Any]
    ) -> tuple[Any, ...] | None:
        """Run a query unprepared in its own transaction, because a pooler assigns a session to a transaction."""
        async with self._database.engine.begin() as connection:
            cursor = AsyncRawCursor(await driver_of(connection))
            await cursor.execute(query.text, values, prepare=False)
            return await cursor.fetchone()

    async def close(self) -> None:
        """Return all connections to the pool."""
        while self._free:
            await self._free.pop().connection.close()


async def driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[TupleRow]:
    """Return psycopg's own connection."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver
