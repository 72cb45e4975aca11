"""Updates the catalogue for files that are missing; each function is one transaction."""

from pipeline.catalogue.comparison import Comparison
from pipeline.catalogue.empty_sources import QUERIES, delete_removable, find_removable
from pipeline.catalogue.register import group_key_of
from pipeline.catalogue.write_sources import lock_rows, lock_sources
from pipeline.definitions.definition import Definition


def mark_missing(comparison: Comparison) -> int:
    """Mark absent files as missing and keep them in their sources; return how many were not marked before."""
    with comparison.transaction() as connection:
        names = {"definition": comparison.definition.id}
        return connection.execute(QUERIES["mark"], names).rowcount


def remove_missing(comparison: Comparison) -> int:
    """Remove absent files from their sources; return how many were present at the last run."""
    names = {"definition": comparison.definition.id}
    with (
        comparison.transaction() as connection,
        lock_sources(connection, connection.execute(QUERIES["find_sources"], names).scalars()),
    ):
        states = connection.execute(QUERIES["remove"], names).scalars()
        return list(states).count("present")


def remove_empty_sources(comparison: Comparison, definition: Definition) -> None:
    """Delete empty sources, except those that a user created or whose files may still be registered."""
    with comparison.transaction() as connection:
        ids = removable_sources(comparison, definition)
        delete_removable(connection, lock_rows(connection, ids))


def count_empty_sources(comparison: Comparison, definition: Definition) -> int:
    """Return how many sources `remove_empty_sources` would delete."""
    with comparison.transaction() as connection:
        return len(find_removable(connection, removable_sources(comparison, definition)))


def removable_sources(comparison: Comparison, definition: Definition) -> list[int]:
    """Return the empty sources of a definition, except those whose files may exist but were not registered.

    For example, a restored source is empty until its files are registered.
    """
    by_file, hidden = definition.group == "file", comparison.hidden
    if definition.missing == "keep" or definition.uuid or (hidden and not by_file):
        return []
    names = {"definition": definition.id}
    rows = comparison.connection.execute(QUERIES["find_empty"], names)
    empty: dict[int, str] = {row.id: row.group_key for row in rows}
    if not empty:
        return []
    keys, below = set(empty.values()), tuple(uri.rstrip("/") + "/" for uri in hidden)
    expected = keys.intersection(
        group_key_of(definition, file) for file in comparison.changed_files()
    )
    expected |= {key for key in keys if f"{key}/".startswith(below)}
    return [id for id, key in empty.items() if key not in expected]
