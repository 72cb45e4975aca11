"""Parses which rows a list request selects: its filters, order and page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement

from pipeline.api.pagination import MAX_PAGE_SIZE, Paging, parse_paging
from pipeline.api.problems import invalid
from pipeline.api.query_string import Parameter, read_parameter
from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter, filters_by_parameter
from pipeline.catalogue.lookups import BadValue, BoundTest, list_pattern
from pipeline.catalogue.select_rows import Entity, sort_keys


@dataclass(frozen=True)
class ListQuery:
    """The rows that a list request selects."""

    tests: Sequence[tuple[Filter, BoundTest]]
    ordering: str
    paging: Paging

    def where(self, caller: Caller) -> list[ColumnElement[bool]]:
        """Return the conditions of the filters."""
        return [filter.condition(bound, caller) for filter, bound in self.tests]


def parse_selection(
    query: Mapping[str, str], entity: Entity, caller: Caller, *, max_size: int | None = None
) -> ListQuery:
    """Return filters, order and page; raise Problem 400 that names every parameter with a bad value."""
    errors: dict[str, list[str]] = {}
    known = filters_by_parameter(entity.filters)
    tests = []
    for name, value in query.items():
        if name in known and value:
            filter, lookup = known[name]
            try:
                tests.append((filter, filter.parse(lookup, value)))
            except BadValue as error:
                errors[name] = [str(error)]
    ordering = query.get("ordering", "")
    read_parameter(query, "ordering", lambda text: sort_keys(entity, text, caller), errors)
    paging = parse_paging(query, max_size or MAX_PAGE_SIZE, errors)
    if errors:
        raise invalid(errors)
    return ListQuery(tests, ordering, paging)


def ordering_parameter(orders: Sequence[str]) -> Parameter:
    """Return the parameter that orders a list."""
    schema = {"type": "string", "pattern": list_pattern(f"-?({'|'.join(orders) or 'id'})")}
    meaning = f"by {', '.join(orders)}; - in front reverses an order, commas separate several."
    return ("ordering", schema, meaning)
