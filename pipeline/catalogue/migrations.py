"""Bring the schema to a version: the SQL files of `sql/versions`, run by Alembic in one transaction."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, text

from pipeline.catalogue.database import begin
from pipeline.errors import CatalogueError

SCRIPTS = Path(__file__).resolve().parents[2] / "sql"
LOCK = 0x7261_7374
"""Advisory lock that keeps two migrations from running at once ("rast" in ASCII)."""


Step = Callable[[Engine, str], tuple[str | None, str | None]]
"""Moves the schema to a revision; the revisions before and after."""


def migrate(engine: Engine, revision: str = "head") -> tuple[str | None, str | None]:
    """Upgrade to a revision; the revisions before and after."""
    return _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> tuple[str | None, str | None]:
    """Downgrade to a revision, `base` or a relative one such as `-1`; the revisions before and after."""
    return _run(engine, command.downgrade, revision)


def _run(
    engine: Engine, step: Callable[[Config, str], None], revision: str
) -> tuple[str | None, str | None]:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with begin(engine) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context = MigrationContext.configure(connection)
        before = context.get_current_revision()
        if before == ScriptDirectory.from_config(config).get_current_head() and revision == "head":
            return before, before
        config.attributes["connection"] = connection
        try:
            step(config, revision)
        except CommandError as error:
            raise CatalogueError(f"the schema cannot be taken to {revision}: {error}") from error
        return before, context.get_current_revision()
