"""The catalogue page: a table of raster sources beside their map."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.costly_filters import costly_in
from pipeline.api.endpoint import Api, Call
from pipeline.api.links import API
from pipeline.api.list_formats import LIST_FORMATS
from pipeline.api.pagination import PAGING
from pipeline.api.problems import Problem, check_method
from pipeline.api.query_help import warn_of_unknown
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.responses import wants_html
from pipeline.api.selection import ListQuery, parse_selection
from pipeline.api.site.filter_bar import make_filter_bar
from pipeline.api.site.formats import NO_TIME, show_period
from pipeline.api.site.outlines import PageBox, SvgBox, draw_outline, extent_of, join_extents
from pipeline.api.site.site_page import DELETED, SitePage, changed_query, page_links, shown_rows
from pipeline.api.views.list_detail import ReadList, select_page
from pipeline.api.views.root import Home
from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.footprints import extent_statement

PAGE_SIZE = "25"
ENTITY = RASTER_SOURCES.entity
COLUMNS = (
    ("name", "Name"),
    (None, "Organisation"),
    (None, "Kind"),
    (None, "Extent"),
    (None, "Pixel"),
    (None, "Type"),
    ("first_value_timestamp", "Times"),
    ("size", "Size"),
    ("last_modified", "Changed"),
)
"""Columns of the table: the ordering that a click on the heading selects, and the heading."""


@dataclass(frozen=True)
class Row:
    """A raster source, and its outline within the extent of the page."""

    source: Any
    outline: SvgBox | None

    @property
    def times(self) -> Markup:
        """Its times; empty for a static source whose files have no time, for which 1970 is stored."""
        first, last = self.source.first_value_timestamp, self.source.last_value_timestamp
        return show_period(*((None, None) if first == last == NO_TIME else (first, last)))


@dataclass(frozen=True)
class Head:
    """The heading of a column."""

    text: str
    link: str
    """The query string that orders by this column; empty if that is not possible."""
    direction: str
    """ascending, descending, or empty."""


def without_deleted(call: Call) -> tuple[Call, list[str]]:
    """Return the call without `deleted`, which the links of the page do not repeat, and the message for it."""
    if DELETED not in call.query:
        return call, []
    query = {name: text for name, text in call.query.items() if name != DELETED}
    return replace(call, query=query), ["The raster source was deleted."]


class Catalogue(SitePage):
    """GET the catalogue; programs are redirected to the API."""

    template = "catalogue.html"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.for_programs = Home(api)
        self.known = ReadList(api, RASTER_SOURCES).known_parameters

    async def respond(self, request: Request) -> Response:
        """Return the page, or the redirect for programs."""
        if not wants_html(request, request.query_params.get("format")):
            return await self.for_programs.respond(request)
        return await super().respond(request)

    async def get(self, call: Call) -> Response:
        """Return the page; if a filter is invalid, the table is empty and an error stands above it."""
        check_method(call.request.method, ("GET", "HEAD"))
        call, deleted = without_deleted(call)
        rows: Sequence[Any] = ()
        errors, total, filtered = None, 0, None
        query = {**call.query, "page_size": call.query.get("page_size") or PAGE_SIZE}
        try:
            selection = parse_selection(query, ENTITY, call.caller)
            rows, total = await select_page(call, ENTITY, selection)
            if selection.paging.offset and not rows:
                raise Problem(404, "Invalid page.")
            filtered = await self.find_extent(call, selection) if rows else None
        except Problem as problem:
            if problem.status != 400:
                raise
            errors = problem.detail
            selection = parse_selection({}, ENTITY, call.caller)
        extents = [extent_of(row) for row in rows]
        frame = join_extents(extents)
        return self.show(
            call,
            code=400 if errors else 200,
            json=f"{API}/rastersources/{changed_query(call.query, format='json')}",
            errors=errors,
            notes=[*deleted, *warn_of_unknown(call.query, self.known)],
            bar=make_filter_bar(ENTITY.filters, call.query),
            heads=list(heads(call.query)),
            rows=[
                Row(row, draw_outline(extent, frame) if extent and frame else None)
                for row, extent in zip(rows, extents, strict=True)
            ],
            total=total,
            shown=shown_rows(selection, len(rows)),
            downloads=list(self.downloads(call, total)),
            pages=page_links(call.query, selection, total),
            map_extent=filtered or frame,
            map_query=changed_query(map_filters(call.query)),
            may_create=bool(call.caller.administers or call.caller.supplies),
        )

    def downloads(self, call: Call, total: int) -> Iterator[tuple[str, str]]:
        """Yield a name and a link for each format of the whole list, unless the list is too long."""
        paging = {name for name, _, _ in PAGING}
        query = {name: text for name, text in call.query.items() if name not in paging}
        if 0 < total <= self.api.config.list_rows:
            for format, list_format in LIST_FORMATS.items():
                yield (
                    list_format.title,
                    f"{API}/rastersources/{changed_query(query, format=format)}",
                )

    async def find_extent(self, call: Call, selection: ListQuery) -> PageBox | None:
        """Return the bounds of the first sources that the filters find; None for costly filters."""
        if costly_in(call.query, ENTITY.filters):
            return None
        statement = extent_statement(call.caller, selection.where(call.caller))
        (box,) = await call.api.database.rows(statement)
        return extent_of(box)


def map_filters(query: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that filter the map as they filter the table."""
    known = filters_by_parameter(ENTITY.filters)
    return {name: text for name, text in query.items() if name in known and text}


def heads(query: Mapping[str, str]) -> Iterator[Head]:
    """Yield the headings of the columns, each with the link that orders by it or reverses the order."""
    ordering = query.get("ordering", "")
    for order, text in COLUMNS:
        if order is None:
            yield Head(text, "", "")
            continue
        direction = {order: "ascending", f"-{order}": "descending"}.get(ordering, "")
        next_order = f"-{order}" if direction == "ascending" else order
        yield Head(text, changed_query(query, ordering=next_order, page=None), direction)
