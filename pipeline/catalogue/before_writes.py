"""Statements that the API runs before a write: rows to lock, sources that a row may use, dependents of a source."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, cast, false, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.catalogue.access import Caller, may_write, readable
from pipeline.catalogue.select_rows import Entity
from pipeline.catalogue.source_links import (
    LABEL_TYPE_LINKS,
    LAYER_LINKS,
    SCENARIO_LINKS,
    SourceLinks,
)
from pipeline.database.tables import organisations, raster_sources


def locked_row(entity: Entity, caller: Caller, uuid: UUID) -> Select[Any]:
    """Select and lock a stored row with `may_write`, if the caller may read it."""
    table = entity.table
    row = select(table, may_write(table, caller).label("may_write"))
    return row.where(table.c.uuid == uuid, entity.visible(caller)).with_for_update(of=table)


def graph_sources(graph: Any) -> Select[Any]:
    """Select the uuids of the raster sources that a graph names, at any depth."""
    return select(func.graph_sources(cast(graph, JSONB)).label("uuid"))


def usable_sources(caller: Caller, uuids: Collection[UUID]) -> Select[Any]:
    """Select those of the raster sources that the caller may read, and lock them against deletion."""
    return (
        select(raster_sources.c.uuid)
        .where(raster_sources.c.uuid.in_(uuids), readable(raster_sources, caller))
        .order_by(raster_sources.c.id)
        .with_for_update(key_share=True, read=True)
    )


def used_sources(links: SourceLinks, owner_id: int) -> Select[Any]:
    """Select the raster sources that a row uses now, including deleted ones."""
    return select(links.source_uuid.label("uuid")).where(links.owner_id == owner_id)


def deleted_sources(links: SourceLinks, owner_id: int) -> Select[Any]:
    """Select the raster sources that a row uses and that were deleted."""
    source = select(raster_sources.c.id).where(raster_sources.c.uuid == links.source_uuid)
    return used_sources(links, owner_id).where(~source.exists())


def unreadable_sources(caller: Caller, uuids: Collection[UUID]) -> Select[Any]:
    """Select those of the raster sources that exist and that the caller may not read."""
    may_read = func.coalesce(readable(raster_sources, caller), false())
    return select(raster_sources.c.uuid).where(raster_sources.c.uuid.in_(uuids), ~may_read)


def count_dependents(uuid: UUID) -> Select[Any]:
    """Count the layers and label types that use a raster source, as `layers` and `labeltypes`."""
    counts = (
        select(func.count()).where(links.source_uuid == uuid).scalar_subquery().label(name)
        for name, links in (("layers", LAYER_LINKS), ("labeltypes", LABEL_TYPE_LINKS))
    )
    return select(*counts)


def list_dependents(caller: Caller, uuid: UUID) -> Select[Any]:
    """Select `kind`, `uuid` and `name` of all objects that use a raster source.

    The name is null if the caller may not read the row; scenarios that the caller may not read are left out.
    """
    kinds = (("layer", LAYER_LINKS), ("label type", LABEL_TYPE_LINKS), ("scenario", SCENARIO_LINKS))
    selects = []
    for kind, links in kinds:
        owners = links.owners
        may_read = readable(owners, caller)
        name = case((may_read, owners.c.name)).label("name")
        rows = (
            select(literal(kind).label("kind"), owners.c.uuid, name)
            .join(links.table, links.owner_id == owners.c.id)
            .where(links.source_uuid == uuid)
        )
        selects.append(rows.where(may_read) if links is SCENARIO_LINKS else rows)
    union = union_all(*selects).subquery()
    return select(union).order_by(union.c.kind, union.c.name, union.c.uuid)


def organisations_to_write(caller: Caller) -> Select[Any]:
    """Select the organisations in which the caller may own raster sources."""
    ids = sorted(caller.administers | caller.supplies)
    return (
        select(organisations.c.uuid, organisations.c.name)
        .where(organisations.c.id.in_(ids))
        .order_by(organisations.c.name)
    )
