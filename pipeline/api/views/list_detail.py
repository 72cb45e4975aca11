"""The routes that every resource has: a list and a detail, made from its table of fields."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement

from pipeline.api.costly_filters import Rows, costly_in
from pipeline.api.endpoint import Answer, Api, Call, Endpoint
from pipeline.api.problems import not_found
from pipeline.api.query_string import (
    PAGING,
    Selection,
    ordering_parameter,
    page_of,
    parse_selection,
)
from pipeline.api.resources.field import represent
from pipeline.api.resources.resource import Resource
from pipeline.api.views.confirm_delete import Question, ask_about_source
from pipeline.api.views.write import change_one, create, remove
from pipeline.catalogue.select_rows import Entity, count_statement, page_statement, row_statement
from pipeline.database.tables import raster_sources


class ReadList(Endpoint):
    """GET a page."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api)
        self.resource = resource
        self.title, self.description = f"{resource.title} List", resource.description
        self.fields, self.examples = resource.fields, resource.examples
        self.filters, self.orders = resource.entity.filters, tuple(resource.entity.orders)
        ordering = (ordering_parameter(self.orders),) if self.orders else ()
        self.parameters = (*ordering, *PAGING)

    async def get(self, call: Call) -> Answer:
        """One page of what the caller may see."""
        return Answer(await page(call, self.resource))


class WriteList(ReadList):
    """GET a page, POST a new one."""

    async def may_write(self, call: Call) -> bool:
        """Suppliers and administrators of any organisation may add."""
        return bool(call.caller.administers or call.caller.supplies)

    async def post(self, call: Call) -> Answer:
        """A new one."""
        return await create(call, self.resource)


class ReadDetail(Endpoint):
    """GET one."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api)
        self.resource = resource
        self.title, self.description = f"{resource.title} Instance", resource.description
        self.fields = resource.fields

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when it is not there for the caller."""
        await one(call, self.resource)

    async def get(self, call: Call) -> Answer:
        """The one that the path names."""
        return Answer(await self.present(call))

    async def present(self, call: Call) -> dict[str, Any]:
        """The one that the path names, as it is shown; raises Problem 404."""
        row = await one(call, self.resource)
        return represent(self.resource.fields, row, call.links)


class WriteDetail(ReadDetail):
    """GET, PUT, PATCH and DELETE one."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api, resource)
        if resource.entity.table is raster_sources:  # which alone can be in use
            self.refusals = {"DELETE": [412]}

    async def may_write(self, call: Call) -> bool:
        """Whether it is the caller's to write."""
        return bool((await one(call, self.resource)).writable)

    async def question(self, call: Call, answer: Answer) -> Question:  # noqa: ARG002
        """What goes, and what depends on it."""
        row = await one(call, self.resource)
        if self.resource.entity.table is raster_sources:
            return await ask_about_source(call, row)
        sentence = f'The {self.resource.title.lower()} "{row.name}" will be deleted. Nothing depends on it.'
        return Question([sentence], call.body.typed)

    async def put(self, call: Call) -> Answer:
        """All that clients write."""
        return await change_one(call, self.resource, partially=False)

    async def patch(self, call: Call) -> Answer:
        """Some of what clients write."""
        return await change_one(call, self.resource, partially=True)

    async def delete(self, call: Call) -> Answer:
        """Away with it."""
        return await remove(call, self.resource)


async def page(
    call: Call, resource: Resource, within: Sequence[ColumnElement[bool]] = ()
) -> dict[str, Any]:
    """The page that the query string asks for, of the rows within; raises Problem 400 or 404."""
    entity, most = resource.entity, resource.max_page_size
    selection = parse_selection(call.query, entity, call.caller, call.api.config, max_size=most)
    work = partial(read_page, call, entity, selection, [*selection.where, *within])
    costly = costly_in(call.query, entity.filters)
    if costly:
        rows, total = await call.api.costly.run(costly, work)
    else:
        rows, total = await work(call.api.database.rows)
    shown = [represent(resource.fields, row, call.links) for row in rows]
    return page_of(selection, total, shown, call.links, call.path, call.query)


async def read_page(
    call: Call,
    entity: Entity,
    selection: Selection,
    where: Sequence[ColumnElement[bool]],
    read: Rows,
) -> tuple[Sequence[Any], int]:
    """The rows of a page, and how many there are on all."""
    paging = selection.paging
    statement = page_statement(
        entity, call.caller, where, selection.ordering, paging.size, paging.offset
    )
    rows = await read(statement)
    if not rows and paging.by_offset and paging.offset:
        (counted,) = await read(count_statement(entity, call.caller, where))
        return rows, counted[0]
    return rows, rows[0].total if rows else 0


async def one(call: Call, resource: Resource) -> Any:
    """The row that the path names; raises Problem 404."""
    entity = resource.entity
    if "id" in call.request.path_params:
        key = entity.table.c.id == call.number(resource.model)
    else:
        key = entity.table.c.uuid == call.uuid(resource.model)
    rows = await call.api.database.rows(row_statement(entity, call.caller, key))
    if not rows:
        raise not_found(resource.model)
    return rows[0]
