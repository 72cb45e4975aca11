"""Migrates the schema: Alembic runs the scripts of `sql/migrations` in one transaction."""

from collections.abc import Callable

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.database.connection_errors import database_reason, translate_error
from pipeline.database.engine import begin
from pipeline.database.privileges import grant_to_readers, prepare_database
from pipeline.database.schema_version import (
    SCRIPTS,
    current_revision,
    is_up_to_date,
    newest_revision,
)
from pipeline.errors import CatalogueError

LOCK = 0x7261_7374
"""Key of the advisory lock that prevents two migrations at the same time ("rast" in ASCII)."""

Revisions = tuple[str | None, str | None]
"""The revisions before and after a step; None means a database without a schema."""


def migrate(engine: Engine, revision: str = "head") -> Revisions:
    """Upgrade the schema to a revision. Raises CatalogueError."""
    if revision == "head" and is_up_to_date(engine):
        return newest_revision(), newest_revision()
    return _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> Revisions:
    """Downgrade the schema to a revision, to `base`, or by a number of steps such as `-1`. Raises CatalogueError."""
    return _run(engine, command.downgrade, revision)


def _run(engine: Engine, step: Callable[[Config, str], None], revision: str) -> Revisions:
    with begin(engine) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        before = current_revision(connection)
        config = Config(attributes={"connection": connection})
        for option, value in {
            "script_location": SCRIPTS,
            "version_locations": SCRIPTS / "migrations",
            "path_separator": "newline",
        }.items():
            config.set_main_option(option, str(value).replace("%", "%%"))
        try:
            if step is command.upgrade:
                prepare_database(connection)
            step(config, revision)
            if current_revision(connection) == newest_revision():
                grant_to_readers(connection)
        except CommandError as error:
            raise CatalogueError(f"the schema cannot be changed to {revision}: {error}") from error
        except (psycopg.Error, DBAPIError) as error:
            if translate_error(error):
                raise
            raise CatalogueError(
                f"the schema cannot be changed to {revision}: {database_reason(error)}; "
                "connect as the role that owns the tables"
            ) from error
        return before, current_revision(connection)
