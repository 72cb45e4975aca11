"""What follows for the catalogue from files that are not there any more; each function is one transaction."""

from pipeline.catalogue.comparison import Comparison
from pipeline.catalogue.empty_sources import delete_removable, find_removable
from pipeline.catalogue.register import group_key_of
from pipeline.database.engine import translate_errors
from pipeline.definitions.definition import Definition

MARK = """
    UPDATE raster_files AS file SET state = 'missing' FROM absent
    WHERE file.definition = %(definition)s AND file.uri = absent.uri AND file.state = 'present'
"""

# The sources of files, before the files: everyone locks in this order.
LOCK_SOURCES = """
    SELECT id FROM raster_sources WHERE id IN (
        SELECT source_id FROM raster_files AS file JOIN absent USING (uri) WHERE file.definition = %(definition)s
    ) ORDER BY id FOR UPDATE
"""
REMOVE = """
    DELETE FROM raster_files AS file USING absent WHERE file.definition = %(definition)s AND file.uri = absent.uri
    RETURNING absent.state
"""

FIND_EMPTY = (
    "SELECT id, group_key FROM raster_sources WHERE definition = %s AND file_count = 0 ORDER BY id"
)
LOCK_EMPTY = f"{FIND_EMPTY} FOR UPDATE"


def mark_missing(listing: Comparison) -> int:
    """Keep absent files in their sources and mark them; how many were not marked before."""
    with translate_errors():
        marked = listing.connection.execute(MARK, {"definition": listing.definition.id})
        return marked.rowcount


def remove_missing(listing: Comparison) -> int:
    """Take absent files out of their sources; how many were thought to be there."""
    parameters = {"definition": listing.definition.id}
    with translate_errors(), listing.connection.transaction():
        sources = [number for (number,) in listing.connection.execute(LOCK_SOURCES, parameters)]
        states = [state for (state,) in listing.connection.execute(REMOVE, parameters)]
        listing.connection.execute("SELECT derive_sources(%s)", [sources])
    return states.count("present")


def remove_empty_sources(listing: Comparison, definition: Definition) -> None:
    """Delete the sources of a definition that nothing is left of, but for one that people made and it only fills."""
    with translate_errors(), listing.connection.transaction():
        delete_removable(listing.connection, removable_sources(listing, definition, LOCK_EMPTY))


def count_empty_sources(listing: Comparison, definition: Definition) -> int:
    """How many sources of a definition nothing is left of."""
    with translate_errors():
        return len(
            find_removable(listing.connection, removable_sources(listing, definition, FIND_EMPTY))
        )


def removable_sources(listing: Comparison, definition: Definition, query: str) -> list[int]:
    """The empty sources that `query` finds, without those whose files may be there and were not brought in.

    A source that was restored is empty until then, and nothing else says that it has files.
    """
    by_file, hidden = definition.group == "file", listing.hidden
    if definition.missing == "keep" or definition.uuid or (hidden and not by_file):
        return []
    empty: dict[int, str] = dict(listing.connection.execute(query, (definition.id,)).fetchall())
    if not empty:
        return []
    keys, below = set(empty.values()), tuple(uri.rstrip("/") + "/" for uri in hidden)
    waited_for = keys.intersection(
        group_key_of(definition, file) for file in listing.changed_files()
    )
    waited_for |= {key for key in keys if f"{key}/".startswith(below)}
    return [number for number, key in empty.items() if key not in waited_for]
