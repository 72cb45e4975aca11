"""Run SQL on the catalogue of a test, each statement in its own transaction."""

from typing import Any

from sqlalchemy import Engine, text


def rows(engine: Engine, query: str, **values: Any) -> list[Any]:
    """Return the rows of a query. A row has attributes by column, and equals the tuple of its values."""
    with engine.connect() as connection:
        return list(connection.execute(text(query), values))


def scalars(engine: Engine, query: str, **values: Any) -> list[Any]:
    """Return the first column of a query."""
    with engine.connect() as connection:
        return list(connection.execute(text(query), values).scalars())


TABLES = (
    "layers", "label_types", "scenarios", "raster_sources", "upload_files", "rejected_files", "tombstones", "moves",
    "sync_runs", "definitions", "organisations", "users",
)  # fmt: skip
"""The tables that tests fill, each before those that it refers to."""


def empty_catalogue(engine: Engine) -> None:
    """Delete the rows of earlier tests; for a few rows this is much faster than TRUNCATE, which makes new files."""
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"DELETE FROM {table}"))


def execute(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)
