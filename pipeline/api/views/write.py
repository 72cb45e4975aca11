"""POST, PUT, PATCH and DELETE of a resource that belongs to an organisation: each is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import delete, func, insert, null, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.auth import require_login
from pipeline.api.body import read_object
from pipeline.api.endpoint import Answer, Call
from pipeline.api.problems import Problem, forbidden, invalid, not_found
from pipeline.api.quota import check_move
from pipeline.api.resources.field import Field, represent
from pipeline.api.resources.resource import Resource
from pipeline.api.upload_store import discard_ended
from pipeline.catalogue import source_data, writes
from pipeline.catalogue.lookups import BadValue
from pipeline.catalogue.select_rows import written_row_statement
from pipeline.catalogue.tombstones import add_source_tombstones
from pipeline.database.tables import raster_sources

Values = dict[str, Any]


def validate(fields: Sequence[Field], body: Mapping[str, Any], *, partial: bool) -> Values:
    """Field -> value to store, for those in the body; raises Problem 400 that names every field at fault."""
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
    """POST: 201 and the whole object."""
    require_login(call.caller)
    values = validate(resource.fields, await read_object(call.body), partial=False)
    shown = await call.api.database.transaction(partial(_insert, call, resource, values))
    return Answer(shown, 201, {} if call.dry_run else {"Location": shown["url"]})


async def change_one(call: Call, resource: Resource, *, partially: bool) -> Answer:
    """PUT or PATCH: the whole object."""
    require_login(call.caller)
    body = await read_object(call.body)
    uuid = call.uuid(resource.model)
    work = partial(_update, call, resource, uuid, body, partially)
    return Answer(await call.api.database.transaction(work))


async def remove(call: Call, resource: Resource) -> Answer:
    """DELETE: 204; 412 for a raster source that is in use, unless by force."""
    require_login(call.caller)
    body = await read_object(call.body)
    force = body.get("force", False)
    if not isinstance(force, bool) and force not in ("true", "false"):
        raise invalid({"force": ["Must be a valid boolean."]})
    work = partial(
        _delete, call, resource, call.uuid(resource.model), force is True or force == "true"
    )
    uploads = await call.api.database.transaction(work)
    await discard_ended(call.api.config, call.api.database, uploads)
    return Answer(None, 204)


async def _insert(
    call: Call, resource: Resource, values: Values, connection: AsyncConnection
) -> Any:
    stored = await _stored(call, resource, values, None, connection)
    table = resource.entity.table
    await _use_sources(call, resource, values, None, connection)
    made = await connection.execute(insert(table).values(stored).returning(table.c.id))
    number: int = made.scalar_one()
    if "raster_sources" in values:
        await _add_sources(resource, number, values["raster_sources"], connection)
    return await _finish(call, resource, number, connection)


async def _update(
    call: Call,
    resource: Resource,
    uuid: UUID,
    body: Values,
    partially: bool,
    connection: AsyncConnection,
) -> Any:
    row = await locked(call, resource, uuid, connection)
    values = validate(resource.fields, body, partial=partially)
    shown = await _shown(call, resource, row.id, connection)
    values = {name: value for name, value in values.items() if not same(body[name], shown[name])}
    stored = await _stored(call, resource, values, row, connection)
    await _use_sources(call, resource, values, row.id, connection)
    table = resource.entity.table
    if table is raster_sources and stored["organisation_id"] != row.organisation_id:
        await check_move(row.id, stored["organisation_id"], connection)
    if stored:
        await connection.execute(update(table).where(table.c.id == row.id).values(stored))
    if "raster_sources" in values:
        await _replace_sources(call, resource, row.id, values["raster_sources"], connection)
    return await _finish(call, resource, row.id, connection)


async def _delete(
    call: Call, resource: Resource, uuid: UUID, force: bool, connection: AsyncConnection
) -> Sequence[str]:
    """Delete the row; the URIs of what was uploaded to it."""
    row = await locked(call, resource, uuid, connection)
    table = resource.entity.table
    if table is raster_sources and not force:
        used = (await connection.execute(writes.count_dependents(uuid))).one()
        if used.layers or used.labeltypes:
            raise Problem(
                412,
                f"The raster source is used by {used.layers} layers and {used.labeltypes} label types; "
                'delete those first, or send {"force": true} to break them.',
            )
    uploaded: Sequence[str] = ()
    if table is raster_sources:
        uploaded = (
            (await connection.execute(source_data.select_uploaded_uris(row.id))).scalars().all()
        )
        await connection.execute(add_source_tombstones(row.id))
    await connection.execute(delete(table).where(table.c.id == row.id))
    return uploaded


async def locked(call: Call, resource: Resource, uuid: UUID, connection: AsyncConnection) -> Any:
    """The row, locked; raises Problem 404 or 403."""
    found = await connection.execute(writes.locked_row(resource.entity, call.caller, uuid))
    row = found.one_or_none()
    if row is None:
        raise not_found(resource.model)
    if not row.may_write:
        raise forbidden()
    return row


async def _stored(
    call: Call, resource: Resource, values: Values, before: Any, connection: AsyncConnection
) -> Values:
    """Column -> value: the fields that are columns, the owner and the supplier by their numbers."""
    table = resource.entity.table
    columns = {
        field.store: null()
        if values[field.name] is None and table.c[field.store].nullable
        else values[field.name]
        for field in resource.fields
        if field.store and field.name in values
    }  # null() is SQL's, where None would be JSON's
    return columns | await _owner(call, values, before, connection)


async def _owner(call: Call, values: Values, before: Any, connection: AsyncConnection) -> Values:
    """Whose it is and who supplies it; whoever is no administrator there becomes the supplier."""
    organisation = before.organisation_id if before is not None else None
    if "organisation" in values:
        found = await connection.execute(writes.organisation_id_by_uuid(values["organisation"]))
        organisation = found.scalar_one_or_none()
        if organisation is None:
            raise invalid({"organisation": [f"There is no organisation {values['organisation']}."]})
    caller = call.caller
    if organisation in caller.administers:
        return {"organisation_id": organisation, **await _supplier(values, connection)}
    if organisation not in caller.supplies:
        raise forbidden("You are neither a supplier nor an administrator of that organisation.")
    return {"organisation_id": organisation, "supplier_id": caller.user_id}


async def _supplier(values: Values, connection: AsyncConnection) -> Values:
    if "supplier" not in values:
        return {}
    username, number = values["supplier"], None
    if username is not None:
        found = await connection.execute(writes.user_id_by_name(username))
        number = found.scalar_one_or_none()
        if number is None:
            raise invalid({"supplier": [f'There is no user "{username}".']})
    return {"supplier_id": number}


async def _use_sources(
    call: Call, resource: Resource, values: Values, number: int | None, connection: AsyncConnection
) -> None:
    """Keep the raster sources that a row is to use from being deleted; raises Problem 400 for those not there.

    Those that it uses already may be gone: their dependents are broken, and can be written all the same.
    """
    uses = resource.entity.uses
    field = "source" if uses and uses.from_graph else "raster_sources"
    if uses is None or values.get(field) is None:
        return
    named = set(values[field])
    if uses.from_graph:
        named = set((await connection.execute(writes.graph_sources(values[field]))).scalars())
    there = set((await connection.execute(writes.usable_sources(call.caller, named))).scalars())
    if number is not None:
        statement = writes.used_sources if uses.from_graph else writes.deleted_sources
        there |= set((await connection.execute(statement(uses, number))).scalars())
    if named - there:
        missing = ", ".join(sorted(map(str, named - there)))
        raise invalid({field: [f"There is no raster source {missing}."]})


async def _replace_sources(
    call: Call,
    resource: Resource,
    number: int,
    named: Collection[UUID],
    connection: AsyncConnection,
) -> None:
    """Use these raster sources from now on; of those used before, what the caller may not read stays.

    The row has changed when what it uses has.
    """
    entity = resource.entity
    assert entity.uses
    uses, table = entity.uses, entity.table
    before = set((await connection.execute(writes.used_sources(uses, number))).scalars())
    unread = (await connection.execute(writes.unreadable_sources(call.caller, before))).scalars()
    wanted = {*named, *unread}
    if wanted == before:
        return
    await connection.execute(writes.delete_links(uses, number, before - wanted))
    await _add_sources(resource, number, wanted - before, connection)
    moved = update(table).values(last_modified=func.now())
    await connection.execute(moved.where(table.c.id == number))


async def _add_sources(
    resource: Resource, number: int, named: Collection[UUID], connection: AsyncConnection
) -> None:
    uses = resource.entity.uses
    assert uses
    rows = [{uses.owner: number, "source_uuid": uuid} for uuid in set(named)]
    if rows:
        await connection.execute(insert(uses.table), rows)


async def _finish(call: Call, resource: Resource, number: int, connection: AsyncConnection) -> Any:
    """What follows from the change, then the row as it is shown."""
    if resource.entity.table is raster_sources:
        await connection.execute(writes.derive_source(number))
    return await _shown(call, resource, number, connection)


async def _shown(call: Call, resource: Resource, number: int, connection: AsyncConnection) -> Any:
    """The row as the caller reads it."""
    statement = written_row_statement(resource.entity, call.caller, number)
    row = (await connection.execute(statement)).one()
    return represent(resource.fields, row, call.links)


def same(sent: Any, shown: Any) -> bool:
    """Whether a field comes back as it is shown: clients send all of them, and what is derived shall stay so.

    Compared as texts, as Python takes true for 1.
    """
    try:
        written, read = (orjson.dumps(one, option=orjson.OPT_SORT_KEYS) for one in (sent, shown))
    except orjson.JSONEncodeError:  # nested deeper than what is shown ever is
        return False
    return written == read
