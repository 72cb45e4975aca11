"""The pages for people and their paths."""

from collections.abc import Iterator

from pipeline.api.endpoint import Api, View
from pipeline.api.site.catalogue import Catalogue
from pipeline.api.site.footprint_tile import FootprintTile
from pipeline.api.site.gaps import SourceGaps
from pipeline.api.site.ingestion import Definitions, Rejected, Run, Runs, Warnings
from pipeline.api.site.source import SourcePage
from pipeline.api.site.source_form import DeleteSource, EditSource, NewSource
from pipeline.api.site.upload import UploadPage


def site_pages(api: Api) -> Iterator[tuple[str, View]]:
    """Yield each path and its page, including that of the map tiles."""
    yield "/", Catalogue(api)
    yield "/sources/new/", NewSource(api)
    yield "/sources/{uuid}/", SourcePage(api)
    yield "/sources/{uuid}/gaps/", SourceGaps(api)
    yield "/sources/{uuid}/edit/", EditSource(api)
    yield "/sources/{uuid}/delete/", DeleteSource(api)
    yield "/map/footprints/{z}/{x}/{y}.mvt", FootprintTile(api)
    yield "/sources/{uuid}/upload/", UploadPage(api)
    yield "/ingestion/", Definitions(api)
    yield "/ingestion/runs/", Runs(api)
    yield "/ingestion/runs/{run}/", Run(api)
    yield "/ingestion/rejected/", Rejected(api)
    yield "/ingestion/warnings/", Warnings(api)
