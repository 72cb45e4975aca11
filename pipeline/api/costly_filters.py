"""Limits filters that can keep PostgreSQL busy for minutes: each has a time limit, and two requests run at once.

A regular expression or a geometry with many points can take any time. These queries run on separate connections, which
are closed afterwards, because a connection keeps up to 100 MB for each regular expression that it compiled.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import Row, Select, column, func, literal, select, values
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Executable

from pipeline.api.config import ApiConfig
from pipeline.api.database import (
    CANCELLED,
    DATA,
    ONE_STATE,
    new_database,
    sqlstate,
    translate_errors,
)
from pipeline.api.problems import Problem, invalid, unavailable
from pipeline.catalogue.filters import Filter, filters_by_parameter
from pipeline.database.connection_errors import database_reason

Result = TypeVar("Result")
ReadRows = Callable[[Executable], Awaitable[Sequence[Row[Any]]]]
"""Reads the rows of a statement."""

OPERATORS = {"regex": "~", "iregex": "~*"}
GEOMETRIES = ("geometry", "in_bbox", "bbox")
SIMPLE_COMMAS = 200
"""A geometry with more commas is costly; WKT has about one comma for each point."""
EXPRESSION_SECONDS = 2.0
"""Time limit of a query with a regular expression."""
GEOMETRY_SECONDS = 10.0
"""Time limit of a query with a costly geometry."""
SLOTS = 2
"""Maximum number of costly requests at once, in all processes that serve this database."""
SECONDS_TO_WAIT = 10.0
"""How long a request waits for a slot."""
SECONDS_AT_NORMAL_PRIORITY = 0.2
LOWEST_PRIORITY = 19
"""The nice value of the server process after that."""
CANCELLED_WHILE_COMPILED = "operation cancelled"
"""PostgreSQL's message when the time limit ends during compilation; it has the SQLSTATE of an invalid expression."""
SECONDS_BETWEEN_ATTEMPTS = 0.02
LOCK_KIND = 0x52454758
"""First key of our advisory locks ("REGX"); the second is the slot."""


@dataclass(frozen=True)
class Costly:
    """The costly value of a parameter, and its time limit."""

    text: str
    seconds: float
    """Time limit of the whole query."""
    advice: str
    """What the user can do when the time limit is exceeded."""
    operator: str = ""
    """The operator of a regular expression."""


def costly_in(query: Mapping[str, str], filters: tuple[Filter, ...]) -> dict[str, Costly]:
    """Return the costly parameters of a query string."""
    by_parameter, costly = filters_by_parameter(filters), {}
    for name, text in query.items():
        filter, lookup = by_parameter.get(name, (None, ""))
        if filter is None or not text:
            continue
        if lookup in OPERATORS:
            costly[name] = Costly(
                text, EXPRESSION_SECONDS, "write a simpler expression", OPERATORS[lookup]
            )
        elif filter.name in GEOMETRIES and text.count(",") > SIMPLE_COMMAS:
            costly[name] = Costly(text, GEOMETRY_SECONDS, "simplify the geometry")
    return costly


class CostlyQueries:
    """Runs queries with costly filters, two at a time."""

    def __init__(self, config: ApiConfig) -> None:
        self._engine = new_database(config, SLOTS).engine
        self._is_local = config.private_database
        self._queue = asyncio.Semaphore(SLOTS)
        """Requests of this process wait for this lock, so that few of them poll the database for a free slot."""

    async def run(
        self,
        costly: Mapping[str, Costly],
        work: Callable[[ReadRows], Awaitable[Result]],
        snapshot: str | None = None,
    ) -> Result:
        """Return the result of `work`; raise Problem 400 that names the slow parameters, 503 when too many wait.

        With the name of an exported `snapshot`, `work` sees the database in the state of that snapshot.
        """
        deadline = monotonic() + SECONDS_TO_WAIT
        try:
            await asyncio.wait_for(self._queue.acquire(), SECONDS_TO_WAIT)
        except TimeoutError as error:
            raise _busy() from error
        try:
            async with self._connect() as connection:
                return await _run_in_slot(connection, costly, work, deadline, snapshot)
        finally:
            self._queue.release()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection and close it at the end; raise Problem 503 when the database does not answer."""
        with translate_errors():
            async with self._engine.connect() as connection:
                async with connection.begin():
                    pid = (await connection.execute(select(func.pg_backend_pid()))).scalar_one()
                lowering = self._lower_priority_soon(pid)
                try:
                    yield connection
                finally:
                    lowering.cancel()
                    await connection.invalidate()

    def _lower_priority_soon(self, pid: int) -> asyncio.TimerHandle:
        """Schedule the lowest CPU priority for a server process of a private cluster on this machine."""

        def lower() -> None:
            if self._is_local:
                with suppress(OSError):  # the process belongs to another user, or has just ended
                    os.setpriority(os.PRIO_PROCESS, pid, LOWEST_PRIORITY)

        return asyncio.get_running_loop().call_later(SECONDS_AT_NORMAL_PRIORITY, lower)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


async def _run_in_slot(
    connection: AsyncConnection,
    costly: Mapping[str, Costly],
    work: Callable[[ReadRows], Awaitable[Result]],
    deadline: float,
    snapshot: str | None,
) -> Result:
    """Run `work` in a transaction that holds a slot; the slots are shared by all processes."""
    while True:
        async with connection.begin():
            if snapshot:
                await connection.exec_driver_sql(
                    f"{ONE_STATE}; SET TRANSACTION SNAPSHOT '{snapshot}'"
                )
            if (await connection.execute(_lock_free_slot())).first():
                return await _run_in_time(connection, costly, work)
        if monotonic() > deadline:
            raise _busy()
        await asyncio.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _lock_free_slot() -> Select[Any]:
    """Return the statement that locks a free slot until the transaction ends; it returns no row if none is free."""
    slots = values(column("slot"), name="slots").data([(slot,) for slot in range(SLOTS)])
    locked = func.pg_try_advisory_xact_lock(LOCK_KIND, slots.c.slot)
    return select(slots.c.slot).where(locked).limit(1)


async def _run_in_time(
    connection: AsyncConnection,
    costly: Mapping[str, Costly],
    work: Callable[[ReadRows], Awaitable[Result]],
) -> Result:
    seconds = min(value.seconds for value in costly.values())
    end = monotonic() + seconds

    async def read_rows(statement: Executable) -> Sequence[Row[Any]]:
        milliseconds = max(1, int(1000 * (end - monotonic())))
        limits = {"statement_timeout": milliseconds, "max_parallel_workers_per_gather": 0}
        set_limits = [func.set_config(name, str(value), True) for name, value in limits.items()]
        await connection.execute(select(*set_limits))
        return (await connection.execute(statement)).all()

    try:
        await _check_expressions(connection, read_rows, costly)
        return await work(read_rows)
    except DBAPIError as error:
        if sqlstate(error) != CANCELLED and CANCELLED_WHILE_COMPILED not in str(error.orig):
            raise
        sentence = f"Takes longer than {seconds:.0f} seconds; {{}}, or add other filters."
        raise invalid(
            {name: [sentence.format(value.advice)] for name, value in costly.items()}
        ) from error


async def _check_expressions(
    connection: AsyncConnection, read_rows: ReadRows, costly: Mapping[str, Costly]
) -> None:
    """Raise Problem 400 that names each regular expression that PostgreSQL rejects."""
    errors = {}
    for name, value in costly.items():
        if not value.operator:
            continue
        try:
            async with connection.begin_nested():
                await read_rows(select(literal("").bool_op(value.operator)(literal(value.text))))
        except DBAPIError as error:
            if not sqlstate(error).startswith(DATA) or CANCELLED_WHILE_COMPILED in str(error.orig):
                raise
            errors[name] = [f"A value is not usable: {database_reason(error).rstrip('.')}."]
    if errors:
        raise invalid(errors)


def _busy() -> Problem:
    return unavailable(
        "Other costly filters are running; try again later, or without regular expressions and large geometries."
    )
