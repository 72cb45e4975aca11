"""SQL on the catalogue of a test, in transactions of its own."""

from typing import Any

from sqlalchemy import Engine, text


def rows(engine: Engine, query: str, **values: Any) -> list[Any]:
    """Each has its columns by name, and equals the tuple of them."""
    with engine.connect() as connection:
        return list(connection.execute(text(query), values))


TABLES = (
    "layers", "label_types", "scenarios", "raster_sources", "upload_files", "rejected_files", "tombstones", "moves",
    "sync_runs", "definitions", "organisations", "users",
)  # fmt: skip
"""What tests leave, each table before those that it refers to."""


def empty_catalogue(engine: Engine) -> None:
    """Delete the rows of earlier tests; for a few rows much faster than TRUNCATE, which makes new files."""
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"DELETE FROM {table}"))


def execute(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)
