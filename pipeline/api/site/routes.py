"""The pages for people and their paths."""

from collections.abc import Iterator

from pipeline.api.endpoint import Api
from pipeline.api.site.catalogue import Catalogue
from pipeline.api.site.footprint_tile import FootprintTile
from pipeline.api.site.site_page import SitePage


def site_pages(api: Api) -> Iterator[tuple[str, SitePage]]:
    """Yield each path and its page."""
    yield "/", Catalogue(api)
    yield "/map/footprints/{z}/{x}/{y}.mvt", FootprintTile(api)
