"""Connections: engines from a URL, with our dialect and time zone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from pipeline.errors import CatalogueError, TransientError

OPTIONS = "-c timezone=UTC -c jit=off"


def sync_engine(url: str) -> Engine:
    """An engine for the command line and the flows, on psycopg."""
    return create_engine(sqlalchemy_url(url), connect_args={"options": OPTIONS}, pool_pre_ping=True)


def follow(engine: Engine, locate: Callable[[], str]) -> None:
    """Make every new connection at the place that the database has then, such as a private cluster after a restart."""

    def connect_there(dialect: Dialect, _: object, __: object, parameters: dict[str, Any]) -> None:
        try:
            there = sqlalchemy_url(locate())
        except CatalogueError as error:
            raise psycopg.OperationalError(str(error)) from error
        parameters.update(dialect.create_connect_args(there)[1])

    event.listen(engine, "do_connect", connect_there)


@contextmanager
def transaction(engine: Engine) -> Iterator[psycopg.Connection[TupleRow]]:
    """One transaction on the driver's own connection, which can COPY; TransientError when the database is away."""
    with translated():
        pooled = engine.raw_connection()
        try:
            connection = pooled.driver_connection
            assert isinstance(connection, psycopg.Connection)
            with connection.transaction():
                yield connection
        except psycopg.OperationalError as error:
            if not pooled.driver_connection or pooled.driver_connection.closed:
                pooled.invalidate(error)  # nothing can be rolled back on it
            raise
        finally:
            pooled.close()


@contextmanager
def begin(engine: Engine) -> Iterator[Connection]:
    """One transaction; TransientError when the database is away."""
    with translated(), engine.begin() as connection:
        yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turns the errors of a database that is away, or that asks to try again, into TransientError."""
    try:
        yield
    except (psycopg.OperationalError, OperationalError) as error:
        raise TransientError(
            f"the database does not answer; try again when it does ({reason(error)})"
        ) from error


def reason(error: Exception) -> str:
    """The first line of what the database says, without the address that it was asked at."""
    cause = error.orig if isinstance(error, OperationalError) else error
    return (
        str(cause).strip().splitlines()[0].rpartition("failed: ")[2]
        if str(cause).strip()
        else "no reason given"
    )


def sqlalchemy_url(url: str) -> URL:
    """A postgresql:// URL for the driver that we use; raises CatalogueError for any other."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL is no URL; it reads postgresql://user@host/database"
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL must begin with postgresql://, for PostGIS is the one database"
        )
    return parsed.set(drivername="postgresql+psycopg")


def is_storable(text: str) -> bool:
    """Whether the database can hold a text at all: names of files may be no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
