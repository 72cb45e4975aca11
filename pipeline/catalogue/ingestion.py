"""What the pages about ingestion show of runs, rejected files and warnings, by the rules of access of the API.

Runs are shown to users, suppliers and administrators of the organisations whose files they looked at; rejected files
as in the API's list of them; warnings where the caller may read the raster source and belongs to its organisation.
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
"""Files with warnings that are counted at most."""
LARGEST_ID = 2**31 - 1


def _rights(caller: Caller) -> dict[str, list[int]]:
    return {"reads": sorted(caller.reads), "writes": sorted(caller.supplies | caller.administers)}


def _bind(name: str, caller: Caller, **values: Any) -> TextClause:
    statement = QUERIES[name]
    known = {**_rights(caller), **values}
    names = statement.compile().params
    return statement.bindparams(**{name: value for name, value in known.items() if name in names})


def select_definitions(caller: Caller) -> TextClause:
    """Select the definitions with their last run."""
    return _bind("list_definitions", caller)


def select_organisation_names(caller: Caller) -> Select[Any]:
    """Select the names of the organisations whose data the caller may read."""
    return select(organisations.c.name).where(organisations.c.id.in_(sorted(caller.reads)))


def select_runs(
    caller: Caller, most: int, before: int | None, definition: str | None, state: str | None
) -> TextClause:
    """Select the newest runs before the number `before`."""
    return _bind("list_runs", caller, most=most, before=before, definition=definition, state=state)


def select_run(caller: Caller, run: int) -> TextClause:
    """Select one run, with `full_detail` where the caller may see paths; no row if they may not see it."""
    return _bind("get_run", caller, run=run)


def select_last_speeds(caller: Caller, definition: str, run: int) -> TextClause:
    """Select the speeds of a run and of the runs of its definition before."""
    return _bind("list_last_speeds", caller, definition=definition, run=run)


def count_rejected(caller: Caller, **only: Any) -> TextClause:
    """Count rejected files by reason; `only` are code, definition and run, None for all."""
    return _bind("count_rejected", caller, **only)


def select_rejected(caller: Caller, most: int, **only: Any) -> TextClause:
    """Select the latest rejected files of each reason."""
    return _bind("list_rejected", caller, most=most, **only)


def retry_rejected(caller: Caller, **only: Any) -> TextClause:
    """Let the next run read rejected files again, of those whose organisation the caller supplies or administers."""
    return _bind("retry", caller, **only)


def _warned(caller: Caller) -> list[ColumnElement[bool]]:
    """Return the conditions for files with warnings that the caller may see."""
    return [
        raster_files.c.notices != text("'[]'"),  # a literal, as in the index raster_files_warned
        readable(raster_sources, caller),
        raster_sources.c.organisation_id.in_(sorted(caller.reads)),
    ]


def count_warnings(caller: Caller, run: int | None = None) -> Select[Any]:
    """Count files by warning `code`, at most MOST_WARNED files in all; with `run` those that it registered last."""
    of_run = [] if run is None else [raster_files.c.registered_by == run]
    warned = (
        select(raster_files.c.id, raster_files.c.notices)
        .join(raster_sources, raster_sources.c.id == raster_files.c.source_id)
        .where(*_warned(caller), *of_run)
        .limit(MOST_WARNED)
        .subquery()
    )
    warning = func.jsonb_array_elements(warned.c.notices).table_valued("value", name="warning")
    code = cast(warning.c.value, JSONB)["code"].astext
    count = func.count(warned.c.id.distinct())
    return (
        select(code.label("code"), count.label("files"))
        .select_from(warned.join(warning, true()))
        .group_by(code)
        .order_by(count.desc(), code)
    )


def select_warned(caller: Caller, code: str, most: int, run: int | None = None) -> Select[Any]:
    """Select the last added files with a warning, and all warnings of each."""
    of_run = [] if run is None else [raster_files.c.registered_by == run]
    has_code = raster_files.c.notices.contains([{"code": code}])
    newest = (
        select(raster_files.c.id)
        .join(raster_sources, raster_sources.c.id == raster_files.c.source_id)
        .where(*_warned(caller), has_code, *of_run)
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
            raster_files.c.notices,
        )
        .join(raster_sources, raster_sources.c.id == raster_files.c.source_id)
        .where(raster_files.c.id.in_(newest))
        .order_by(raster_files.c.id.desc())
    )
