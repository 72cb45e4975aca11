"""The list of raster sources: pages like every list, or all rows at once as GeoJSON, CSV or GeoParquet."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request

from pipeline.api.costly_filters import costly_in
from pipeline.api.endpoint import Call
from pipeline.api.list_formats import LIST_FORMATS, ListFormat
from pipeline.api.pagination import PAGING
from pipeline.api.problems import Problem, invalid, unavailable
from pipeline.api.query_string import FORMATS
from pipeline.api.resources.json_rows import shared_values
from pipeline.api.resources.whole_list import ENTITY
from pipeline.api.responses import Answer, Stream, quality
from pipeline.api.selection import parse_selection
from pipeline.api.views.list_detail import WriteList
from pipeline.api.whole_lists import ListRequest

Result = TypeVar("Result")


class SourceList(WriteList):
    """GET a page of the list, or the whole list in another format; POST adds a raster source."""

    formats = (*FORMATS, *LIST_FORMATS)
    contents: Mapping[str, Mapping[str, Any]] = {
        each.media_type: each.schema for each in LIST_FORMATS.values()
    }

    async def get(self, call: Call) -> Answer:
        """Return a page, or all rows."""
        chosen = chosen_format(call)
        return await send_all(call, chosen) if chosen else await super().get(call)

    def notes(self, query: Mapping[str, str]) -> list[str]:
        """Return a sentence about each ignored parameter; these include those of paging when all rows are sent."""
        ignored = [name for name, _, _ in PAGING if name in query]
        if query.get("format") not in LIST_FORMATS or not ignored:
            return super().notes(query)
        sentence = f"format={query['format']} sends all rows and ignores {' '.join(ignored)}."
        return [sentence, *super().notes(query)]


def chosen_format(call: Call) -> ListFormat | None:
    """Return the format of the whole list that the client requests, by parameter or by Accept; None for a page."""
    if format := call.query.get("format"):
        return LIST_FORMATS.get(format)
    accepted = call.request.headers.get("accept", "")
    accepted_formats = [
        list_format for list_format in LIST_FORMATS.values() if list_format.media_type in accepted
    ]
    best = max(
        accepted_formats,
        key=lambda list_format: quality(accepted, list_format.media_type),
        default=None,
    )
    other_quality = max(quality(accepted, kind) for kind in ("application/json", "text/html"))
    return best if best and quality(accepted, best.media_type) > other_quality else None


async def send_all(call: Call, chosen: ListFormat) -> Answer:
    """Return all rows as a stream; raise Problem, including those for errors of the database before the first rows."""
    if call.request.scope["http_version"] == "1.0":
        raise Problem(
            400,
            "A list in this format needs HTTP/1.1, so that the client notices when the connection breaks. "
            "Configure the proxy for it, such as nginx with proxy_http_version 1.1.",
        )
    parts = await cancel_on_disconnect(call.request, begin(call, chosen))
    headers = {"Content-Disposition": f'attachment; filename="{chosen.filename}"'}
    return Answer(
        Stream(None, parts), 200, headers, media_type=chosen.media_type + chosen.parameters
    )


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`; cancel it if the client closes the connection first."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise unavailable("The client closed the connection.")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def begin(call: Call, chosen: ListFormat) -> AsyncGenerator[bytes, None]:
    """Return the parts of the file after reading the first one; raise Problem. For HEAD there are no parts."""
    parts = write_parts(call, chosen)
    await anext(parts)
    if call.request.method == "HEAD":
        await parts.aclose()
        return parts
    return _prepend(await anext(parts), parts)


async def write_parts(call: Call, chosen: ListFormat) -> AsyncGenerator[bytes, None]:
    """Yield an empty part after checking that the rows may be sent; then yield the parts of the file."""
    query, most = call.query, call.api.config.list_rows
    request = ListRequest(
        parse_selection(query, ENTITY, call.caller),
        costly_in(query, ENTITY.filters),
        call.caller,
        shared_values(call.links, call.caller),
    )
    async with call.api.lists.open(request) as snapshot:
        count = await snapshot.count(most)
        if count > most:
            raise invalid({"format": [too_many(count, most, exactly=not request.costly)]})
        yield b""
        batches = snapshot.batches(chosen.select)
        first = await anext(batches, None)
        async with (
            aclosing(_prepend(first, batches)) as rows,
            aclosing(chosen.write(rows)) as parts,
        ):
            async for part in parts:
                yield part


def too_many(count: int, most: int, *, exactly: bool) -> str:
    """Return a sentence about more rows than the limit."""
    matches = f"{count:,}" if exactly else f"More than {most:,}"
    return (
        f"{matches} rows match, but this format has at most {most:,}; "
        "add filters, or read the pages of format=json."
    )


async def _prepend(first: Any, rest: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
        async for part in rest:
            yield part
