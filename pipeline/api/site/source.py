"""The page of one raster source: the raster on the map, its grid, times, files, users and history."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from pipeline.api.endpoint import Call, read_row
from pipeline.api.links import API
from pipeline.api.problems import Problem
from pipeline.api.resources.field import represent
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.resources.read_only import FILES, hide_for_others
from pipeline.api.selection import parse_selection
from pipeline.api.site.formats import NO_TIME
from pipeline.api.site.outlines import extent_of
from pipeline.api.site.recipes import recipes
from pipeline.api.site.site_page import SitePage, page_links, shown_rows
from pipeline.api.site.time_bar import TimeBar, divide_time, make_time_bar
from pipeline.api.site.upload import last_uploads
from pipeline.api.views.list_detail import select_page
from pipeline.catalogue import before_writes
from pipeline.catalogue.access import Access
from pipeline.catalogue.change_feed import history_of
from pipeline.catalogue.lookups import BadValue, parse_timestamp
from pipeline.database.queries import queries
from pipeline.definitions.durations import format_time
from pipeline.raster.pixels.colormaps import COLORMAPS

QUERIES = queries("source_page")
FILES_ON_PAGE = "20"
CHANGES_ON_PAGE = 20
MOST_OUTLINES = 200
"""Maximum number of different footprints of files that the map shows exactly."""
MOST_STEPS = 2_000
"""Maximum number of steps of the slider; of a longer series it has the first ones."""


class SourcePage(SitePage):
    """GET the page of a raster source."""

    template = "source.html"

    async def get(self, call: Call) -> Response:
        """Return the page; raise Problem 404 for a source that the caller may not see."""
        source = await read_row(call, RASTER_SOURCES)
        (facts,) = await read(call, "select_facts", source=source.id)
        selection = parse_selection(
            {"page_size": FILES_ON_PAGE, "page": call.query.get("page", "")},
            FILES.entity,
            call.caller,
        )
        within = [FILES.entity.table.c.source_id == source.id]
        files, count = await select_page(call, FILES.entity, selection, within)
        steps = await self.list_steps(call, source)
        return self.show(
            call,
            json=f"{API}/rastersources/{source.uuid}/?format=json",
            source=source,
            access=Access(source.access_modifier).name,
            facts=facts,
            columns=cells_between(source.origin_x, source.upper_bound_x, source.pixelsize_x),
            lines=cells_between(source.origin_y, source.upper_bound_y, source.pixelsize_y),
            extent=extent_of(source),
            outline=await self.find_outline(call, source),
            times=await self.find_times(call, source),
            steps=steps,
            step=chosen_step(call.query.get("time", ""), steps),
            colormaps=COLORMAPS,
            colormap=call.query.get("colormap", ""),
            files=[show_file(call, row) for row in files],
            file_count=count,
            shown=shown_rows(selection, len(files)),
            pages=page_links(call.query, selection, count),
            dependents=await call.api.database.rows(
                before_writes.list_dependents(call.caller, source.uuid)
            ),
            history=await call.api.database.rows(
                history_of(call.caller, source.uuid, CHANGES_ON_PAGE)
            ),
            uploads=await last_uploads(call, source) if source.writable else [],
            recipes=recipes(source, call.links, files[0].uri if files else None),
        )

    async def find_outline(self, call: Call, source: Any) -> str:
        """Return the footprint as GeoJSON; empty if the map shows the bounds instead."""
        (found,) = await read(call, "select_outline", source=source.id, most=MOST_OUTLINES)
        return found.outline or ""

    async def find_times(self, call: Call, source: Any) -> TimeBar | None:
        """Return the time bar; None if the source has fewer than two times."""
        first, last = source.first_value_timestamp, source.last_value_timestamp
        if first is None or first == last:
            return None
        division = divide_time(first, last, source.interval)
        counted = await read(call, "count_steps", source=source.id, **asdict(division))
        return make_time_bar(division, last, counted)

    async def list_steps(self, call: Call, source: Any) -> list[str]:
        """Return the times of the slider in ISO 8601."""
        if source.first_value_timestamp in (None, NO_TIME):
            return []
        rows = await read(call, "list_first_steps", source=source.id, most=MOST_STEPS)
        return [format_time(row.step) for row in rows]


async def read(call: Call, name: str, **values: Any) -> Any:
    """Return the rows of a named statement."""
    return await call.api.database.rows(QUERIES[name], **values)


def cells_between(low: float | None, high: float | None, size: float | None) -> int | None:
    """Return the number of pixels along an axis of the grid."""
    if low is None or high is None or not size:
        return None
    return round((high - low) / abs(size))


def chosen_step(text: str, steps: list[str]) -> str:
    """Return the step at or before the time in the URL; without a time in the URL, the last step."""
    if not steps:
        return ""
    try:
        time = format_time(parse_timestamp(text)) if text else steps[-1]
    except BadValue as error:
        raise Problem(400, {"time": [str(error)]}) from error
    return max((step for step in steps if step <= time), default=steps[0])


def show_file(call: Call, row: Any) -> Mapping[str, Any]:
    """Return a file as the API shows it, with the provenance of its values."""
    provenance = {name: hide_for_others(row, str(text)) for name, text in row.provenance.items()}
    shown = represent(FILES.fields, row, call.links)
    return {**shown, "provenance": provenance, "layout": row.layout, "registered": row.registered}
