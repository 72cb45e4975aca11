"""The gaps of a raster source, as a part of its page that is built on request, because it can take seconds."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import orjson
from starlette.responses import Response

from pipeline.api.endpoint import Api, Call, read_row
from pipeline.api.problems import Problem
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.site.site_page import SitePage
from pipeline.catalogue.gaps import Gaps, find_gaps, gaps_document
from pipeline.database.engine import open_engine

MOST_FILES = 20_000
"""Maximum number of files of a source for a report in the server; `rastersources sources gaps` has no limit."""


class SourceGaps(SitePage):
    """GET the gaps of a raster source."""

    template = "gaps.html"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.thread = ThreadPoolExecutor(1, "gaps")
        """One report is built at a time."""

    async def get(self, call: Call) -> Response:
        """Return the page; raise Problem 400 for too many files, 404 if the caller may not see the source."""
        source = await read_row(call, RASTER_SOURCES)
        if source.file_count > MOST_FILES:
            sentence = f"This source has more than {MOST_FILES:,} files; run rastersources sources gaps {source.uuid}."
            raise Problem(400, sentence)
        report = asyncio.get_running_loop().run_in_executor(
            self.thread, self.report, str(source.uuid)
        )
        gaps = await report
        if call.query.get("format") == "json":
            content = orjson.dumps(gaps_document(gaps), option=orjson.OPT_UTC_Z)
            return Response(content, 200, {"Vary": "Accept, Cookie"}, "application/json")
        return self.show(
            call, source=source, gaps=gaps, json=f"/sources/{source.uuid}/gaps/?format=json"
        )

    def report(self, uuid: str) -> Gaps:
        """Return the gaps of a raster source."""
        config = self.api.config
        with open_engine(config.database_url, prepare=config.prepare) as engine:
            return next(find_gaps(engine, uuid, config.crs_policy))
