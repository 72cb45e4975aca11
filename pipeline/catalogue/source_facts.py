"""Reads all facts of one raster source, and draws its footprint as text.

This module composes no SQL, because importing the geometry libraries takes longer than the command that uses it.
"""

from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from pipeline.catalogue.access import Access
from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.definitions.durations import format_interval
from pipeline.errors import CatalogueError

QUERIES = queries("source_facts")
MOST_CANDIDATES = 10
MOST_SHAPES = 1000
"""Maximum number of different footprints that are drawn."""
SIDES = "west", "south", "east", "north"


def find_source(engine: Engine, name: str) -> int:
    """Return the id of the source with this uuid or name, or of the only source whose name contains this text.

    Raises CatalogueError that names the candidates.
    """
    most = MOST_CANDIDATES + 1
    candidates = execute(engine, QUERIES["find_source"], name=name, uuid=uuid_of(name), most=most)
    if len(candidates) == 1:
        return int(candidates[0].id)
    if not candidates:
        verb = "has the uuid" if uuid_of(name) else "is called"
        raise CatalogueError(
            f'no raster source {verb} "{name}"; search for a part of the name with: '
            "rastersources search --name-icontains TEXT"
        )
    lines = [
        f"  {row.uuid}  {row.name}  ({row.organisation})" for row in candidates[:MOST_CANDIDATES]
    ]
    more = ["  ... and more"] if len(candidates) > MOST_CANDIDATES else []
    message = f'"{name}" fits several raster sources; give the uuid of one:'
    raise CatalogueError("\n".join([message, *lines, *more]))


def uuid_of(name: str) -> UUID | None:
    """Return a name as a uuid; None if it is not a uuid."""
    with suppress(ValueError):
        return UUID(name)
    return None


def describe_source(engine: Engine, source_id: int, most_files: int | None) -> dict[str, Any]:
    """Return the facts of a source in the form of the API, with its warnings, dependents and first files."""
    parameters = {"source": source_id, "most": most_files}
    names = "describe_source", "count_warnings", "list_files"
    with begin(engine) as connection:
        facts, warnings, files = (
            list(map(dict, connection.execute(QUERIES[name], parameters).mappings()))
            for name in names
        )
    source: dict[str, Any] = facts[0]
    bounds = {side: source.pop(side) for side in SIDES}
    return {
        **source,
        "access_modifier": Access(source["access_modifier"]).name,
        "interval": format_interval(source["interval"]),
        "spatial_bounds": None if bounds["west"] is None else bounds,
        "warnings": warnings,
        "files": files,
    }


def draw_footprint(
    engine: Engine, source_id: int, columns: int, rows: int
) -> tuple[list[str], bool]:
    """Draw the footprints of the files of a source within its bounds; the source must have bounds.

    Returns lines of text, with north at the top (`#` for a file, `.` elsewhere), and whether they show all shapes.
    """
    parameters = {"source": source_id, "columns": columns, "rows": rows, "most": MOST_SHAPES}
    lines = execute(engine, QUERIES["draw_footprint"], **parameters)
    return [row.line for row in lines], lines[0].shapes <= MOST_SHAPES
