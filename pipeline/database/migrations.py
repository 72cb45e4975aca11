"""Bring the schema to a version: the SQL files of `sql/versions`, run by Alembic in one transaction."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pipeline.database.connection_errors import translate_error
from pipeline.database.engine import begin, driver_connection
from pipeline.database.privileges import grant_to_readers, prepare_database, require_owner
from pipeline.errors import CatalogueError

SCRIPTS = Path(__file__).resolve().parents[2] / "sql"
LOCK = 0x7261_7374
"""Advisory lock that keeps two migrations from running at once ("rast" in ASCII)."""

Step = Callable[[Engine, str], tuple[str | None, str | None]]
"""Moves the schema to a revision; the revisions before and after."""


def migrate(engine: Engine, revision: str = "head") -> tuple[str | None, str | None]:
    """Upgrade to a revision; the revisions before and after."""
    if revision == "head":
        with begin(engine) as connection:
            current = current_revision(connection)
            require_owner(driver_connection(connection))
        if current == newest_revision():
            return current, current  # at nearly every start, so that it does without Alembic
    return _run(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> tuple[str | None, str | None]:
    """Downgrade to a revision, `base` or a relative one such as `-1`; the revisions before and after."""
    return _run(engine, "downgrade", revision)


def newest_revision() -> str:
    """The newest revision; files are named by theirs."""
    return max(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("*.up.sql"))


def current_revision(connection: Connection) -> str | None:
    """The revision of the schema; None where there is none."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _run(
    engine: Engine, direction: Literal["upgrade", "downgrade"], revision: str
) -> tuple[str | None, str | None]:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    step = command.upgrade if direction == "upgrade" else command.downgrade
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with begin(engine) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        before = current_revision(connection)
        config.attributes["connection"] = connection
        driver = driver_connection(connection)
        try:
            if direction == "upgrade":
                prepare_database(driver)
            step(config, revision)
            if current_revision(connection) == newest_revision():
                grant_to_readers(driver)
        except CommandError as error:
            raise CatalogueError(f"the schema cannot be taken to {revision}: {error}") from error
        except (psycopg.Error, DBAPIError) as error:
            if translate_error(error):
                raise
            said = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
            raise CatalogueError(
                f"the schema cannot be taken to {revision}: the database says: {said}; "
                "connect as the role that owns its tables"
            ) from error
        return before, current_revision(connection)
