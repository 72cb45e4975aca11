"""Connections: engines from a URL, with our dialect and time zone."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.errors import CatalogueError

OPTIONS = "-c timezone=UTC -c jit=off"


def sync_engine(url: str) -> Engine:
    """An engine for the command line and the flows, on psycopg."""
    return create_engine(sqlalchemy_url(url), connect_args={"options": OPTIONS}, pool_pre_ping=True)


def sqlalchemy_url(url: str):
    """A postgresql:// URL for the driver that we use; raises CatalogueError for any other."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL is no URL; it reads postgresql://user@host/database"
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise CatalogueError(
            "RASTERSOURCES_DATABASE_URL must begin with postgresql://, for PostGIS is the one database"
        )
    return parsed.set(drivername="postgresql+psycopg")
