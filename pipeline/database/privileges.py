"""What a database must have that an ordinary role cannot make, and the SQL by which an administrator makes it."""

from typing import Any

import psycopg
from psycopg import sql

from pipeline.errors import CatalogueError

EXTENSIONS = ("postgis", "pg_trgm")
OLDEST_SERVER = 15
"""The first PostgreSQL whose views can keep to the row-level security of those who ask."""
READER_ROLE = "rastersources_reader"
FACTS = """
    SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_encoding'),
           current_database(), current_user, current_schema(),
           current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE'),
           has_database_privilege(current_database(), 'TEMPORARY')
"""
INSTALLED = """
    SELECT extname, nspname, nspname = ANY (current_schemas(true))
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = ANY (%s)
"""
STRANGER = """
    SELECT pg_get_userbyid(relowner), current_user FROM pg_class
    WHERE oid = to_regclass('raster_sources') AND row_security_active(oid)
"""
GRANTS = (
    "GRANT SELECT ON public_raster_sources, raster_sources, layers, label_types, scenarios TO {reader}",
    "GRANT SELECT (id, uuid, name) ON organisations TO {reader}",
    "GRANT SELECT (id, username) ON users TO {reader}",
)
"""What readers by SQL may ask; row-level security shows them Public rows only."""

Connection = psycopg.Connection[Any]


def prepare_database(connection: Connection) -> None:
    """Make the extensions that are missing; raises CatalogueError with the SQL for what this role may not make."""
    version, encoding, database, role, schema, may_create, may_temporary = _one(connection, FACTS)
    if version < OLDEST_SERVER:
        raise CatalogueError(
            f"the database is a PostgreSQL {version}; {OLDEST_SERVER} or newer is needed"
        )
    if encoding != "UTF8":
        raise CatalogueError(
            f'the database "{database}" stores text as {encoding}; make one with: '
            f"CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8'"
        )
    lacking: list[sql.Composable] = []
    if schema is None:
        names = _statement("ALTER ROLE {} IN DATABASE {}", role, database)
        lacking.append(names + sql.SQL(' SET search_path = "$user", public'))
    elif not may_create:
        lacking.append(_statement("GRANT CREATE, USAGE ON SCHEMA {} TO {}", schema, role))
    if not may_temporary:
        lacking.append(_statement("GRANT TEMPORARY ON DATABASE {} TO {}", database, role))
    lacking += _extensions(connection, database, role)
    if lacking:
        statements = "; ".join(one.as_string(connection) for one in lacking)
        raise CatalogueError(
            f'the role "{role}" cannot set up the database; let an administrator run in the database "{database}": '
            f"{statements}; then run this again"
        )


def require_owner(connection: Connection) -> None:
    """Raises CatalogueError for a role that would see Public rows only, as row-level security binds it."""
    if found := connection.execute(STRANGER).fetchone():
        owner, role = found
        raise CatalogueError(
            f'the tables belong to the role "{owner}", and as "{role}" Public rows only are to be seen; '
            f'connect as "{owner}", or let an administrator run: '
            + _statement("GRANT {} TO {}", owner, role).as_string(connection)
        )


def grant_to_readers(connection: Connection) -> bool:
    """Let the role of the readers see what it may, where there is such a role; whether there is."""
    if (
        connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER_ROLE,)).fetchone()
        is None
    ):
        return False
    for statement in GRANTS:
        connection.execute(sql.SQL(statement).format(reader=sql.Identifier(READER_ROLE)))
    return True


def create_reader_role(connection: Connection) -> None:
    """The role for people who query by SQL; raises CatalogueError with the SQL where this one may make no roles."""
    if grant_to_readers(connection):
        return
    try:
        with connection.transaction():
            connection.execute(_statement("CREATE ROLE {} NOLOGIN", READER_ROLE))
    except psycopg.errors.InsufficientPrivilege as error:
        raise CatalogueError(
            f"this role may make no roles; let an administrator run: "
            f"CREATE ROLE {READER_ROLE} NOLOGIN; then run this again"
        ) from error
    grant_to_readers(connection)


def _extensions(connection: Connection, database: str, role: str) -> list[sql.Composable]:
    """Make those that are missing; the SQL for those that this role cannot make or does not find."""
    installed = {
        name: (schema, seen)
        for name, schema, seen in connection.execute(INSTALLED, [list(EXTENSIONS)])
    }
    lacking: list[sql.Composable] = [
        _statement("CREATE EXTENSION {}", name)
        for name in EXTENSIONS
        if name not in installed and not _made(connection, name)
    ]
    hidden = sorted({schema for schema, seen in installed.values() if not seen})
    if hidden:
        (path,) = _one(connection, "SHOW search_path")
        path_and = sql.SQL(", ").join([sql.SQL(path or "public"), *map(sql.Identifier, hidden)])
        names = _statement("ALTER ROLE {} IN DATABASE {} SET search_path = ", role, database)
        lacking.append(names + path_and)
    return lacking


def _made(connection: Connection, extension: str) -> bool:
    """Whether an extension could be made; raises CatalogueError where the server does not have it."""
    try:
        with connection.transaction():
            connection.execute(_statement("CREATE EXTENSION {}", extension))
    except psycopg.errors.InsufficientPrivilege:
        return False
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise CatalogueError(
            f"the machine of the database does not have the extension {extension}; let an administrator install it "
            "there (Debian and Ubuntu: apt install postgresql-postgis postgresql-contrib)"
        ) from error
    return True


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*map(sql.Identifier, names))


def _one(connection: Connection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None
    return row
