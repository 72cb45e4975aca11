"""Records which sources.toml files an operator serves. Runs of deployments may read only these."""

from pathlib import Path

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.engine import execute
from pipeline.database.tables import served_configs
from pipeline.errors import CatalogueError


def record_config(engine: Engine, config: Path, *, create: bool) -> None:
    """Allow runs of deployments to read a sources.toml; with `create` they may add organisations and suppliers."""
    statement = insert(served_configs).values(path=str(config), may_create=create)
    newer = {"may_create": create, "served": func.now()}
    execute(engine, statement.on_conflict_do_update(index_elements=["path"], set_=newer))


def forget_config(engine: Engine, config: Path) -> None:
    """Forbid runs of deployments to read a sources.toml."""
    execute(engine, delete(served_configs).where(served_configs.c.path == str(config)))


def may_create(engine: Engine, config: Path) -> bool:
    """Return whether runs of a sources.toml may add organisations and suppliers.

    Paths are compared as texts, and the file is not opened. Raises CatalogueError if no operator serves it.
    """
    query = select(served_configs.c.may_create).where(served_configs.c.path == str(config))
    rows = execute(engine, query)
    if not rows:
        raise CatalogueError(
            f"no operator serves {config}; serve it with `rastersources up`, `rastersources flow schedule` or "
            "`rastersources flow deploy`, or sync it by hand with `rastersources sync --config FILE`"
        )
    return bool(rows[0].may_create)
