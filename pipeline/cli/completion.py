"""Completes arguments in the shell: definition ids, organisations, users and access modifiers.

A completion must be fast and must not print an error. Without a sources.toml or a database it offers nothing.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pipeline.cli.terminal import CONTROL_CHARACTERS

ACCESS_MODIFIERS = "Public", "Common", "Private", "Hidden"
ROLES = "user", "supplier", "admin", "manager"
SECONDS_TO_CONNECT = 1
MOST = 100
QUERIES = {
    "organisation": "SELECT name FROM organisations WHERE starts_with(name, %s) ORDER BY name LIMIT %s",
    "user": "SELECT username FROM users WHERE starts_with(username, %s) ORDER BY username LIMIT %s",
}


def complete_definition(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the sources.toml of --config, or of the one in the current folder."""
    path = ctx.params.get("config") or Path("sources.toml")
    try:
        document = tomllib.loads(Path(path).read_text())
        return [name for name in ids_of(document) if name.startswith(incomplete)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def ids_of(document: dict[str, Any]) -> Iterator[str]:
    """Yield the ids of all tables of a sources.toml, which may have errors elsewhere."""
    for kind in ("source", "drop"):
        for table in document.get(kind, ()):
            if isinstance(name := table.get("id"), str):
                yield name


def complete_organisation(incomplete: str) -> list[str]:
    """Return the names of organisations."""
    return names("organisation", incomplete)


def complete_user(incomplete: str) -> list[str]:
    """Return usernames."""
    return names("user", incomplete)


def complete_access(incomplete: str) -> list[str]:
    """Return access modifiers."""
    return [name for name in ACCESS_MODIFIERS if name.startswith(incomplete)]


def complete_role(incomplete: str) -> list[str]:
    """Return roles."""
    return [name for name in ROLES if name.startswith(incomplete)]


def names(kind: str, incomplete: str) -> list[str]:
    """Return names from the database; none if it does not answer or the private cluster is stopped."""
    import psycopg

    from pipeline.cli.bootstrap import home_folder
    from pipeline.database.private_cluster.cluster import Cluster
    from pipeline.errors import RastersourcesError
    from pipeline.settings import settings

    try:
        configured = settings()
        url = configured.database_url or Cluster(home_folder(configured)).url()
        with psycopg.connect(url, connect_timeout=SECONDS_TO_CONNECT) as connection:
            rows = connection.execute(QUERIES[kind].encode(), (incomplete, MOST)).fetchall()
    except (psycopg.Error, RastersourcesError, OSError):
        return []
    return [name for (name,) in rows if not CONTROL_CHARACTERS.search(name)]
