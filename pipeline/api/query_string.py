"""The query string: read with limits, then the filters, order and page of a list."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy import ColumnElement

from pipeline.api.config import ApiConfig
from pipeline.api.links import Links
from pipeline.api.problems import Problem, invalid
from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.lookups import TEXT_PATTERN, BadValue, list_pattern, optional_pattern
from pipeline.catalogue.select_rows import Entity, order_by

FORMATS = ("json", "api")
Parameter = tuple[str, Mapping[str, Any], str]
"""Name, JSON Schema and meaning of a query parameter."""
FORMAT: Parameter = (
    "format",
    {"type": "string", "pattern": optional_pattern("|".join(FORMATS))},
    "json, or api for a page; hyperlinks in the answer carry it along.",
)
DRY_RUN: Parameter = (
    "dry-run",
    {"type": "string", "pattern": TEXT_PATTERN},
    "Any value except false: validate and answer as the write would, but store nothing.",
)
PAGE_SIZE = 10
"""Rows on a page of a list, where the request does not say."""
MAX_PAGE_SIZE = 1000
MAX_PARAMETERS = 1000
MAX_OFFSET = 2**63 - 1
NUMBER = re.compile(r"[0-9]{1,1000}")


def parse_query(query: bytes, config: ApiConfig) -> dict[str, str]:
    """Return the last value of each parameter, without surrounding blanks; raise Problem 400 or 414 beyond a limit."""
    if len(query) > config.query_bytes:
        raise Problem(414, f"The query string may be {config.query_bytes} bytes long.")
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise Problem(400, f"The query string may have {MAX_PARAMETERS} parameters.") from error
    return {name: value.strip() for name, value in pairs}  # as Django's forms read them


def parse_format(query: Mapping[str, str]) -> str | None:
    """Return the format that the request asks for, or None; raise Problem 400 for an unknown one."""
    format = query.get("format")
    if format and format not in FORMATS:
        raise invalid({"format": [f"Must be one of {', '.join(FORMATS)}."]})
    return format or None


def is_dry_run_name(name: str) -> bool:
    """Return whether a parameter asks for a dry run, in any spelling: a misspelled dry run must not write."""
    return re.sub("[^a-z]", "", name.lower()) == "dryrun"


def is_dry_run(query: Mapping[str, str]) -> bool:
    """Return whether a write is only validated: `?dry-run` with any value except false."""
    return any(is_dry_run_name(name) and value.lower() != "false" for name, value in query.items())


@dataclass(frozen=True)
class Paging:
    """The part of a list that a request asks for."""

    size: int
    offset: int
    by_offset: bool
    """Whether the client counts in rows (`offset`) instead of pages."""

    def at(self, offset: int) -> dict[str, int | None]:
        """Return the parameters of the page at another offset; the first page needs none."""
        if self.by_offset:
            return {"offset": offset or None}
        return {"page": offset // self.size + 1 if offset else None, "offset": None}


@dataclass(frozen=True)
class Selection:
    """The rows that a list request asks for."""

    where: Sequence[ColumnElement[bool]]
    ordering: str
    paging: Paging


def parse_selection(
    query: Mapping[str, str],
    entity: Entity,
    caller: Caller,
    *,
    max_size: int | None = None,
) -> Selection:
    """Return filters, order and page; raise Problem 400 that names every parameter with a bad value."""
    errors: dict[str, list[str]] = {}
    known = filters_by_parameter(entity.filters)
    where = []
    for name, value in query.items():
        if name in known and value:
            filter, lookup = known[name]
            try:
                where.append(filter.predicate(lookup, value, caller))
            except BadValue as error:
                errors[name] = [str(error)]
    ordering = query.get("ordering", "")
    try:
        order_by(entity, ordering, caller)
    except BadValue as error:
        errors["ordering"] = [str(error)]
    paging = _parse_paging(query, max_size or MAX_PAGE_SIZE, errors)
    if errors:
        raise invalid(errors)
    return Selection(where, ordering, paging)


def parse_number(
    query: Mapping[str, str], name: str, errors: dict[str, list[str]], *, least: int = 0
) -> int | None:
    """Return a number of the query string, or None; add a sentence to `errors` for any other text."""
    text = query.get(name)
    if not text:
        return None
    if NUMBER.fullmatch(text) and int(text) >= least:
        return int(text)
    errors[name] = [f"Must be a number, {least} or higher."]
    return None


def number_schema(least: int) -> dict[str, Any]:
    """Return the JSON Schema of such a number; the empty text stands for the default, as in all parameters."""
    digits = "[0-9]*[1-9][0-9]*" if least else "[0-9]+"
    text = {"type": "string", "pattern": optional_pattern(digits)}
    return {"anyOf": [{"type": "integer", "minimum": least}, text]}


PAGING: tuple[Parameter, ...] = (
    ("page", number_schema(1), "The number of the page, from 1."),
    (
        "page_size",
        number_schema(0),
        f"Rows on a page; 0 means {PAGE_SIZE}, at most {MAX_PAGE_SIZE}.",
    ),
    ("limit", number_schema(0), "The same as page_size."),
    ("offset", number_schema(0), "Rows to skip; replaces page."),
)


def ordering_parameter(orders: Sequence[str]) -> Parameter:
    """Return the parameter that orders a list."""
    schema = {"type": "string", "pattern": list_pattern(f"-?({'|'.join(orders) or 'id'})")}
    meaning = f"by {', '.join(orders)}; - in front reverses the order, commas separate several."
    return ("ordering", schema, meaning)


def _parse_paging(query: Mapping[str, str], most: int, errors: dict[str, list[str]]) -> Paging:
    page_size, limit, offset = (
        parse_number(query, name, errors) for name in ("page_size", "limit", "offset")
    )
    page = parse_number(query, "page", errors, least=1)
    size = min(page_size or limit or PAGE_SIZE, most)
    if page is None and (offset is not None or ("limit" in query and "page_size" not in query)):
        return Paging(size, min(offset or 0, MAX_OFFSET), by_offset=True)
    return Paging(size, min(((page or 1) - 1) * size, MAX_OFFSET), by_offset=False)


def list_page(
    paging: Paging,
    count: int,
    results: list[Any],
    links: Links,
    path: str,
    query: Mapping[str, str],
) -> dict[str, Any]:
    """Return a page with links to the next and previous one; raise Problem 404 beyond the last page."""
    if not results and paging.offset and not paging.by_offset:
        raise Problem(404, "Invalid page.")
    next, previous = paging.offset + paging.size, max(0, paging.offset - paging.size)
    return {
        "count": count,
        "next": links.page(path, query, **paging.at(next)) if next < count else None,
        "previous": links.page(path, query, **paging.at(previous)) if paging.offset else None,
        "results": results,
    }
