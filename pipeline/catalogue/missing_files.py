"""What follows for the catalogue from files that are not there any more; each function is one transaction."""

from pipeline.catalogue.comparison import Listing
from pipeline.catalogue.empty_sources import delete_unused, find_unused
from pipeline.catalogue.register import key_of
from pipeline.database.engine import translated
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


def mark_missing(listing: Listing) -> int:
    """Keep absent files in their sources and mark them; how many were not marked before."""
    with translated():
        marked = listing.connection.execute(MARK, {"definition": listing.definition.id})
        return marked.rowcount


def remove_missing(listing: Listing) -> int:
    """Take absent files out of their sources; how many were thought to be there."""
    parameters = {"definition": listing.definition.id}
    with translated(), listing.connection.transaction():
        sources = [number for (number,) in listing.connection.execute(LOCK_SOURCES, parameters)]
        states = [state for (state,) in listing.connection.execute(REMOVE, parameters)]
        listing.connection.execute("SELECT derive_sources(%s)", [sources])
    return states.count("present")


def remove_empty_sources(listing: Listing, definition: Definition) -> None:
    """Delete the sources of a definition that nothing is left of, but for one that people made and it only fills."""
    with translated(), listing.connection.transaction():
        delete_unused(listing.connection, given_up(listing, definition, LOCK_EMPTY))


def count_empty_sources(listing: Listing, definition: Definition) -> int:
    """How many sources of a definition nothing is left of."""
    with translated():
        return len(find_unused(listing.connection, given_up(listing, definition, FIND_EMPTY)))


def given_up(listing: Listing, definition: Definition, query: str) -> list[int]:
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
    waited_for = keys.intersection(key_of(definition, file) for file in listing.changed_files())
    waited_for |= {key for key in keys if f"{key}/".startswith(below)}
    return [number for number, key in empty.items() if key not in waited_for]
