"""The query string: read with limits, then filters, order and page of a list."""

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
    "Unless it is false: validate and answer as the write would, and store nothing.",
)
MOST_PARAMETERS = 1000
LAST_OFFSET = 2**63 - 1
NUMBER = re.compile(r"[0-9]{1,1000}")


def parse_query(query: bytes, config: ApiConfig) -> dict[str, str]:
    """Parameter -> its last value, without blanks around it; raises Problem when there is too much of it."""
    if len(query) > config.query_bytes:
        raise Problem(414, f"The query string may be {config.query_bytes} bytes long.")
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS
        )
    except ValueError as error:
        raise Problem(400, f"The query string may hold {MOST_PARAMETERS} parameters.") from error
    return {name: value.strip() for name, value in pairs}  # as forms of Django read them


def parse_format(query: Mapping[str, str]) -> str | None:
    """The format that the request asks for; None when it leaves it open."""
    wanted = query.get("format")
    if not wanted:
        return None
    if wanted not in FORMATS:
        raise invalid({"format": [f"Must be one of {', '.join(FORMATS)}."]})
    return wanted


def is_dry_run_name(name: str) -> bool:
    """Whether a parameter asks for a dry run; a client that means it must not write because of how it spells it."""
    return re.sub("[^a-z]", "", name.lower()) == "dryrun"


def is_dry_run(query: Mapping[str, str]) -> bool:
    """Whether a write is only to be validated: `?dry-run` with any value but false."""
    return any(is_dry_run_name(name) and value.lower() != "false" for name, value in query.items())


@dataclass(frozen=True)
class Paging:
    """Which part of a list is wanted."""

    size: int
    offset: int
    by_offset: bool
    """Whether the client counts in rows, by `offset`, rather than in pages."""

    @property
    def number(self) -> int:
        """The page, from 1."""
        return self.offset // self.size + 1


@dataclass(frozen=True)
class Selection:
    """What a list request selects."""

    where: Sequence[ColumnElement[bool]]
    ordering: str
    paging: Paging


def parse_selection(
    query: Mapping[str, str],
    entity: Entity,
    caller: Caller,
    config: ApiConfig,
    *,
    max_size: int | None = None,
) -> Selection:
    """Filters, order and page; raises Problem 400 that names every parameter with a bad value."""
    errors: dict[str, list[str]] = {}
    known = filters_by_parameter(entity.filters)
    where = []
    for name, value in query.items():
        if name in known and value:
            one, lookup = known[name]
            try:
                where.append(one.predicate(lookup, value, caller))
            except BadValue as error:
                errors[name] = [str(error)]
    ordering = query.get("ordering", "")
    try:
        order_by(entity, ordering, caller)
    except BadValue as error:
        errors["ordering"] = [str(error)]
    paging = _parse_paging(query, config.page_size, max_size or config.max_page_size, errors)
    if errors:
        raise invalid(errors)
    return Selection(where, ordering, paging)


def parse_number(
    query: Mapping[str, str], name: str, errors: dict[str, list[str]], *, least: int = 0
) -> int | None:
    """A number of the query string; None when it is not there or, which `errors` then says, is none."""
    text = query.get(name)
    if not text:
        return None
    if NUMBER.fullmatch(text) and int(text) >= least:
        return int(text)
    errors[name] = [f"Must be a number, {least} or higher."]
    return None


def number_or_nothing(least: int) -> dict[str, Any]:
    """JSON Schema of such a number; the empty text stands for the default, as in all parameters."""
    digits = "[0-9]*[1-9][0-9]*" if least else "[0-9]+"
    text = {"type": "string", "pattern": optional_pattern(digits)}
    return {"anyOf": [{"type": "integer", "minimum": least}, text]}


PAGING: tuple[Parameter, ...] = (
    ("page", number_or_nothing(1), "Which page, from 1."),
    ("page_size", number_or_nothing(0), "Rows on a page; 0 means 10, at most 1000."),
    ("limit", number_or_nothing(0), "The same as page_size."),
    ("offset", number_or_nothing(0), "Rows to leave out first, instead of page."),
)


def ordering_parameter(orders: Sequence[str]) -> Parameter:
    """The parameter that orders a list by names such as these."""
    schema = {"type": "string", "pattern": list_pattern(f"-?({'|'.join(orders) or 'id'})")}
    return ("ordering", schema, f"by {', '.join(orders)}; - in front reverses, commas chain.")


def _parse_paging(
    query: Mapping[str, str], default: int, most: int, errors: dict[str, list[str]]
) -> Paging:
    size_given, limit, offset = (
        parse_number(query, name, errors) for name in ("page_size", "limit", "offset")
    )
    page = parse_number(query, "page", errors, least=1)
    size = min(size_given or limit or default, most)
    if page is None and (offset is not None or ("limit" in query and "page_size" not in query)):
        return Paging(size, min(offset or 0, LAST_OFFSET), by_offset=True)
    return Paging(size, min(((page or 1) - 1) * size, LAST_OFFSET), by_offset=False)


def page_of(
    selection: Selection,
    count: int,
    results: list[Any],
    links: Links,
    path: str,
    query: Mapping[str, str],
) -> dict[str, Any]:
    """The page with links to its neighbours; raises Problem 404 beyond the end."""
    paging = selection.paging
    if not results and paging.offset and not paging.by_offset:
        raise Problem(404, "Invalid page.")
    following = paging.offset + paging.size
    return {
        "count": count,
        "next": links.page(path, query, **_place(paging, following)) if following < count else None,
        "previous": links.page(path, query, **_place(paging, max(0, paging.offset - paging.size)))
        if paging.offset
        else None,
        "results": results,
    }


def _place(paging: Paging, offset: int) -> dict[str, int | None]:
    """The parameters of the page at an offset; the first one carries none, and who counts in pages no offset."""
    if paging.by_offset:
        return {"offset": offset or None}
    return {"page": offset // paging.size + 1 if offset else None, "offset": None}
