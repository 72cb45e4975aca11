"""The pages for people and their paths."""

from collections.abc import Iterator

from pipeline.api.endpoint import Api
from pipeline.api.site.site_page import SitePage


def site_pages(api: Api) -> Iterator[tuple[str, SitePage]]:  # noqa: ARG001
    """Yield each path, with its trailing slash, and its page."""
    yield from ()
