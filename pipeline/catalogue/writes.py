"""What changes the catalogue, as statements: rows are locked before they are judged, sources before they are used."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Delete, Select, case, cast, delete, false, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.catalogue.access import Caller, may_write, readable
from pipeline.catalogue.select_rows import Entity, SourceLinks
from pipeline.database.tables import (
    label_type_sources,
    label_types,
    layer_sources,
    layers,
    organisations,
    raster_sources,
    scenario_sources,
    scenarios,
    users,
)


def locked_row(entity: Entity, caller: Caller, uuid: UUID) -> Select[Any]:
    """The row as it is stored, with `may_write`, locked until the transaction ends; if the caller may see it."""
    table = entity.table
    return (
        select(table, may_write(table, caller).label("may_write"))
        .where(table.c.uuid == uuid, entity.visible(caller))
        .with_for_update(of=table)
    )


def organisation_id_by_uuid(uuid: UUID) -> Select[Any]:
    """The id of an organisation."""
    return select(organisations.c.id).where(organisations.c.uuid == uuid)


def user_id_by_name(username: str) -> Select[Any]:
    """The id of a user."""
    return select(users.c.id).where(users.c.username == username)


def graph_sources(graph: Any) -> Select[Any]:
    """The uuids of the raster sources that a graph names, also deep inside it."""
    return select(func.graph_sources(cast(graph, JSONB)).label("uuid"))


def usable_sources(caller: Caller, uuids: Collection[UUID]) -> Select[Any]:
    """Those of the raster sources that exist for the caller, kept from being deleted until the transaction ends."""
    return (
        select(raster_sources.c.uuid)
        .where(raster_sources.c.uuid.in_(uuids), readable(raster_sources, caller))
        .order_by(raster_sources.c.id)
        .with_for_update(key_share=True, read=True)
    )


def used_sources(uses: SourceLinks, number: int) -> Select[Any]:
    """The raster sources that a row uses already, deleted ones included."""
    used = uses.table.c
    return select(used.source_uuid.label("uuid")).where(used[uses.owner] == number)


def deleted_sources(uses: SourceLinks, number: int) -> Select[Any]:
    """Those of them that were deleted."""
    there = select(raster_sources.c.id).where(raster_sources.c.uuid == uses.table.c.source_uuid)
    return used_sources(uses, number).where(~there.exists())


def unreadable_sources(caller: Caller, uuids: Collection[UUID]) -> Select[Any]:
    """Those of the raster sources that exist, yet not for the caller."""
    read = func.coalesce(readable(raster_sources, caller), false())
    return select(raster_sources.c.uuid).where(raster_sources.c.uuid.in_(uuids), ~read)


def delete_links(uses: SourceLinks, number: int, uuids: Collection[UUID]) -> Delete:
    """A row uses these raster sources no more."""
    used = uses.table.c
    return delete(uses.table).where(used[uses.owner] == number, used.source_uuid.in_(uuids))


def count_dependents(uuid: UUID) -> Select[Any]:
    """How many layers and label types use a raster source."""
    counts = (
        select(func.count()).where(uses.c.source_uuid == uuid).scalar_subquery()
        for uses in (layer_sources, label_type_sources)
    )
    return select(
        *(count.label(name) for count, name in zip(counts, ("layers", "labeltypes"), strict=True))
    )


def list_dependents(caller: Caller, uuid: UUID) -> Select[Any]:
    """`kind`, `uuid` and `name` of what uses a raster source; the name is null where the caller may not read it.

    Of scenarios those only that the caller may read: of others nothing is told.
    """
    owners = (
        ("layer", layers, layer_sources.c.layer_id),
        ("label type", label_types, label_type_sources.c.label_type_id),
        ("scenario", scenarios, scenario_sources.c.scenario_id),
    )
    found = [
        select(literal(kind).label("kind"), table.c.uuid, case((readable(table, caller), table.c.name)).label("name"))
        .join(key.table, key == table.c.id)
        .where(key.table.c.source_uuid == uuid, *([readable(table, caller)] if table is scenarios else []))
        for kind, table, key in owners
    ]  # fmt: skip
    union = union_all(*found).subquery()
    return select(union).order_by(union.c.kind, union.c.name, union.c.uuid)


def derive_source(number: int) -> Select[Any]:
    """Make the derived fields of a raster source."""
    return select(func.derive_sources([number]))
