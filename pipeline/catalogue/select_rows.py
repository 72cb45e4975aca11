"""What can be read from the catalogue, as statements: a page with its true count in one round trip, or one row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Table, func, select

from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter
from pipeline.catalogue.lookups import BadValue, split_list

Predicate = ColumnElement[bool]


Order = ColumnElement[Any] | Callable[[Caller], ColumnElement[Any]]


@dataclass(frozen=True, eq=False)
class Entity:
    """A list of the catalogue: its table, what is shown of a row, and who may see it."""

    table: Table
    columns: Callable[[Caller], Sequence[ColumnElement[Any]]]
    """What is shown, each with a label; may use the tables of `joined`."""
    joined: Callable[[FromClause], FromClause]
    visible: Callable[[Caller], Predicate]
    filters: tuple[Filter, ...] = ()
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Name of an order -> column, or what it is for a caller; the default is ascending by id."""
    default_order: str = "id"
    uses: "SourceLinks | None" = None
    """Where it is stored which raster sources a row uses."""


@dataclass(frozen=True)
class SourceLinks:
    """The raster sources that the rows of a table use."""

    table: Table
    owner: str
    """Its column that names the user."""
    from_graph: bool = True
    """Whether a trigger keeps it from the graph in the column `source`; otherwise whoever writes does."""


def page_statement(
    entity: Entity,
    caller: Caller,
    where: Sequence[Predicate],
    ordering: str,
    limit: int,
    offset: int,
) -> Select[Any]:
    """`limit` rows from `offset`, each with the `total` of all; no row at all beyond the end.

    The page is cut before anything is joined to it, so that related objects are looked up for its rows alone.
    """
    table = entity.table
    order = order_by(entity, ordering, caller)
    visible = (entity.visible(caller), *where)
    cut = select(table.c.id).where(*visible).order_by(*order).limit(limit).offset(offset)
    total = count_statement(entity, caller, where).correlate(None).scalar_subquery()
    return (
        shown_rows(entity, caller)
        .add_columns(total.label("total"))
        .where(table.c.id.in_(cut.correlate(None)))
        .order_by(*order)
    )


def count_statement(entity: Entity, caller: Caller, where: Sequence[Predicate]) -> Select[Any]:
    """How many rows there are."""
    return select(func.count()).select_from(entity.table).where(entity.visible(caller), *where)


@lru_cache(maxsize=256)
def shown_rows(entity: Entity, caller: Caller) -> Select[Any]:
    """All rows with what is shown of them; composing this takes longer than running it."""
    return select(*entity.columns(caller)).select_from(entity.joined(entity.table))


def row_statement(entity: Entity, caller: Caller, key: Predicate) -> Select[Any]:
    """The one row that the key finds, if the caller may see it."""
    return shown_rows(entity, caller).where(entity.visible(caller), key)


def written_row_statement(entity: Entity, caller: Caller, number: int) -> Select[Any]:
    """The row that the caller has just written, as it is shown."""
    return shown_rows(entity, caller).where(entity.table.c.id == number)


def order_by(entity: Entity, ordering: str, caller: Caller) -> list[ColumnElement[Any]]:
    """The columns of `name,-size`: nulls last, made total by id; raises BadValue for an unknown name."""
    chosen: dict[str, ColumnElement[Any]] = {}
    for name in split_list(ordering) or [entity.default_order]:
        # What a column says of the order the second time is nothing.
        chosen.setdefault(name.removeprefix("-"), _directed(entity.orders, name, caller))
    return list({**chosen, "id": chosen.get("id", entity.table.c.id)}.values())


def _directed(orders: Mapping[str, Order], name: str, caller: Caller) -> ColumnElement[Any]:
    order = orders.get(name.removeprefix("-"))
    if order is None:
        raise BadValue(f"Must be one of {', '.join(orders)}, with - in front to reverse.")
    column = order if isinstance(order, ColumnElement) else order(caller)
    if not name.startswith("-"):
        return column.asc()  # nulls come last by default
    down = column.desc()
    return down.nulls_last() if getattr(column, "nullable", True) else down
