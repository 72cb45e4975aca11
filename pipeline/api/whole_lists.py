"""Reads the whole list of raster sources in batches, from a cursor in a repeatable-read transaction.

A client that reads slowly keeps the transaction open. This holds a connection and keeps PostgreSQL from removing dead
rows. So only a few transactions are open at once, and each has a time limit.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from psycopg import AsyncRawCursor, AsyncRawServerCursor
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.config import ApiConfig
from pipeline.api.costly_filters import Costly, CostlyQueries, ReadRows
from pipeline.api.database import ONE_STATE, Database, connection_slots, translate_errors
from pipeline.api.prepared_reads import driver_of
from pipeline.api.problems import unavailable
from pipeline.api.resources.json_rows import filter_values, shape_of
from pipeline.api.resources.whole_list import ENTITY, Write, count_query, rows_query
from pipeline.api.selection import ListQuery
from pipeline.catalogue.access import Caller
from pipeline.catalogue.select_rows import matching_rows
from pipeline.database.queries import NumberedQuery
from pipeline.database.tables import raster_sources

SHARE = 0.2
"""Share of the connections that whole lists may use."""
SECONDS_TO_WAIT = 10.0
"""How long a request waits for other lists to end."""
ROWS_AT_ONCE = 1000
"""Rows that are fetched at once; this bounds the memory of a list."""
Batch = Sequence[tuple[Any, ...]]


class TookTooLong(Exception):
    """The time limit of a list ended; we break the connection, so that no client takes the list for complete."""


@dataclass(frozen=True)
class ListRequest:
    """The rows that a client requests."""

    selection: ListQuery
    costly: Mapping[str, Costly]
    caller: Caller
    values: Mapping[str, Any]
    """The parameters of every statement."""


class ListReader:
    """Reads the rows of a request in a transaction that sees one state of the database."""

    def __init__(
        self, connection: AsyncConnection, request: ListRequest, costly: CostlyQueries, deadline: float
    ) -> None:  # fmt: skip
        self._connection, self._request, self._costly = connection, request, costly
        self._deadline = deadline
        self._ids: list[int] | None = None
        """The ids of the rows that costly filters found; None without such filters."""

    async def count(self, most: int) -> int:
        """Return the number of rows that match; with costly filters at most `most` + 1."""
        request = self._request
        if request.costly:
            self._ids = await self._find_ids(most + 1)
            return len(self._ids)
        query = count_query(shape_of(request.selection), request.caller.logged_in)
        cursor = AsyncRawCursor(await driver_of(self._connection))
        await cursor.execute(query.text, self._values(query))
        row = await cursor.fetchone()
        assert row
        return int(row[0])

    async def batches(self, write: Write) -> AsyncGenerator[Batch, None]:
        """Yield the rows in order. Raises TookTooLong and errors of the database."""
        request = self._request
        shape = shape_of(request.selection) if self._ids is None else None
        query = rows_query(write, shape, request.selection.ordering, request.caller.logged_in)
        async with AsyncRawServerCursor(await driver_of(self._connection), "rows") as cursor:
            await cursor.execute(query.text, self._values(query))
            while rows := await cursor.fetchmany(ROWS_AT_ONCE):
                yield rows
                if monotonic() > self._deadline:
                    raise TookTooLong

    def _values(self, query: NumberedQuery) -> list[Any]:
        values = {
            **self._request.values,
            **filter_values(self._request.selection),
            "ids": self._ids,
        }
        return [values[name] for name in query.names]

    async def _find_ids(self, limit: int) -> list[int]:
        """Return the ids that costly filters find in this snapshot. Raises the problems of CostlyQueries."""
        request = self._request
        name = await self._connection.scalar(select(func.pg_export_snapshot()))
        conditions = request.selection.where(request.caller)
        matching = matching_rows(
            ENTITY, [raster_sources.c.id], ENTITY.visible(request.caller), conditions
        )

        async def work(read_rows: ReadRows) -> list[int]:
            return [row.id for row in await read_rows(matching.limit(limit))]

        return await self._costly.run(request.costly, work, snapshot=name)


class WholeLists:
    """Opens the transactions of whole lists."""

    def __init__(self, config: ApiConfig, database: Database, costly: CostlyQueries) -> None:
        self._database, self._costly, self._seconds = database, costly, config.list_seconds
        self._slots = connection_slots(config, SHARE)

    @asynccontextmanager
    async def open(self, request: ListRequest) -> AsyncIterator[ListReader]:
        """Open a transaction; raise Problem 503 when too many are open or the database does not answer."""
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT):
                await self._slots.acquire()
        except TimeoutError as error:
            raise unavailable("Other whole lists are being sent; try again later.") from error
        try:
            with translate_errors():
                async with self._connect() as connection:
                    deadline = monotonic() + self._seconds
                    yield ListReader(connection, request, self._costly, deadline)
        finally:
            self._slots.release()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.engine.connect() as connection:
            try:
                async with connection.begin():
                    await connection.exec_driver_sql(
                        f"{ONE_STATE}; SET LOCAL idle_in_transaction_session_timeout = '{self._seconds + 60:.0f}s'"
                    )
                    yield connection
            except BaseException:  # the connection may be in the middle of a query
                await connection.invalidate()
                raise
