"""Statements for the pages about ingestion, with the access rules of the API.

Users, suppliers and administrators of an organisation see the runs that read files of the organisation. Callers see
the same rejected files as in the API's list. They see the warnings of raster sources that they may read and whose
organisation they belong to.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, TextClause, cast, func, select, text, true
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.catalogue.access import Caller, readable, writable
from pipeline.catalogue.filters import file_name
from pipeline.database.queries import queries
from pipeline.database.tables import organisations, raster_files, raster_sources

QUERIES = queries("ingestion")
MOST_WARNED = 100_000
"""Maximum number of files with warnings that are counted."""
LARGEST_ID = 2**31 - 1


def statement(name: str, caller: Caller, **values: Any) -> TextClause:
    """Return a statement of `sql/queries/ingestion.sql` with the rights of the caller, and with these values."""
    template = QUERIES[name]
    rights = {"reads": sorted(caller.reads), "writes": sorted(caller.supplies | caller.administers)}
    known, names = {**rights, **values}, template.compile().params
    return template.bindparams(**{name: value for name, value in known.items() if name in names})


def select_organisation_names(caller: Caller) -> Select[Any]:
    """Select the names of the organisations whose data the caller may read."""
    return select(organisations.c.name).where(organisations.c.id.in_(sorted(caller.reads)))


def _warned(caller: Caller, run: int | None) -> list[ColumnElement[bool]]:
    """Return the conditions for files with warnings that the caller may see; with `run`, those of that run."""
    of_run = [] if run is None else [raster_files.c.registered_by == run]
    return [
        *of_run,
        raster_files.c.warnings != text("'[]'"),  # a literal, as in the index raster_files_warned
        readable(raster_sources, caller),
        raster_sources.c.organisation_id.in_(sorted(caller.reads)),
    ]


def count_warnings(caller: Caller, run: int | None) -> Select[Any]:
    """Count files by warning `code`, at most MOST_WARNED files in all."""
    warned = (
        select(raster_files.c.id, raster_files.c.warnings)
        .join(raster_sources, raster_sources.c.id == raster_files.c.source_id)
        .where(*_warned(caller, run))
        .limit(MOST_WARNED)
        .subquery()
    )
    warning = func.jsonb_array_elements(warned.c.warnings).table_valued("value", name="warning")
    code = cast(warning.c.value, JSONB)["code"].astext
    count = func.count(warned.c.id.distinct())
    return (
        select(code.label("code"), count.label("files"))
        .select_from(warned.join(warning, true()))
        .group_by(code)
        .order_by(count.desc(), code)
    )


def select_warned(caller: Caller, code: str, most: int, run: int | None) -> Select[Any]:
    """Select the most recently added files with a warning, with all their warnings."""
    has_code = raster_files.c.warnings.contains([{"code": code}])
    newest = (
        select(raster_files.c.id)
        .join(raster_sources, raster_sources.c.id == raster_files.c.source_id)
        .where(*_warned(caller, run), has_code)
        .order_by(raster_files.c.id.desc())
        .limit(most)
    )
    return (
        select(
            raster_sources.c.uuid,
            raster_sources.c.name.label("source"),
            file_name(raster_files.c.uri).label("name"),
            raster_files.c.uri.label("full_uri"),
            writable(raster_sources, caller).label("full_detail"),
            raster_files.c.warnings,
        )
        .join(raster_sources, raster_sources.c.id == raster_files.c.source_id)
        .where(raster_files.c.id.in_(newest))
        .order_by(raster_files.c.id.desc())
    )
