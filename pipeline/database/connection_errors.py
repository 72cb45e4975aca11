"""What a database says when it lets nobody in or takes no changes, as a sentence that says what to do about it."""

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from pipeline.errors import CatalogueError, RastersourcesError, TransientError

CORRECT = "correct RASTERSOURCES_DATABASE_URL"
READ_ONLY = (
    "the database takes no changes: it is a read-only standby, or default_transaction_read_only is on; "
    "name the primary in RASTERSOURCES_DATABASE_URL"
)
TRANSACTION_POOLING = (
    "this needs a session of its own, and the pooler before the database gives each transaction another: "
    "name the database itself, or a pooler of sessions, in RASTERSOURCES_DATABASE_URL"
)
REFUSALS = {
    r'database "(.*)" does not exist|no such database: (\S+)': f'there is no database "{{}}"; make it, or {CORRECT}',
    r'role "(.*)" does not exist|no such user: (\S+)': (
        f'there is no role "{{}}"; let an administrator run CREATE ROLE "{{}}" LOGIN, or {CORRECT}'
    ),
    r'role "(.*)" is not permitted to log in': (
        'the role "{}" may not log in; let an administrator run ALTER ROLE "{}" LOGIN, or '
        + CORRECT
    ),
    r'password authentication failed for user "(.*)"': (
        f'the password of "{{}}" is wrong; {CORRECT}, or the line in ~/.pgpass'
    ),
    r"no password supplied": f"the database asks for a password; {CORRECT}, or add a line to ~/.pgpass",
    r'(?:[Pp]eer|Ident) authentication failed for user "(.*)"': (
        f'the database lets only the user of this machine with that name in as "{{}}"; {CORRECT}, '
        "or let an administrator change its pg_hba.conf"
    ),
    r'(?:no pg_hba.conf entry for|pg_hba.conf rejects connection for) host "[^"]*", user "([^"]*)"': (
        'the database lets nobody in as "{}" from this machine; let an administrator add a line to its pg_hba.conf'
    ),
    r'permission denied for database "(.*)"': (
        'this role may not connect to the database "{}"; let an administrator run GRANT CONNECT ON DATABASE "{}" TO '
        "and the name of the role"
    ),
    r'could not translate host name "(.*?)" to address|failed to resolve host \'(.*?)\'': (
        f'the name "{{}}" of the machine of the database is not known; {CORRECT}'
    ),
    r"Name or service not known|No address associated|Temporary failure in name resolution|nodename nor servname": (
        f"the name of the machine of the database is not known; {CORRECT}"
    ),
    r'invalid (?:connection|URI) (?:option|query parameter:?) "(.*?)"': (
        f'a database knows no option "{{}}" of a connection; {CORRECT}'
    ),
    r"bad value for|invalid integer value|invalid port number|invalid sslmode value": (
        f"an option of the connection is not usable; {CORRECT}"
    ),
}
"""Pattern -> sentence, with what the pattern found. They are the English words of PostgreSQL, psycopg or PgBouncer."""
FULL = re.compile(
    r"too many clients|remaining connection slots|too many connections for|no more connections allowed"
)


FULL_FOR = re.compile(r'too many connections for (role|database) "(.*)"')
TEMPORARY = re.compile(r'permission denied to create temporary tables in database "(.*)"')


def translate_error(error: psycopg.Error | DBAPIError) -> RastersourcesError | None:
    """The error of ours that says what to do; None for what is not about reaching the database."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return CatalogueError(READ_ONLY)
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return CatalogueError(explain_missing_privilege(str(cause)))
    of_the_url = isinstance(cause, psycopg.ProgrammingError) and cause.sqlstate is None
    if not (of_the_url or isinstance(cause, psycopg.OperationalError)):
        return None
    said = str(cause)
    if found := FULL_FOR.search(said):
        kind, name = found.groups()
        return TransientError(
            f'the {kind} "{name}" has no free connection; try again later, or let an administrator run '
            f'ALTER {kind.upper()} "{name}" CONNECTION LIMIT and a larger number'
        )
    if FULL.search(said):
        return TransientError(
            "the database has no free connection; try again later, or let an administrator raise max_connections"
        )
    for pattern, sentence in REFUSALS.items():
        if found := re.search(pattern, said):
            # of a URL whose password holds an @ the rest of it is taken for the name of the machine
            name = next(filter(None, found.groups()), "").rpartition("@")[2]
            return CatalogueError(sentence.replace("{}", name))
    if of_the_url:
        return None  # a fault of ours
    return TransientError(f"the database does not answer; try again when it does ({reason(said)})")


def explain_missing_privilege(said: str) -> str:
    """What to do where the role lacks a right."""
    if found := TEMPORARY.search(said):
        return (
            "this role may not make temporary tables, which a comparison of files needs; let an administrator run "
            f'GRANT TEMPORARY ON DATABASE "{found[1]}" TO and the name of the role'
        )
    return (
        f"the role of RASTERSOURCES_DATABASE_URL lacks a right ({reason(said)}); connect as the role that owns the "
        "tables, or let an administrator grant it"
    )


def reason(said: str) -> str:
    """The first line of what the database says, without the address that it was asked at."""
    lines = said.strip().splitlines()
    return lines[0].rpartition("failed: ")[2] if lines else "no reason given"
