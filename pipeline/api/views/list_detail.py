"""The views of every resource, list and detail, built from its table of fields."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from sqlalchemy import ColumnElement

from pipeline.api.costly_filters import ReadRows, costly_in
from pipeline.api.endpoint import Api, Call, Endpoint, read_row
from pipeline.api.pagination import PAGING, list_page
from pipeline.api.problems import not_found
from pipeline.api.resources.field import represent
from pipeline.api.resources.json_rows import detail_query, list_query, list_values, shared_values
from pipeline.api.resources.resource import Resource
from pipeline.api.responses import Answer, Question
from pipeline.api.selection import ListQuery, ordering_parameter, parse_selection
from pipeline.api.views.write import change, create, remove
from pipeline.catalogue.select_rows import Entity, count_statement, page_statement


class ReadList(Endpoint):
    """GET a page of a list."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api)
        self.resource = resource
        self.title, self.description = f"{resource.title} List", resource.description
        self.fields, self.examples = resource.fields, resource.examples
        self.filters, self.orders = resource.entity.filters, tuple(resource.entity.orders)
        ordering = (ordering_parameter(self.orders),) if self.orders else ()
        self.parameters = (*ordering, *PAGING)

    async def get(self, call: Call) -> Answer:
        """Return one page of the rows that the caller may see."""
        return Answer(await read_list(call, self.resource))


class WriteList(ReadList):
    """GET a page of a list; POST adds a row."""

    async def may_write(self, call: Call) -> bool:
        """Return whether the caller supplies or administers any organisation."""
        return bool(call.caller.administers or call.caller.supplies)

    async def post(self, call: Call) -> Answer:
        """Add a row."""
        return await create(call, self.resource)


class ReadDetail(Endpoint):
    """GET one row."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api)
        self.resource = self.row_of = resource
        self.title, self.description = f"{resource.title} Instance", resource.description
        self.fields = resource.fields

    async def get(self, call: Call) -> Answer:
        """Return the row in the path."""
        if self.resource.is_sql and call.wants_json:
            return Answer(await read_json_row(call, self.resource))
        return Answer(await self.current(call))

    async def current(self, call: Call) -> dict[str, Any]:
        """Return the row in the path in the form of an answer; raise Problem 404."""
        row = await read_row(call, self.resource)
        return represent(self.resource.fields, row, call.links)


class WriteDetail(ReadDetail):
    """GET, PUT, PATCH and DELETE one row."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api, resource)
        self.problems = {"DELETE": resource.delete_problems}

    async def may_write(self, call: Call) -> bool:
        """Return whether the caller may write the row."""
        return bool((await read_row(call, self.resource)).writable)

    async def question(self, call: Call, answer: Answer) -> Question:  # noqa: ARG002
        """Return the question with the name of the row."""
        row = await read_row(call, self.resource)
        sentence = f'The {self.resource.title.lower()} "{row.name}" will be deleted. Nothing depends on it.'
        return Question([sentence], call.body.typed)

    async def put(self, call: Call) -> Answer:
        """Replace all writable fields."""
        return await change(call, self.resource, partial=False)

    async def patch(self, call: Call) -> Answer:
        """Replace some writable fields."""
        return await change(call, self.resource, partial=True)

    async def delete(self, call: Call) -> Answer:
        """Delete the row."""
        return await remove(call, self.resource)


async def read_list(
    call: Call, resource: Resource, within: Sequence[ColumnElement[bool]] = ()
) -> dict[str, Any]:
    """Return the page that the query string selects from the rows `within`; raise Problem 400 or 404."""
    entity, max_size = resource.entity, resource.max_page_size
    selection = parse_selection(call.query, entity, call.caller, max_size=max_size)
    if (
        resource.is_sql
        and call.wants_json
        and not (within or costly_in(call.query, entity.filters))
    ):
        total, results = await read_json_page(call, resource, selection)
        return list_page(selection.paging, total, results, call.links, call.path, call.query)
    rows, total = await select_page(call, entity, selection, within)
    shown = [represent(resource.fields, row, call.links) for row in rows]
    return list_page(selection.paging, total, shown, call.links, call.path, call.query)


async def select_page(
    call: Call, entity: Entity, selection: ListQuery, within: Sequence[ColumnElement[bool]] = ()
) -> tuple[Sequence[Any], int]:
    """Return the rows of a page, and the number of rows on all pages; costly filters have a time limit."""
    read = partial(read_page, call, entity, selection, [*selection.where(call.caller), *within])
    if costly := costly_in(call.query, entity.filters):
        return await call.api.costly.run(costly, read)
    return await read(call.api.database.rows)


async def read_json_page(
    call: Call, resource: Resource, selection: ListQuery
) -> tuple[int, orjson.Fragment]:
    """Return the number of rows on all pages, and the rows of a page as JSON."""
    query = list_query(resource, selection, call.caller)
    values = {**shared_values(call.links, call.caller), **list_values(selection)}
    row = await call.api.prepared.row(query, values)
    assert row
    return row[0], orjson.Fragment(row[1])


async def read_json_row(call: Call, resource: Resource) -> orjson.Fragment:
    """Return the row in the path as JSON; raise Problem 404."""
    values = {**shared_values(call.links, call.caller), "uuid": call.uuid(resource.model)}
    row = await call.api.prepared.row(detail_query(resource, call.caller.logged_in), values)
    if row is None:
        raise not_found(resource.model)
    return orjson.Fragment(row[0])


async def read_page(
    call: Call,
    entity: Entity,
    selection: ListQuery,
    conditions: Sequence[ColumnElement[bool]],
    read_rows: ReadRows,
) -> tuple[Sequence[Any], int]:
    """Return the rows of a page, and the number of rows on all pages."""
    paging = selection.paging
    rows = await read_rows(
        page_statement(
            entity, call.caller, conditions, selection.ordering, paging.size, paging.offset
        )
    )
    if not rows and paging.by_offset and paging.offset:
        (count,) = await read_rows(count_statement(entity, call.caller, conditions))
        return rows, count[0]
    return rows, rows[0].total if rows else 0
