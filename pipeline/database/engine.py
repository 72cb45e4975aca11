"""Creates engines and transactions with the driver, time zone and errors of this project."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import URL, Connection, Engine, Executable, Row, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from pipeline.database.connection_errors import translate_error
from pipeline.database.poolers import SessionSettings
from pipeline.errors import CatalogueError

SESSION_OPTIONS = {"timezone": "UTC", "jit": "off"}


def make_engine(url: str, *, prepare: bool = True) -> Engine:
    """Return an engine on psycopg for the command line and the flows.

    `prepare` allows preparing statements on the server.
    """
    engine = create_engine(sqlalchemy_url(url), pool_pre_ping=True, use_native_hstore=False)
    SessionSettings(engine, SESSION_OPTIONS, prepare=prepare)
    return engine


def engine_of_run(engine: Engine, run: int) -> Engine:
    """Return an engine for a run; the database stores the id of the run with the rows that its transactions write."""
    return engine.execution_options(run=run)


@contextmanager
def open_engine(url: str, *, prepare: bool = True) -> Iterator[Engine]:
    """Yield an engine of `make_engine`, and close its connections at the end."""
    engine = make_engine(url, prepare=prepare)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def begin(engine: Engine) -> Iterator[Connection]:
    """Run a transaction. Raises the errors of `translate_errors`."""
    with translate_errors(), engine.begin() as connection:
        yield connection


def execute(engine: Engine, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Run one statement in a transaction of its own, and return its rows; raise as translate_errors does."""
    with begin(engine) as connection:
        result = connection.execute(statement, parameters)
        return result.all() if result.returns_rows else ()


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise TransientError when the database does not answer, CatalogueError when it rejects connections or changes."""
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        if translated := translate_error(error):
            raise translated from error
        raise


def driver_connection(connection: Connection) -> psycopg.Connection[TupleRow]:
    """Return the connection of psycopg, in the same transaction."""
    driver = connection.connection.dbapi_connection  # works for a detached connection too
    assert isinstance(driver, psycopg.Connection)
    return driver


def sqlalchemy_url(url: str) -> URL:
    """Return a postgresql:// URL with the driver psycopg; raise CatalogueError for any other URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL is not a URL; write postgresql://user@host/database"
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL must begin with postgresql://, because the database must be PostGIS"
        )
    return parsed.set(drivername="postgresql+psycopg")


def is_storable(text: str) -> bool:
    """Return whether a text is valid Unicode; names of files may not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
