"""SQL on the catalogue of a test, in transactions of its own."""

from typing import Any

from sqlalchemy import Engine, text


def rows(engine: Engine, query: str, **values: Any) -> list[Any]:
    """Each has its columns by name, and equals the tuple of them."""
    with engine.connect() as connection:
        return list(connection.execute(text(query), values))


def execute(engine: Engine, statement: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)
