"""Composes statements that read a list: a page with the number of all rows in one round trip, or one row."""

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
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from pipeline.catalogue.access import Caller
from pipeline.catalogue.filters import Filter
from pipeline.catalogue.lookups import BadValue, split_list
from pipeline.catalogue.source_links import SourceLinks

Predicate = ColumnElement[bool]
Order = ColumnElement[Any] | Callable[[Caller], ColumnElement[Any]]


@dataclass(frozen=True, eq=False)
class Counters:
    """A table that stores the number of rows (`amount`) of a list for each combination of some columns."""

    table: Table
    columns: frozenset[str]
    """The names of these columns, in the list and in this table."""
    visible: Callable[[Caller], Predicate]
    """The condition for counts of rows that the caller may read."""


@dataclass(frozen=True, eq=False)
class Entity:
    """A list of the catalogue: its table, its columns, and the condition for rows that a caller may read."""

    table: Table
    columns: Callable[[Caller], Sequence[ColumnElement[Any]]]
    """The columns that are shown, each with a label; they may come from the tables of `joined`."""
    joined: Callable[[FromClause], FromClause]
    visible: Callable[[Caller], Predicate]
    filters: tuple[Filter, ...] = ()
    orders: Mapping[str, Order] = field(default_factory=dict)
    """Name of an order -> column, or a function that returns it for a caller."""
    default_order: str = "id"
    links: SourceLinks | None = None
    """The raster sources that the rows use."""
    counters: Counters | None = None
    names: Table | None = None
    """A narrow table for searches: the `id` of each row, some columns of the list, and some of them in upper case."""


@dataclass(frozen=True)
class Page:
    """The rows of a page."""

    ids: Select[tuple[int]]
    keys: Sequence["SortKey"]
    total: ScalarSelect[int]
    """The number of rows on all pages."""


def choose_page(
    entity: Entity, caller: Caller, conditions: Sequence[Predicate], ordering: str, limit: int, offset: int = 0
) -> Page:  # fmt: skip
    """Choose `limit` rows from `offset`, before any table is joined to them.

    The total comes from the counters if they have it. Otherwise one pass finds the matching rows for page and total.
    """
    table, visible = entity.table, entity.visible(caller)
    keys = sort_keys(entity, ordering, caller)
    total = _counted(entity, caller, conditions)
    if total is not None:
        ids = select(table.c.id).where(visible, *conditions).order_by(*in_order(keys))
        return Page(ids.limit(limit).offset(offset), keys, total)
    columns = [key.column.label(f"key_{number}") for number, key in enumerate(keys)]
    matching = matching_rows(entity, [table.c.id, *columns], visible, conditions).cte("matching")
    along = [key.sort(matching.c[column.name]) for key, column in zip(keys, columns, strict=True)]
    ids = select(matching.c.id).order_by(*along).limit(limit).offset(offset)
    total = select(func.count()).select_from(matching).scalar_subquery()
    return Page(ids, keys, total)


def page_statement(
    entity: Entity, caller: Caller, conditions: Sequence[Predicate], ordering: str, limit: int, offset: int
) -> Select[Any]:  # fmt: skip
    """Select the rows of a page, each with the `total` of all rows; beyond the end it returns no rows."""
    page = choose_page(entity, caller, conditions, ordering, limit, offset)
    rows = rows_of_page(entity, caller, page).order_by(*in_order(page.keys))
    return rows.add_columns(page.total.label("total"))


def rows_of_page(entity: Entity, caller: Caller, page: Page) -> Select[Any]:
    """Select the rows of a page with their columns, in any order."""
    chosen = any_(func.array(page.ids.scalar_subquery()))
    return shown_rows(entity, caller).where(entity.table.c.id == chosen)


def count_statement(entity: Entity, caller: Caller, conditions: Sequence[Predicate]) -> Select[Any]:
    """Count the rows."""
    return select(choose_page(entity, caller, conditions, "", 0).total)


def _counted(
    entity: Entity, caller: Caller, conditions: Sequence[Predicate]
) -> ScalarSelect[int] | None:
    """Return the number of rows from the counters; None if a filter tests another column than theirs."""
    counters = entity.counters
    tested = [part for test in conditions for part in iterate(test) if isinstance(part, Column)]
    names = {part.name for part in tested if part.table is entity.table}
    if counters is None or not names <= counters.columns:
        return None
    tests = _read_from(counters.table, entity.table, conditions)
    total = func.coalesce(func.sum(counters.table.c.amount), 0).cast(BigInteger)
    return select(total).where(counters.visible(caller), *tests).scalar_subquery()


def matching_rows(
    entity: Entity, columns: Sequence[ColumnElement[Any]], visible: Predicate, conditions: Sequence[Predicate]
) -> Select[Any]:  # fmt: skip
    """Select columns of the rows that match. A search that ignores case reads the table of names in upper case."""
    table, names = entity.table, entity.names
    searched = (_in_other(names, table, part) for test in conditions for part in iterate(test))
    if names is None or all(found is None or found.name in table.c for found in searched):
        # Testing the rows that a filter finds is faster than also reading an index on access.
        return select(*columns).where(
            visible.is_(True) if entity.counters else visible, *conditions
        )
    # PostgreSQL removes the join if `names` has all columns that are read.
    joined = names.outerjoin(table, table.c.id == names.c.id)
    statement = select(*_read_from(names, table, columns)).select_from(joined)
    return statement.where(*_read_from(names, table, [visible, *conditions]))


def _read_from(
    other: Table, table: Table, expressions: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[Any]]:
    """Return expressions that read the columns of another table where it has them, or has them in upper case."""

    def replace(element: Any, **_: Any) -> Any:
        return _in_other(other, table, element)

    return [replacement_traverse(expression, {}, replace) for expression in expressions]


def _in_other(other: Table | None, table: Table, element: Any) -> Column[Any] | None:
    """Return the column of another table that has the values of a column, or of its upper case; None without one."""
    is_upper = isinstance(element, FunctionElement) and element.name == "upper"
    column = next(iter(element.clauses)) if is_upper else element
    if other is None or not isinstance(column, Column) or column.table is not table:
        return None
    return other.c.get(f"{column.name}_upper" if is_upper else column.name)


@lru_cache(maxsize=256)
def shown_rows(entity: Entity, caller: Caller) -> Select[Any]:
    """Select all rows with their columns. The statement is cached, because it takes longer to compose than to run."""
    return select(*entity.columns(caller)).select_from(entity.joined(entity.table))


def row_statement(entity: Entity, caller: Caller, key: Predicate) -> Select[Any]:
    """Select the row that a key identifies, if the caller may read it."""
    return shown_rows(entity, caller).where(entity.visible(caller), key)


def written_row_statement(entity: Entity, caller: Caller, row_id: int) -> Select[Any]:
    """Select a row that the caller has just written, even if the caller may not read it."""
    return shown_rows(entity, caller).where(entity.table.c.id == row_id)


@dataclass(frozen=True)
class SortKey:
    """One key of an order."""

    column: ColumnElement[Any]
    descending: bool = False

    def sort(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the ORDER BY term for a column with the values of this key; nulls are last."""
        if not self.descending:
            return column.asc()  # PostgreSQL puts nulls last
        descending = column.desc()
        return descending.nulls_last() if getattr(self.column, "nullable", True) else descending


def sort_keys(entity: Entity, ordering: str, caller: Caller) -> list[SortKey]:
    """Return the keys of an order such as `name,-size`; raise BadValue for an unknown name.

    The last key is the id, so that the order is total.
    """
    chosen: dict[str, SortKey] = {}
    for name in split_list(ordering) or [entity.default_order]:
        # Repeating a column does not change the order.
        chosen.setdefault(name.removeprefix("-"), _sort_key(entity.orders, name, caller))
    return list({**chosen, "id": chosen.get("id", SortKey(entity.table.c.id))}.values())


def _sort_key(orders: Mapping[str, Order], name: str, caller: Caller) -> SortKey:
    order = orders.get(name.removeprefix("-"))
    if order is None:
        raise BadValue(f"Must be one of {', '.join(orders)}, with - in front to reverse.")
    column = order if isinstance(order, ColumnElement) else order(caller)
    return SortKey(column, name.startswith("-"))


def in_order(keys: Sequence[SortKey]) -> list[ColumnElement[Any]]:
    """Return the ORDER BY terms of keys."""
    return [key.sort(key.column) for key in keys]
