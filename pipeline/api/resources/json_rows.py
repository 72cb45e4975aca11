"""Composes statements with which PostgreSQL writes lists and details as JSON text.

The statement of a request depends only on its filters, its order and whether the caller signed in: its shape. It is
composed once for each shape, and the values of the filters are its parameters. Rows that Python represents
(`field.represent`) give the same answers, and tests compare both.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    Uuid,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import NullType, TypeEngine

from pipeline.api.links import API, Links
from pipeline.api.resources.field import SqlLinks, json_object
from pipeline.api.resources.resource import Resource
from pipeline.api.selection import ListQuery
from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.lookups import BoundTest, Test, split_list
from pipeline.catalogue.select_rows import Entity, choose_page, row_statement, rows_of_page
from pipeline.database.queries import NumberedQuery, number_parameters

PARAMETER = re.compile(r"%\((\w+)\)s")
DIALECT = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
Shape = tuple[tuple[str, Test, int], ...]
"""The name, the lookup and the number of values of each filter."""


def parameter(name: str, kind: TypeEngine[Any] | None = None) -> ColumnElement[Any]:
    """Return a named parameter; `numbered` replaces its name by a number."""
    return literal_column(f"%({name})s", kind or NullType())


LINKS = SqlLinks(*(literal_column(f"%({name})s::text", Text()) for name in ("start", "end")))
SIGNED_IN = Caller(
    **{name: cast("Any", parameter(name)) for name in ("user_id", "reads", "supplies", "administers")}
)  # fmt: skip
"""A caller who signed in; their id and roles are parameters."""


def list_query(resource: Resource, selection: ListQuery, caller: Caller) -> NumberedQuery:
    """Return the statement that selects the number of all rows and a page as JSON text."""
    shape = shape_of(selection)
    ordering = ",".join(split_list(selection.ordering))
    most = power_of_ten(selection.paging.offset + selection.paging.size)
    return _compose_list(resource, shape, ordering, most, caller.logged_in)


def shape_of(selection: ListQuery) -> Shape:
    """Return the shape of the filters, on which the text of a statement depends."""
    return tuple((field.name, bound.test, len(bound.values)) for field, bound in selection.tests)


def stand_in(logged_in: bool) -> Caller:
    """Return the caller for composing a statement."""
    return SIGNED_IN if logged_in else ANONYMOUS


def conditions_of_shape(entity: Entity, shape: Shape, caller: Caller) -> list[ColumnElement[bool]]:
    """Return the conditions of filters, with parameters for their values."""
    filters, conditions, used = {field.name: field for field in entity.filters}, [], 0
    for name, test, count in shape:
        values = tuple(parameter(f"value_{index}") for index in range(used, used + count))
        conditions.append(filters[name].condition(BoundTest(test, values), caller))
        used += count
    return conditions


def power_of_ten(number: int) -> int:
    """Return the smallest power of ten that is not below a number, at most 10**18, so that PostgreSQL accepts it."""
    return int(min(10 ** len(str(number - 1)), 10**18))


@lru_cache(maxsize=256)
def _compose_list(
    resource: Resource, shape: Shape, ordering: str, most: int, logged_in: bool
) -> NumberedQuery:
    entity, caller = resource.entity, stand_in(logged_in)
    conditions = conditions_of_shape(entity, shape, caller)
    # If limit and offset are parameters, PostgreSQL plans for a tenth of the rows; the constant `most` makes these few.
    page = choose_page(entity, caller, conditions, ordering, most)
    ids = page.ids.subquery("first_rows")
    limit, offset = (parameter(name, BigInteger()) for name in ("limit", "offset"))
    page = replace(page, ids=select(ids.c.id).limit(limit).offset(offset))
    keys = [key.column.label(f"key_{index}") for index, key in enumerate(page.keys)]
    shown = rows_of_page(entity, caller, page).add_columns(*keys).subquery("shown")
    order = [key.sort(shown.c[column.name]) for key, column in zip(page.keys, keys, strict=True)]
    rows = func.string_agg(json_row(resource), aggregate_order_by(literal_column("','"), *order))
    results = select(func.concat("[", rows, "]")).select_from(shown).scalar_subquery()
    return numbered(select(page.total, results))


@lru_cache
def detail_query(resource: Resource, logged_in: bool) -> NumberedQuery:
    """Return the statement that selects one row as JSON, by its uuid."""
    entity, caller = resource.entity, stand_in(logged_in)
    key = entity.table.c.uuid == parameter("uuid", Uuid())
    shown = row_statement(entity, caller, key).subquery("shown")
    return numbered(select(json_row(resource)).select_from(shown))


@lru_cache
def json_row(resource: Resource) -> ColumnElement[str]:
    """Return the expression for the JSON text of a row of the subquery `shown`; cached, as it is slow to compose."""
    shown = row_statement(resource.entity, ANONYMOUS, true()).subquery("shown")
    row = json_object({field.name: field.to_sql(shown.c, LINKS) for field in resource.fields})
    return literal_column(_text(row), Text())


def numbered(statement: Select[Any], *, prepare: bool = True) -> NumberedQuery:
    """Return a statement with numbered parameters and literal constants."""
    return replace(number_parameters(_text(statement), PARAMETER), prepare=prepare)


def _text(clause: ClauseElement) -> str:
    return str(clause.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))


def shared_values(links: Links, caller: Caller) -> dict[str, Any]:
    """Return the parameters that every statement has."""
    start, end = f"{links.base}{API}/", links.query
    return {
        "start": orjson.dumps(start).decode()[1:-1],
        "end": end,
        **caller_values(caller),
    }


def caller_values(caller: Caller) -> dict[str, Any]:
    """Return the parameters for the id and the roles of the caller."""
    return {
        "user_id": caller.user_id,
        "reads": sorted(caller.reads),
        "supplies": sorted(caller.supplies),
        "administers": sorted(caller.administers),
    }


def list_values(selection: ListQuery) -> Mapping[str, Any]:
    """Return the parameters of a list, without the shared ones."""
    return {
        **filter_values(selection),
        "limit": selection.paging.size,
        "offset": selection.paging.offset,
    }


def filter_values(selection: ListQuery) -> dict[str, Any]:
    """Return the parameters of the filters."""
    values = [value for _, bound in selection.tests for value in bound.values]
    return {f"value_{index}": value for index, value in enumerate(values)}
