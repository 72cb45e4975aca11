"""Finds the revision of a database's schema without Alembic, because nearly every command needs it at its start."""

import re
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from pipeline.database.engine import begin
from pipeline.database.privileges import require_owner
from pipeline.errors import CatalogueError

SCRIPTS = Path(__file__).resolve().parents[2] / "sql"
UNRELEASED = re.compile(r"\d{4}")
"""Revisions before the first release; they are numbers without a name."""


def is_up_to_date(engine: Engine) -> bool:
    """Return whether the schema has the newest revision.

    Raises CatalogueError for a role that does not own the tables, and for a schema that cannot be migrated.
    """
    with begin(engine) as connection:
        revision = current_revision(connection)
        require_owner(connection)
    return revision == newest_revision()


def newest_revision() -> str:
    """Return the newest revision of `sql/migrations`: the names of its files are the revisions."""
    return max(path.stem for path in (SCRIPTS / "migrations").glob("*.py"))


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the schema; None for a database without a schema.

    Raises CatalogueError for a schema from before the first release.
    """
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if revision and UNRELEASED.fullmatch(revision):
        raise CatalogueError(
            f"the schema of this database (revision {revision}) is older than the first release and cannot be "
            "migrated; create a new database, or set RASTERSOURCES_HOME to a new folder, and register the files again"
        )
    return revision
