"""The page for sending files to a raster source, with the outcomes of the latest uploads."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from pipeline.api.endpoint import Call, read_row
from pipeline.api.links import API
from pipeline.api.problems import forbidden
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.resources.read_only import UPLOADS
from pipeline.api.selection import parse_selection
from pipeline.api.site.site_page import SitePage
from pipeline.api.views.list_detail import select_page

SHOWN = "10"
"""Maximum number of uploads that are shown."""


async def last_uploads(call: Call, source: Any) -> Sequence[Any]:
    """Return the latest uploads to a source, for the template upload.html."""
    selection = parse_selection({"page_size": SHOWN}, UPLOADS.entity, call.caller)
    within = [UPLOADS.entity.table.c.source_id == source.id]
    rows, _ = await select_page(call, UPLOADS.entity, selection, within)
    return rows


class UploadPage(SitePage):
    """GET the form that sends files to a raster source; the form posts to the API."""

    template = "upload_page.html"

    async def get(self, call: Call) -> Response:
        """Return the page; raise Problem 404 for a source that the caller may not see, 403 if they may not write it."""
        source = await read_row(call, RASTER_SOURCES)
        if not source.writable:
            raise forbidden()
        json = f"{API}/rastersources/{source.uuid}/uploads/"
        return self.show(call, json=json, source=source, uploads=await last_uploads(call, source))
