"""Statements that read the catalogue: a page with the number of all rows in one round trip, or one row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    Table,
    any_,
    func,
    select,
)
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter
from pipeline.catalogue.lookups import BadValue, split_list
from pipeline.catalogue.source_links import SourceLinks

Predicate = ColumnElement[bool]
Order = ColumnElement[Any] | Callable[[Caller], ColumnElement[Any]]


@dataclass(frozen=True, eq=False)
class Counters:
    """A table with the number of rows (`amount`) of a list for some values of its columns."""

    table: Table
    columns: frozenset[str]
    """The columns of the list; the table has the same names for them."""
    visible: Callable[[Caller], Predicate]
    """Which numbers are of rows that the caller may read."""


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
    counters: Counters | None = None


@dataclass(frozen=True)
class Page:
    """The rows of a page."""

    ids: Select[tuple[int]]
    keys: Sequence["SortKey"]
    total: ScalarSelect[int]
    """The number of rows on all pages."""


def choose_page(
    entity: Entity, caller: Caller, where: Sequence[Predicate], ordering: str, limit: int, offset: int = 0
) -> Page:  # fmt: skip
    """Choose `limit` rows from `offset`, before anything is joined to them.

    The total comes from counters if they know it. Otherwise one pass finds the matching rows, for page and total.
    """
    table, visible = entity.table, entity.visible(caller)
    keys = sort_keys(entity, ordering, caller)
    total = _counted(entity, caller, where)
    if total is not None:
        ids = select(table.c.id).where(visible, *where).order_by(*in_order(keys))
        return Page(ids.limit(limit).offset(offset), keys, total)
    if entity.counters:
        # An index on access beside that of a filter takes longer than to test the rows that the filter finds.
        visible = visible.is_(True)
    columns = [key.column.label(f"key_{number}") for number, key in enumerate(keys)]
    matching = select(table.c.id, *columns).where(visible, *where).cte("matching")
    along = [key.sort(matching.c[column.name]) for key, column in zip(keys, columns, strict=True)]
    ids = select(matching.c.id).order_by(*along).limit(limit).offset(offset)
    total = select(func.count()).select_from(matching).scalar_subquery()
    return Page(ids, keys, total)


def page_statement(
    entity: Entity, caller: Caller, where: Sequence[Predicate], ordering: str, limit: int, offset: int
) -> Select[Any]:  # fmt: skip
    """Select the rows of a page, each with the `total` of all; no rows beyond the end."""
    page = choose_page(entity, caller, where, ordering, limit, offset)
    rows = rows_of_page(entity, caller, page).order_by(*in_order(page.keys))
    return rows.add_columns(page.total.label("total"))


def rows_of_page(entity: Entity, caller: Caller, page: Page) -> Select[Any]:
    """Select the rows of a page with their columns, in any order."""
    chosen = any_(func.array(page.ids.scalar_subquery()))
    return shown_rows(entity, caller).where(entity.table.c.id == chosen)


def count_statement(entity: Entity, caller: Caller, where: Sequence[Predicate]) -> Select[Any]:
    """Count the rows."""
    return select(choose_page(entity, caller, where, "", 0).total)


def _counted(
    entity: Entity, caller: Caller, where: Sequence[Predicate]
) -> ScalarSelect[int] | None:
    """Return the number of rows from the counters; None if a filter tests what they do not distinguish."""
    counters = entity.counters
    tested = [part for test in where for part in iterate(test) if isinstance(part, Column)]
    own = {part.name for part in tested if part.table is entity.table}
    if counters is None or not own <= counters.columns:
        return None
    counted = counters.table.c

    def replace(element: Any, **_: Any) -> Any:
        is_own = isinstance(element, Column) and element.table is entity.table
        return counted[element.name] if is_own else None

    tests = [replacement_traverse(test, {}, replace) for test in where]
    total = func.coalesce(func.sum(counted.amount), 0).cast(BigInteger)
    return select(total).where(counters.visible(caller), *tests).scalar_subquery()


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


@dataclass(frozen=True)
class SortKey:
    """One key of an order."""

    column: ColumnElement[Any]
    descending: bool = False

    def sort(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column, which has the values of this key, in the direction of the key; nulls are last."""
        if not self.descending:
            return column.asc()  # PostgreSQL puts nulls last
        descending = column.desc()
        return descending.nulls_last() if getattr(self.column, "nullable", True) else descending


def sort_keys(entity: Entity, ordering: str, caller: Caller) -> list[SortKey]:
    """Return the keys of an order such as `name,-size`; raise BadValue for an unknown name.

    The id is added, so that the order is total.
    """
    chosen: dict[str, SortKey] = {}
    for name in split_list(ordering) or [entity.default_order]:
        # A second mention of a column does not change the order.
        chosen.setdefault(name.removeprefix("-"), _sort_key(entity.orders, name, caller))
    return list({**chosen, "id": chosen.get("id", SortKey(entity.table.c.id))}.values())


def _sort_key(orders: Mapping[str, Order], name: str, caller: Caller) -> SortKey:
    order = orders.get(name.removeprefix("-"))
    if order is None:
        raise BadValue(f"Must be one of {', '.join(orders)}, with - in front to reverse.")
    column = order if isinstance(order, ColumnElement) else order(caller)
    return SortKey(column, name.startswith("-"))


def in_order(keys: Sequence[SortKey]) -> list[ColumnElement[Any]]:
    """Return the columns of an order, each in its direction."""
    return [key.sort(key.column) for key in keys]
