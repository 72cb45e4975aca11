"""Which sources.toml files an operator serves: the runs of deployments may read no other."""

from pathlib import Path

from sqlalchemy import Engine

from pipeline.database.engine import transaction
from pipeline.errors import CatalogueError

RECORD = """
    INSERT INTO served_configs (path, may_create) VALUES (%s, %s)
    ON CONFLICT (path) DO UPDATE SET may_create = excluded.may_create, served = now()
"""


def record_config(engine: Engine, config: Path, *, create: bool) -> None:
    """Let deployments' runs read a sources.toml; `create` says whether they add organisations and suppliers."""
    with transaction(engine) as connection:
        connection.execute(RECORD, (str(config), create))


def forget_config(engine: Engine, config: Path) -> None:
    """Let deployments' runs no longer read a sources.toml."""
    with transaction(engine) as connection:
        connection.execute("DELETE FROM served_configs WHERE path = %s", (str(config),))


def may_create(engine: Engine, config: Path) -> bool:
    """Whether runs of this sources.toml add organisations and suppliers.

    Raises CatalogueError when nobody serves the file. Paths are compared as texts: the file is not looked at.
    """
    query = "SELECT may_create FROM served_configs WHERE path = %s"
    with transaction(engine) as connection:
        row = connection.execute(query, (str(config),)).fetchone()
    if row is None:
        raise CatalogueError(
            f"no operator serves {config}; serve it with `rastersources up`, `python -m flows schedule` or "
            "`rastersources deploy`, or sync it by hand with `rastersources sync --config FILE`"
        )
    return bool(row[0])
