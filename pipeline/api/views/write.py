"""POST, PUT, PATCH and DELETE for resources that belong to an organisation; each write is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Table, delete, func, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Executable

from pipeline.api.body import read_object
from pipeline.api.endpoint import Call
from pipeline.api.problems import forbidden, invalid, not_found
from pipeline.api.resources.field import Field, represent
from pipeline.api.resources.resource import Resource
from pipeline.api.responses import Answer
from pipeline.api.upload_store import discard_unless_dry_run
from pipeline.catalogue import before_writes
from pipeline.catalogue.lookups import BadValue
from pipeline.catalogue.select_rows import written_row_statement
from pipeline.database.tables import organisations, users

Values = dict[str, Any]


def validate(fields: Sequence[Field], body: Mapping[str, Any], *, partial: bool) -> Values:
    """Return the values to store for the fields in the body; raise Problem 400 that names every invalid field."""
    values, errors = {}, {}
    for field in fields:
        if field.read is None:
            continue
        if field.name not in body:
            if field.required and not partial:
                errors[field.name] = ["This field is required."]
            continue
        try:
            values[field.name] = field.read(body[field.name])
        except BadValue as error:
            errors[field.name] = [str(error)]
    if errors:
        raise invalid(errors)
    return values


async def create(call: Call, resource: Resource) -> Answer:
    """Answer a POST with 201 and the whole object."""
    values = validate(resource.fields, await read_object(call.body), partial=False)
    shown = await call.api.database.transaction(
        lambda connection: Write(call, resource, connection).insert(values)
    )
    return Answer(shown, 201, {} if call.dry_run else {"Location": shown["url"]})


async def change(call: Call, resource: Resource, *, partial: bool) -> Answer:
    """Answer a PUT or PATCH with the whole object."""
    body, uuid = await read_object(call.body), call.uuid(resource.model)
    shown = await call.api.database.transaction(
        lambda connection: Write(call, resource, connection).update(uuid, body, partial)
    )
    return Answer(shown)


async def remove(call: Call, resource: Resource) -> Answer:
    """Answer a DELETE with 204."""
    force = (await read_object(call.body)).get("force", False)
    if not isinstance(force, bool) and force not in ("true", "false"):
        raise invalid({"force": ["Must be a valid boolean."]})
    uuid = call.uuid(resource.model)
    uris = await call.api.database.transaction(
        lambda connection: Write(call, resource, connection).delete(uuid, force in (True, "true"))
    )
    await discard_unless_dry_run(call.api.config, call.api.database, uris)
    return Answer(None, 204)


async def lock_row(call: Call, resource: Resource, uuid: UUID, connection: AsyncConnection) -> Any:
    """Return the row, locked until the transaction ends; raise Problem 403 or 404."""
    result = await connection.execute(before_writes.locked_row(resource.entity, call.caller, uuid))
    row = result.one_or_none()
    if row is None:
        raise not_found(resource.model)
    if not row.may_write:
        raise forbidden()
    return row


@dataclass(frozen=True)
class Write:
    """One write of a row in an open transaction; its methods raise Problem."""

    call: Call
    resource: Resource
    connection: AsyncConnection

    @property
    def table(self) -> Table:
        """The table of the row."""
        return self.resource.entity.table

    async def insert(self, values: Values) -> Any:
        """Add a row and return it in the form of an answer."""
        columns = await self._columns(values, None)
        await self._check_sources(values, None)
        statement = insert(self.table).values(columns).returning(self.table.c.id)
        row_id: int = (await self.connection.execute(statement)).scalar_one()
        if "raster_sources" in values:
            await self._add_sources(row_id, values["raster_sources"])
        return await self._finish(row_id)

    async def update(self, uuid: UUID, body: Values, partial: bool) -> Any:
        """Change a row and return it in the form of an answer; a field that is sent back unchanged is not written."""
        row = await lock_row(self.call, self.resource, uuid, self.connection)
        values = validate(self.resource.fields, body, partial=partial)
        shown = await self._represent(row.id)
        values = {
            name: value for name, value in values.items() if not is_same(body[name], shown[name])
        }
        columns = await self._columns(values, row)
        await self._check_sources(values, row.id)
        if columns["organisation_id"] != row.organisation_id:
            await self.resource.check_move(row.id, columns["organisation_id"], self.connection)
        changed = update(self.table).where(self.table.c.id == row.id)
        await self.connection.execute(changed.values(columns))
        if "raster_sources" in values:
            await self._replace_sources(row.id, values["raster_sources"])
        return await self._finish(row.id)

    async def delete(self, uuid: UUID, force: bool) -> Sequence[str]:
        """Delete a row and return the URIs of files to delete with it."""
        row = await lock_row(self.call, self.resource, uuid, self.connection)
        uris = await self.resource.before_delete(row, force, self.connection)
        await self.connection.execute(delete(self.table).where(self.table.c.id == row.id))
        return uris

    async def _columns(self, values: Values, row: Any) -> Values:
        """Return the values of the columns, with the ids of the owner and the supplier."""
        columns = {
            # SQLAlchemy would write None as the JSON value null.
            field.store: null()
            if values[field.name] is None and self.table.c[field.store].nullable
            else values[field.name]
            for field in self.resource.fields
            if field.store and field.name in values
        }
        return columns | await self._owner(values, row)

    async def _owner(self, values: Values, row: Any) -> Values:
        """Return owner and supplier; a caller who is not an administrator becomes the supplier."""
        organisation_id = row.organisation_id if row is not None else None
        if "organisation" in values:
            uuid = values["organisation"]
            organisation_id = await self._scalar(select(organisations.c.id).filter_by(uuid=uuid))
            if organisation_id is None:
                raise invalid({"organisation": [f"There is no organisation {uuid}."]})
        caller = self.call.caller
        if organisation_id in caller.administers:
            return {"organisation_id": organisation_id, **await self._supplier(values)}
        if organisation_id not in caller.supplies:
            raise forbidden("You are neither a supplier nor an administrator of this organisation.")
        return {"organisation_id": organisation_id, "supplier_id": caller.user_id}

    async def _supplier(self, values: Values) -> Values:
        if "supplier" not in values:
            return {}
        username, user_id = values["supplier"], None
        if username is not None:
            user_id = await self._scalar(select(users.c.id).filter_by(username=username))
            if user_id is None:
                raise invalid({"supplier": [f'There is no user "{username}".']})
        return {"supplier_id": user_id}

    async def _check_sources(self, values: Values, row_id: int | None) -> None:
        """Lock the raster sources that a row will use, so that nobody deletes them; raise Problem 400 for missing ones.

        A row may keep sources that were deleted by force, so that it can still be written.
        """
        links = self.resource.entity.links
        field = "source" if links and links.from_graph else "raster_sources"
        if links is None or values.get(field) is None:
            return
        uuids = set(values[field])
        if links.from_graph:
            uuids = await self._uuids(before_writes.graph_sources(values[field]))
        usable = await self._uuids(before_writes.usable_sources(self.call.caller, uuids))
        if row_id is not None:
            deleted = (
                before_writes.used_sources if links.from_graph else before_writes.deleted_sources
            )
            usable |= await self._uuids(deleted(links, row_id))
        if uuids - usable:
            missing = ", ".join(sorted(map(str, uuids - usable)))
            raise invalid({field: [f"There is no raster source {missing}."]})

    async def _replace_sources(self, row_id: int, uuids: Collection[UUID]) -> None:
        """Replace the raster sources of a row, except those that the caller may not read."""
        links = self.resource.entity.links
        assert links
        before = await self._uuids(before_writes.used_sources(links, row_id))
        unreadable = await self._uuids(before_writes.unreadable_sources(self.call.caller, before))
        new = unreadable.union(uuids)
        if new == before:
            return
        gone = links.owner_id == row_id, links.source_uuid.in_(before - new)
        await self.connection.execute(delete(links.table).where(*gone))
        await self._add_sources(row_id, new - before)
        touched = update(self.table).where(self.table.c.id == row_id)
        await self.connection.execute(touched.values(last_modified=func.now()))

    async def _add_sources(self, row_id: int, uuids: Collection[UUID]) -> None:
        links = self.resource.entity.links
        assert links
        rows = [{links.owner_id.name: row_id, "source_uuid": uuid} for uuid in set(uuids)]
        if rows:
            await self.connection.execute(insert(links.table), rows)

    async def _finish(self, row_id: int) -> Any:
        await self.resource.after_write(row_id, self.connection)
        return await self._represent(row_id)

    async def _represent(self, row_id: int) -> Any:
        """Return the row as the caller sees it."""
        statement = written_row_statement(self.resource.entity, self.call.caller, row_id)
        row = (await self.connection.execute(statement)).one()
        return represent(self.resource.fields, row, self.call.links)

    async def _scalar(self, statement: Executable) -> Any:
        return (await self.connection.execute(statement)).scalar_one_or_none()

    async def _uuids(self, statement: Executable) -> set[UUID]:
        return set((await self.connection.execute(statement)).scalars())


def is_same(sent: Any, shown: Any) -> bool:
    """Return whether a client sends a field back unchanged.

    It compares JSON texts, because Python treats True and 1 as equal.
    """
    try:
        texts = [orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in (sent, shown)]
    except orjson.JSONEncodeError:  # nested deeper than any stored value
        return False
    return texts[0] == texts[1]
