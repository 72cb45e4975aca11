"""Filters that can keep PostgreSQL busy for long: they have a time of their own, and few run at once in all.

A regular expression, or a geometry of many points, costs as long as it may. So these queries run on connections of
their own, which are closed afterwards: a compiled expression stays in the memory of its connection, up to 100 MB each.
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
from pipeline.api.database import CANCELLED, DATA, first_line, new_database, sqlstate, translated
from pipeline.api.problems import Problem, invalid
from pipeline.catalogue.filters import Filter, filters_by_parameter

Result = TypeVar("Result")
Rows = Callable[[Executable], Awaitable[Sequence[Row[Any]]]]
"""Reads the rows of a statement."""

OPERATORS = {"regex": "~", "iregex": "~*"}
GEOMETRIES = ("geometry", "in_bbox", "bbox")
SIMPLE = 200
"""Commas in a geometry, some one for each of its points, up to which it is not costly."""
AT_ONCE = 2
"""Costly requests that run at once, in all processes that serve this database."""
SECONDS_TO_WAIT = 10.0
"""What a request waits for its turn."""
SECONDS_AT_FULL_SPEED = 0.2
NICE = 19
"""The lowest priority, which their connections have afterwards."""
CANCELLED_WHILE_COMPILED = "operation cancelled"
"""What PostgreSQL says of an expression, as of an invalid one, when its time ended before it was compiled."""
SECONDS_BETWEEN_LOOKS = 0.02
LOCK_KIND = 0x52454758
"""First number of our advisory locks ("REGX"); the second is that of the place."""


@dataclass(frozen=True)
class Costly:
    """The value of a parameter that is costly, and what it may cost."""

    text: str
    seconds: float
    """What a request may take with it, the rest of its query included."""
    advice: str
    """What to do when that does not suffice."""
    operator: str = ""
    """That of a regular expression."""


def costly_in(query: Mapping[str, str], filters: tuple[Filter, ...]) -> dict[str, Costly]:
    """Parameter -> its value, for those that are costly."""
    known, found = filters_by_parameter(filters), {}
    for name, text in query.items():
        one, lookup = known.get(name, (None, ""))
        if one is None or not text:
            continue
        if lookup in OPERATORS:
            found[name] = Costly(text, 2.0, "write a simpler expression", OPERATORS[lookup])
        elif one.name in GEOMETRIES and text.count(",") > SIMPLE:
            found[name] = Costly(text, 10.0, "simplify the geometry")
    return found


class CostlyQueries:
    """Runs queries with costly filters, a few at a time."""

    def __init__(self, config: ApiConfig) -> None:
        self._engine = new_database(config, AT_ONCE).engine
        self._is_local = config.private_database
        self._turns = asyncio.Semaphore(AT_ONCE)
        """Those of this process wait here in their order, so that few ask the database whether a place is free."""

    async def run(
        self, costly: Mapping[str, Costly], work: Callable[[Rows], Awaitable[Result]]
    ) -> Result:
        """What work makes of rows; raises Problem 400 that names what costs too much, 503 when many wait."""
        patience = monotonic() + SECONDS_TO_WAIT
        try:
            await asyncio.wait_for(self._turns.acquire(), SECONDS_TO_WAIT)
        except TimeoutError as error:
            raise _busy() from error
        try:
            async with self._connect() as connection:
                return await _take_place(connection, costly, work, patience)
        finally:
            self._turns.release()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        """A new connection, closed at the end; raises Problem 503 when the database is away."""
        with translated():
            async with self._engine.connect() as connection:
                stepping_back = self._step_back(await _process_of(connection))
                try:
                    yield connection
                finally:
                    stepping_back.cancel()
                    await connection.invalidate()

    def _step_back(self, process: int) -> asyncio.TimerHandle:
        """Soon let everything else on this machine go first, where the database is a private cluster on it."""

        def lower() -> None:
            if self._is_local:
                with suppress(OSError):  # another user's process, or one that has just ended
                    os.setpriority(os.PRIO_PROCESS, process, NICE)

        return asyncio.get_running_loop().call_later(SECONDS_AT_FULL_SPEED, lower)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


async def _process_of(connection: AsyncConnection) -> int:
    """The number of the process that serves a connection."""
    async with connection.begin():
        number: int = (await connection.execute(select(func.pg_backend_pid()))).scalar_one()
    return number


async def _take_place(
    connection: AsyncConnection,
    costly: Mapping[str, Costly],
    work: Callable[[Rows], Awaitable[Result]],
    patience: float,
) -> Result:
    """Run work in a transaction that holds one of the places, which other processes see too."""
    while True:
        async with connection.begin():
            if (await connection.execute(_free_place())).first():
                return await _run_in_time(connection, costly, work)
        if monotonic() > patience:
            raise _busy()
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _free_place() -> Select[Any]:
    """One row once a place is taken, until the transaction ends."""
    places = values(column("place"), name="places").data([(place,) for place in range(AT_ONCE)])
    taken = func.pg_try_advisory_xact_lock(LOCK_KIND, places.c.place)
    return select(places.c.place).where(taken).limit(1)


async def _run_in_time(
    connection: AsyncConnection,
    costly: Mapping[str, Costly],
    work: Callable[[Rows], Awaitable[Result]],
) -> Result:
    seconds = min(one.seconds for one in costly.values())
    end = monotonic() + seconds

    async def rows(statement: Executable) -> Sequence[Row[Any]]:
        milliseconds = max(1, int(1000 * (end - monotonic())))
        limits = {"statement_timeout": milliseconds, "max_parallel_workers_per_gather": 0}
        set_limits = [func.set_config(name, str(value), True) for name, value in limits.items()]
        await connection.execute(select(*set_limits))
        return (await connection.execute(statement)).all()

    try:
        await _check(connection, rows, costly)
        return await work(rows)
    except DBAPIError as error:
        if sqlstate(error) != CANCELLED and CANCELLED_WHILE_COMPILED not in str(error.orig):
            raise
        sentence = f"Takes longer than {seconds:.0f} seconds; {{}}, or add other filters."
        raise invalid(
            {name: [sentence.format(one.advice)] for name, one in costly.items()}
        ) from error


async def _check(connection: AsyncConnection, rows: Rows, costly: Mapping[str, Costly]) -> None:
    """Raises Problem 400 that names each expression that PostgreSQL, which has its own kind, cannot read."""
    errors = {}
    for name, one in costly.items():
        if not one.operator:
            continue
        try:
            async with connection.begin_nested():
                tried = literal("").bool_op(one.operator)(literal(one.text))
                await rows(select(tried))
        except DBAPIError as error:
            if not sqlstate(error).startswith(DATA) or CANCELLED_WHILE_COMPILED in str(error.orig):
                raise
            errors[name] = [f"A value is not usable: {first_line(error)}."]
    if errors:
        raise invalid(errors)


def _busy() -> Problem:
    return Problem(
        503,
        "Other costly filters are at work; try again later, or without regular expressions and large geometries.",
        headers={"Retry-After": "5"},
    )
