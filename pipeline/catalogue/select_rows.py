"""Statements that read the catalogue: a page with the total of all rows in one round trip, or one row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Table, func, select

from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter
from pipeline.catalogue.lookups import BadValue, split_list
from pipeline.catalogue.source_links import SourceLinks

Predicate = ColumnElement[bool]
Order = ColumnElement[Any] | Callable[[Caller], ColumnElement[Any]]


@dataclass(frozen=True, eq=False)
class Entity:
    """A list of the catalogue: its table, what is shown of a row, and who may read it."""

    table: Table
    columns: Callable[[Caller], Sequence[ColumnElement[Any]]]
    """What is shown, each with a label; the columns may come from the tables of `joined`."""
    joined: Callable[[FromClause], FromClause]
    visible: Callable[[Caller], Predicate]
    filters: tuple[Filter, ...] = ()
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Name of an order -> column, or a function that returns it for a caller."""
    default_order: str = "id"
    links: SourceLinks | None = None
    """The raster sources that the rows use."""


def page_statement(
    entity: Entity,
    caller: Caller,
    where: Sequence[Predicate],
    ordering: str,
    limit: int,
    offset: int,
) -> Select[Any]:
    """Select `limit` rows from `offset`, each with the `total` of all; no rows beyond the end.

    The page is cut before anything is joined to it, so that related objects are looked up for its rows only.
    """
    table = entity.table
    order = order_by(entity, ordering, caller)
    conditions = (entity.visible(caller), *where)
    page = select(table.c.id).where(*conditions).order_by(*order).limit(limit).offset(offset)
    total = count_statement(entity, caller, where).correlate(None).scalar_subquery()
    return (
        shown_rows(entity, caller)
        .add_columns(total.label("total"))
        .where(table.c.id.in_(page.correlate(None)))
        .order_by(*order)
    )


def count_statement(entity: Entity, caller: Caller, where: Sequence[Predicate]) -> Select[Any]:
    """Count the rows."""
    return select(func.count()).select_from(entity.table).where(entity.visible(caller), *where)


@lru_cache(maxsize=256)
def shown_rows(entity: Entity, caller: Caller) -> Select[Any]:
    """Select all rows with their columns. It is cached: to compose it takes longer than to run it."""
    return select(*entity.columns(caller)).select_from(entity.joined(entity.table))


def row_statement(entity: Entity, caller: Caller, key: Predicate) -> Select[Any]:
    """Select the row that a key identifies, if the caller may read it."""
    return shown_rows(entity, caller).where(entity.visible(caller), key)


def written_row_statement(entity: Entity, caller: Caller, row_id: int) -> Select[Any]:
    """Select a row that the caller has just written, whoever may read it."""
    return shown_rows(entity, caller).where(entity.table.c.id == row_id)


def order_by(entity: Entity, ordering: str, caller: Caller) -> list[ColumnElement[Any]]:
    """Return the columns of an order such as `name,-size`, nulls last; raise BadValue for an unknown name.

    The id is added, so that the order is total.
    """
    chosen: dict[str, ColumnElement[Any]] = {}
    for name in split_list(ordering) or [entity.default_order]:
        # A second mention of a column does not change the order.
        chosen.setdefault(name.removeprefix("-"), _directed(entity.orders, name, caller))
    return list({**chosen, "id": chosen.get("id", entity.table.c.id)}.values())


def _directed(orders: Mapping[str, Order], name: str, caller: Caller) -> ColumnElement[Any]:
    order = orders.get(name.removeprefix("-"))
    if order is None:
        raise BadValue(f"Must be one of {', '.join(orders)}, with - in front to reverse.")
    column = order if isinstance(order, ColumnElement) else order(caller)
    if not name.startswith("-"):
        return column.asc()  # PostgreSQL puts nulls last
    descending = column.desc()
    return descending.nulls_last() if getattr(column, "nullable", True) else descending
