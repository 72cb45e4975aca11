"""The routes that every resource has: a list and a detail, made from its table of fields."""

from typing import Any

from pipeline.api.endpoint import Answer, Api, Call, Endpoint
from pipeline.api.fields import represent
from pipeline.api.parameters import page_of, parse_selection
from pipeline.api.problems import not_found
from pipeline.api.resource import Resource
from pipeline.api.writing import change_one, create, remove
from pipeline.catalogue.query import page_statement, row_statement


class ListEndpoint(Endpoint):
    """GET a page, POST a new one."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api)
        self.resource = resource
        self.title = f"{resource.title} List"
        self.description = resource.description

    async def get(self, call: Call) -> Answer:
        """One page of what the caller may see."""
        return Answer(await self.page(call))

    async def post(self, call: Call) -> Answer:
        """A new one."""
        return await create(call, self.resource)

    async def page(self, call: Call) -> dict[str, Any]:
        """The page that the query string asks for."""
        entity = self.resource.entity
        selection = parse_selection(call.query, entity, call.caller, call.api.config)
        paging = selection.paging
        statement = page_statement(
            entity, call.caller, selection.where, selection.ordering, paging.size, paging.offset
        )
        rows = await call.api.database.rows(statement)
        shown = [
            represent(self.resource.fields, row, call.links) for row in rows if row.id is not None
        ]
        return page_of(selection, rows[0].total, shown, call.links, call.path, call.query)


class DetailEndpoint(Endpoint):
    """GET, PUT, PATCH and DELETE one."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api)
        self.resource = resource
        self.title = f"{resource.title} Instance"
        self.description = resource.description

    async def get(self, call: Call) -> Answer:
        """The one that the path names."""
        entity, uuid = self.resource.entity, call.uuid(self.resource.model)
        rows = await call.api.database.rows(
            row_statement(entity, call.caller, entity.table.c.uuid == uuid)
        )
        if not rows:
            raise not_found(self.resource.model)
        return Answer(represent(self.resource.fields, rows[0], call.links))

    async def put(self, call: Call) -> Answer:
        """All that clients write."""
        return await change_one(call, self.resource, partially=False)

    async def patch(self, call: Call) -> Answer:
        """Some of what clients write."""
        return await change_one(call, self.resource, partially=True)

    async def delete(self, call: Call) -> Answer:
        """Away with it."""
        return await remove(call, self.resource)
