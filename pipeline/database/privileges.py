"""Checks a database for what it must have, and reports the SQL that an administrator must run for missing parts."""

from typing import Any

import psycopg
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

QUERIES = queries("privileges")
EXTENSIONS = ("postgis", "pg_trgm")
OLDEST_SERVER = 15
"""The first PostgreSQL version whose views can apply the row-level security of the querying role (security_invoker)."""
READER_ROLE = "rastersources_reader"
GRANTS = (
    f"GRANT SELECT ON public_raster_sources, raster_sources, layers, label_types, scenarios TO {READER_ROLE}",
    f"GRANT SELECT ON stac_collections, stac_items, label_type_sources TO {READER_ROLE}",
    f"GRANT SELECT (source_id, times) ON raster_files TO {READER_ROLE}",
    f"GRANT SELECT (id, uuid, name) ON organisations TO {READER_ROLE}",
    f"GRANT SELECT (id, username) ON users TO {READER_ROLE}",
)
"""The privileges of users who query by SQL; row-level security restricts them to Public rows."""


def describe_server(connection: Connection) -> Row[Any]:
    """Return the facts of `describe_database`; raise CatalogueError for a server or database that cannot be used."""
    facts = connection.execute(QUERIES["describe_database"]).one()
    if facts.version < OLDEST_SERVER:
        raise CatalogueError(
            f"the database is PostgreSQL {facts.version}, but {OLDEST_SERVER} or newer is needed"
        )
    if facts.encoding != "UTF8":
        raise CatalogueError(
            f'the database "{facts.database}" stores text as {facts.encoding}; create one with: '
            f"CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8'"
        )
    return facts


def prepare_database(connection: Connection) -> None:
    """Create the missing extensions; raise CatalogueError with the SQL that this role may not run."""
    facts = describe_server(connection)
    if statements := [*_missing_grants(facts), *_missing_extensions(connection, facts)]:
        raise CatalogueError(
            f'the role "{facts.role}" cannot set up the database; ask an administrator to run in the database '
            f'"{facts.database}": {"; ".join(statements)}; then run this again'
        )


def require_owner(connection: Connection) -> None:
    """Raise CatalogueError for a role that would see only Public rows, because of row-level security."""
    if facts := connection.execute(QUERIES["find_other_owner"]).one_or_none():
        owner, role = facts
        raise CatalogueError(
            f'the tables belong to the role "{owner}", and the role "{role}" sees only Public rows; '
            f'connect as "{owner}", or ask an administrator to run: GRANT {_quote(owner)} TO {_quote(role)}'
        )


def grant_to_readers(connection: Connection) -> bool:
    """Grant the privileges of the reader role; return whether the role exists."""
    query = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)")
    if not connection.scalar(query, {"name": READER_ROLE}):
        return False
    for statement in GRANTS:
        connection.execute(text(statement))
    return True


def create_reader_role(connection: Connection) -> None:
    """Create the role for users who query by SQL; raise CatalogueError with the SQL if this role may not."""
    if grant_to_readers(connection):
        return
    statement = f"CREATE ROLE {READER_ROLE} NOLOGIN"
    if not _is_permitted(connection, statement):
        raise CatalogueError(
            f"this role may not create roles; ask an administrator to run: {statement}; then run this again"
        )
    grant_to_readers(connection)


def _missing_grants(facts: Row[tuple[object, ...]]) -> list[str]:
    role, database = _quote(facts.role), _quote(facts.database)
    statements = []
    if facts.schema is None:
        statements.append(
            f'ALTER ROLE {role} IN DATABASE {database} SET search_path = "$user", public'
        )
    elif not facts.may_create:
        statements.append(f"GRANT CREATE, USAGE ON SCHEMA {_quote(facts.schema)} TO {role}")
    if not facts.may_create_temporary:
        statements.append(f"GRANT TEMPORARY ON DATABASE {database} TO {role}")
    return statements


def _missing_extensions(connection: Connection, facts: Row[tuple[object, ...]]) -> list[str]:
    """Create the missing extensions; return the SQL for those that this role cannot create or cannot see."""
    installed = connection.execute(QUERIES["list_extensions"], {"names": list(EXTENSIONS)}).all()
    names = {extension.name for extension in installed}
    statements = [
        statement
        for extension in EXTENSIONS
        if extension not in names
        and not _is_permitted(connection, statement := f"CREATE EXTENSION {_quote(extension)}")
    ]
    if hidden := sorted({row.schema for row in installed if not row.is_in_path}):
        path = connection.scalar(text("SHOW search_path")) or "public"
        statements.append(
            f"ALTER ROLE {_quote(facts.role)} IN DATABASE {_quote(facts.database)} "
            f"SET search_path = {', '.join([path, *map(_quote, hidden)])}"
        )
    return statements


def _is_permitted(connection: Connection, statement: str) -> bool:
    """Run a statement; return False if the role may not run it. Raise CatalogueError if the extension is missing."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            return False
        missing = psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile
        if not isinstance(error.orig, missing):
            raise
        raise CatalogueError(
            f"the database server cannot run {statement}; ask an administrator to install the extension there "
            "(Debian and Ubuntu: apt install postgresql-postgis postgresql-contrib)"
        ) from error
    return True


def _quote(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return psycopg.sql.Identifier(name).as_string()
