"""Connections: engines from a URL, with our dialect and time zone."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from pipeline.database.connection_errors import translate_error
from pipeline.database.poolers import SessionSettings
from pipeline.errors import CatalogueError

SESSION_OPTIONS = {"timezone": "UTC", "jit": "off"}


def make_engine(url: str, *, prepare: bool = True) -> Engine:
    """An engine for the command line and the flows, on psycopg; `prepare` allows statements prepared on the server."""
    engine = create_engine(sqlalchemy_url(url), pool_pre_ping=True)
    SessionSettings(engine, SESSION_OPTIONS, prepare=prepare)
    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[psycopg.Connection[TupleRow]]:
    """One transaction on the driver's own connection, which can COPY; TransientError when the database is away."""
    with translate_errors():
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
    """One transaction; TransientError when the database is away, CatalogueError when it lets nobody in."""
    with translate_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what keeps us from using the database into errors of ours: TransientError where it may pass."""
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        if (explanation := translate_error(error)) is None:
            raise
        raise explanation from error


def driver_connection(connection: Connection) -> psycopg.Connection[TupleRow]:
    """The driver's own connection, in the same transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


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
