"""Translates errors of the connection to the database into messages with advice."""

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from pipeline.errors import CatalogueError, RastersourcesError, TransientError

CORRECT = "correct RASTERSOURCES_DATABASE_URL"
READ_ONLY = (
    "the database accepts no changes, because it is a read-only standby or default_transaction_read_only is on; "
    "set RASTERSOURCES_DATABASE_URL to the primary"
)
TRANSACTION_POOLING = (
    "this needs a session, but the connection pooler uses another session for each transaction; set "
    "RASTERSOURCES_DATABASE_URL to the database itself, or to a pooler in session mode"
)
CONNECTION_PROBLEMS = {
    r'database "(.*)" does not exist|no such database: (\S+)': f'there is no database "{{}}"; create it, or {CORRECT}',
    r'role "(.*)" does not exist|no such user: (\S+)': (
        f'there is no role "{{}}"; ask an administrator to run CREATE ROLE "{{}}" LOGIN, or {CORRECT}'
    ),
    r'role "(.*)" is not permitted to log in': (
        'the role "{}" may not log in; ask an administrator to run ALTER ROLE "{}" LOGIN, or '
        + CORRECT
    ),
    r'password authentication failed for user "(.*)"': (
        f'the password of "{{}}" is wrong; {CORRECT}, or the line in ~/.pgpass'
    ),
    r"no password supplied": f"the database requires a password; {CORRECT}, or add a line to ~/.pgpass",
    r'(?:[Pp]eer|Ident) authentication failed for user "(.*)"': (
        'only the operating system user "{}" may connect to the database as "{}"; '
        f"{CORRECT}, or ask an administrator to change pg_hba.conf"
    ),
    r'(?:no pg_hba.conf entry for|pg_hba.conf rejects connection for) host "[^"]*", user "([^"]*)"': (
        'the database accepts no connection as "{}" from this machine; ask an administrator to change pg_hba.conf'
    ),
    r'permission denied for database "(.*)"': (
        'this role may not connect to the database "{}"; ask an administrator to run GRANT CONNECT ON DATABASE "{}" TO '
        "and the name of the role"
    ),
    r'could not translate host name "(.*?)" to address|failed to resolve host \'(.*?)\'': (
        f'the host name "{{}}" of the database is unknown; {CORRECT}'
    ),
    r"Name or service not known|No address associated|Temporary failure in name resolution|nodename nor servname": (
        f"the host name of the database is unknown; {CORRECT}"
    ),
    r'invalid (?:connection|URI) (?:option|query parameter:?) "(.*?)"': (
        f'"{{}}" is not an option of a connection; {CORRECT}'
    ),
    r"bad value for|invalid integer value|invalid port number|invalid sslmode value": (
        f"an option of the connection has an invalid value; {CORRECT}"
    ),
}
"""Pattern -> message; the groups of the pattern are inserted into the message.

The patterns match the English messages of PostgreSQL, psycopg and PgBouncer.
"""
NO_CONNECTION_LEFT = re.compile(
    r"too many clients|remaining connection slots|too many connections for|no more connections allowed"
)
NO_CONNECTION_LEFT_FOR = re.compile(r'too many connections for (role|database) "(.*)"')
NO_TEMPORARY_TABLES = re.compile(r'permission denied to create temporary tables in database "(.*)"')


def translate_error(error: psycopg.Error | DBAPIError) -> RastersourcesError | None:
    """Return an error with advice; None if the database was reached and accepts changes."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return CatalogueError(READ_ONLY)
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return CatalogueError(explain_missing_privilege(str(cause)))
    is_of_url = isinstance(cause, psycopg.ProgrammingError) and cause.sqlstate is None
    if not (is_of_url or isinstance(cause, psycopg.OperationalError)):
        return None
    message = str(cause)
    if match := NO_CONNECTION_LEFT_FOR.search(message):
        kind, name = match.groups()
        return TransientError(
            f'the {kind} "{name}" has no free connection; try again later, or ask an administrator to run '
            f'ALTER {kind.upper()} "{name}" CONNECTION LIMIT and a larger number'
        )
    if NO_CONNECTION_LEFT.search(message):
        return TransientError(
            "the database has no free connection; try again later, or ask an administrator to raise max_connections"
        )
    for pattern, sentence in CONNECTION_PROBLEMS.items():
        if match := re.search(pattern, message):
            # If the password in a URL contains an @, the host name begins with a part of the password.
            name = next(filter(None, match.groups()), "").rpartition("@")[2]
            return CatalogueError(sentence.replace("{}", name))
    if is_of_url:
        return None  # a bug in this program
    return TransientError(
        f"the database does not answer; try again later, or check its URL ({first_line(message)})"
    )


def explain_missing_privilege(message: str) -> str:
    """Return a message with advice for a role that lacks a privilege."""
    if match := NO_TEMPORARY_TABLES.search(message):
        return (
            "this role may not create temporary tables, which a comparison of files needs; ask an administrator to run "
            f'GRANT TEMPORARY ON DATABASE "{match[1]}" TO and the name of the role'
        )
    return (
        f"the role of RASTERSOURCES_DATABASE_URL lacks a privilege ({first_line(message)}); connect as the owner of "
        "the tables, or ask an administrator to grant the privilege"
    )


def database_reason(error: Exception) -> str:
    """Return the message of the database without its context, which contains our statement."""
    return str(getattr(error, "orig", error)).partition("\n")[0]


def first_line(message: str) -> str:
    """Return the first line of a message of the database, without the address of the server."""
    lines = message.strip().splitlines()
    return lines[0].rpartition("failed: ")[2] if lines else "no reason given"
