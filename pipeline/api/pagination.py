"""The pages of a list: the parameters that choose a page, and the links to the next and previous page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.api.links import Links
from pipeline.api.problems import Problem
from pipeline.api.query_string import Parameter, number_schema, parse_number

PAGE_SIZE = 10
"""Rows on a page of a list, unless the request names another number."""
MAX_PAGE_SIZE = 1000
MAX_OFFSET = 2**63 - 1

PAGING: tuple[Parameter, ...] = (
    ("page", number_schema(1), "The number of the page, from 1."),
    (
        "page_size",
        number_schema(0),
        f"Rows on a page, at most {MAX_PAGE_SIZE}; 0 means {PAGE_SIZE}.",
    ),
    ("limit", number_schema(0), "The same as page_size."),
    ("offset", number_schema(0), "Rows to skip; replaces page."),
)


@dataclass(frozen=True)
class Paging:
    """The part of a list that a request selects."""

    size: int
    offset: int
    by_offset: bool
    """Whether the client counts in rows (`offset`) instead of pages."""

    def next(self, count: int) -> dict[str, int | None] | None:
        """Return the parameters of the next page of a list of `count` rows, if there is one."""
        offset = self.offset + self.size
        return self._at(offset) if offset < count else None

    def previous(self) -> dict[str, int | None] | None:
        """Return the parameters of the previous page, if there is one."""
        return self._at(max(0, self.offset - self.size)) if self.offset else None

    def _at(self, offset: int) -> dict[str, int | None]:
        """Return the parameters of the page at an offset; the first page has none."""
        if self.by_offset:
            return {"offset": offset or None}
        return {"page": offset // self.size + 1 if offset else None, "offset": None}


def parse_paging(query: Mapping[str, str], most: int, errors: dict[str, list[str]]) -> Paging:
    """Return the page that a query selects, with at most `most` rows; add a sentence to `errors` for a bad value."""
    page_size, limit, offset = (
        parse_number(query, name, errors) for name in ("page_size", "limit", "offset")
    )
    page = parse_number(query, "page", errors, least=1)
    size = min(page_size or limit or PAGE_SIZE, most)
    if page is None and (offset is not None or ("limit" in query and "page_size" not in query)):
        return Paging(size, min(offset or 0, MAX_OFFSET), by_offset=True)
    return Paging(size, min(((page or 1) - 1) * size, MAX_OFFSET), by_offset=False)


def list_page(
    paging: Paging, count: int, results: Any, links: Links, path: str, query: Mapping[str, str]
) -> dict[str, Any]:
    """Return a page with links to the next and previous one; raise Problem 404 beyond the last page."""
    if paging.offset and paging.offset >= count and not paging.by_offset:
        raise Problem(404, "Invalid page.")
    next, previous = paging.next(count), paging.previous()
    return {
        "count": count,
        "next": links.page(path, query, **next) if next else None,
        "previous": links.page(path, query, **previous) if previous else None,
        "results": results,
    }
