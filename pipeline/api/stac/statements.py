"""Composes the statements of STAC and OGC API: a page of features as JSON, their number, and the key of the next page.

The text of a statement depends only on the `StatementForm` of a request, and is composed once for each form.
The values of the request are its parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    case,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.expression import CTE
from sqlalchemy.types import TypeEngine

from pipeline.api.resources.json_rows import numbered, parameter, power_of_ten, stand_in
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.resources.whole_list import feature_members
from pipeline.catalogue.access import Caller, readable
from pipeline.catalogue.cql2 import Kind, Node
from pipeline.catalogue.cql2_sql import can_fail, condition
from pipeline.catalogue.features import (
    COLLECTIONS,
    ITEMS,
    TIMELESS,
    Features,
    intersects,
    named_file,
    within_time,
)
from pipeline.catalogue.select_rows import shown_rows
from pipeline.database.queries import NumberedQuery
from pipeline.database.tables import coordinate_systems, organisations, raster_files, raster_sources

SQL_TYPES: Mapping[Kind, tuple[str, TypeEngine[Any]]] = {
    Kind.NUMBER: ("double precision", Double()),
    Kind.TEXT: ("text", Text()),
    Kind.BOOLEAN: ("boolean", Boolean()),
    Kind.TIME: ("timestamptz", DateTime(timezone=True)),
    Kind.GEOMETRY: ("text::geometry", Text()),
}
FEATURES = {"item": ITEMS, "collection": COLLECTIONS, "source": COLLECTIONS}
"""Form of the features (`StatementForm.written`) -> the features to search."""


@dataclass(frozen=True)
class Order:
    """One key of an order."""

    name: str
    """The name of a queryable."""
    descending: bool = False


@dataclass(frozen=True)
class StatementForm:
    """What the text of a statement depends on."""

    written: str
    """The form of the features: item, collection or source."""
    logged_in: bool
    publishes: bool = False
    """Whether files have public URLs."""
    collections: int = 0
    """0: all raster sources; 1: one raster source; 2: several."""
    ids: bool = False
    geometries: int = 0
    time: bool = False
    words: int = 0
    filters: tuple[tuple[int, Node], ...] = ()
    """Each filter with the number that the names of its values contain."""
    orders: tuple[Order, ...] = ()
    after: tuple[bool, ...] | None = None
    """For each key of the order: whether the last feature of the previous page has no value. None: the first page."""
    most: int = 10
    """A power of ten that is not below the number of the last row of the page."""

    @property
    def features(self) -> Features:
        """The table and queryables of the features."""
        return FEATURES[self.written]

    @property
    def is_filtered(self) -> bool:
        """Whether a filter other than the collection is active."""
        return bool(self.ids or self.geometries or self.time or self.words or self.filters)


def value(name: str, kind: Kind) -> ColumnElement[Any]:
    """Return a parameter in a subquery, so that the plan of PostgreSQL does not depend on its value."""
    sql_type, kept_type = SQL_TYPES[kind]
    return literal_column(f"(SELECT %({name})s::{sql_type})", kept_type)


@dataclass(frozen=True)
class Key:
    """One key of an order in SQL."""

    column: ColumnElement[Any]
    sql_type: str
    descending: bool
    is_required: bool

    def sort(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the ORDER BY term of this key for a column; nulls are last."""
        if not self.descending:
            return column.asc()
        return column.desc() if self.is_required else column.desc().nulls_last()

    def follows(self, column: ColumnElement[Any], last: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition for values that come after the last one of the previous page."""
        later = column < last if self.descending else column > last
        return later if self.is_required else or_(later, column.is_(None))


@lru_cache(maxsize=512)
def page_query(form: StatementForm) -> NumberedQuery:
    """Return the statement for the number of all features, a page as JSON, its length, and the keys of its end.

    The keys are null on the last page.
    """
    features, caller = form.features, stand_in(form.logged_in)
    keys = order_keys(form)
    columns: list[ColumnElement[Any]] = [
        key.column.label(f"key_{number}") for number, key in enumerate(keys)
    ]
    visible, own = readable(raster_sources, caller), own_conditions(form)
    where = [visible, *own, *filter_conditions(form, visible)]
    matches = select(features.table.c.id, *columns).select_from(features.rows).where(*where)
    if form.is_filtered:
        matching = matches.cte("matching")
        total: ColumnElement[int] = select(func.count()).select_from(matching).scalar_subquery()
        columns = [matching.c[f"key_{number}"] for number in range(len(keys))]
        matches = select(matching.c.id, *columns)
    else:
        total = features.count(caller, own)
        columns = [key.column for key in keys]
    ordered = matches.where(*after(form, keys, columns)).order_by(*in_order(keys, columns))
    page = page_of(ordered, keys, form.most)
    limit, offset = (parameter(name, BigInteger()) for name in ("limit", "offset"))
    chosen = select(page).where(page.c.place <= limit + offset).subquery("chosen")
    text, joined = WRITERS[form.written](form, caller, chosen)
    texts = func.string_agg(text, aggregate_order_by(literal_column("','"), chosen.c.place))
    written = select(func.concat("[", texts, "]")).select_from(joined).scalar_subquery()
    length = select(func.count()).select_from(chosen).scalar_subquery()
    page_and_next = page.alias("page_and_next")
    more = select(page_and_next.c.id).where(page_and_next.c.place == limit + offset + 1).exists()
    ends = func.json_build_array(
        *(cast(page.c[f"key_{number}"], Text) for number in range(len(keys)))
    )
    last = select(cast(ends, Text)).where(page.c.place == limit + offset, more).scalar_subquery()
    return numbered(select(total, written, length, last))


def page_of(ordered: Select[Any], keys: Sequence[Key], most: int) -> CTE:
    """Return the rows of a page and one more, each with its position `place`.

    The outer limit is a parameter. The inner limit is a constant, so that PostgreSQL plans for few rows.
    """
    first = ordered.limit(most).subquery("first_rows")
    order = in_order(keys, [first.c[f"key_{number}"] for number in range(len(keys))])
    place = func.row_number().over(order_by=order).label("place")
    limit, offset = (parameter(name, BigInteger()) for name in ("limit", "offset"))
    return select(first, place).order_by(*order).limit(limit + 1).offset(offset).cte("page")


def order_keys(form: StatementForm) -> list[Key]:
    """Return the keys of the order; the last is the id, so that the order is total."""
    identity, keys = form.features.table.c.id, []
    for order in form.orders:
        queryable = form.features.queryables[order.name]
        column = queryable.column if queryable.order is None else queryable.order
        sql_type = "bigint" if column is identity else SQL_TYPES[queryable.kind][0]
        keys.append(Key(column, sql_type, order.descending, queryable.is_required))
    return [*keys, Key(identity, "bigint", descending=False, is_required=True)]


def in_order(
    keys: Sequence[Key], columns: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[Any]]:
    """Return the ORDER BY terms of keys for columns with their values."""
    return [key.sort(column) for key, column in zip(keys, columns, strict=True)]


def after(
    form: StatementForm, keys: Sequence[Key], columns: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[bool]]:
    """Return the conditions for features after the last one of the previous page."""
    if form.after is None:
        return []
    same: list[ColumnElement[bool]] = []
    choices, bounds = [], []
    for index, (key, column, is_null) in enumerate(zip(keys, columns, form.after, strict=True)):
        last = literal_column(f"%(after_{index})s::{key.sql_type}", column.type)
        if not is_null:
            choices.append(and_(*same, key.follows(column, last)))
        if index == 0 and key.is_required:  # lets PostgreSQL start in the middle of an index
            bounds.append(column <= last if key.descending else column >= last)
        same.append(column.is_(None) if is_null else column == last)
    return [*bounds, or_(false(), *choices)]


def own_conditions(form: StatementForm) -> list[ColumnElement[bool]]:
    """Return the conditions on the raster source; PostgreSQL reads the files of a single one in order of an index."""
    uuids = literal_column("(%(collections)s::uuid[])", ARRAY(Uuid()))
    if form.collections == 1:
        source = raster_sources.alias("named_source")
        source_id = select(source.c.id).where(source.c.uuid == uuids[1])
        return [raster_sources.c.id == source_id.scalar_subquery()]
    return [raster_sources.c.uuid == any_(uuids)] if form.collections else []


def filter_conditions(
    form: StatementForm, visible: ColumnElement[bool]
) -> list[ColumnElement[bool]]:
    """Return the conditions on features. An error in one must not reveal features that are not visible."""
    features, conditions = form.features, []
    if form.ids:
        conditions.append(features.table.c.id == any_(literal_column("%(ids)s::bigint[]")))
    if form.geometries:
        geometries = [
            value(f"geometry_{number}", Kind.GEOMETRY) for number in range(form.geometries)
        ]
        conditions.append(intersects(features, geometries))
    if form.time:
        conditions.append(
            within_time(features, value("start_time", Kind.TIME), value("end_time", Kind.TIME))
        )
    if form.words:
        conditions.append(
            features.mentions(literal_column("(%(words)s::text[])", ARRAY(Text())), form.words)
        )
    for number, tree in form.filters:
        for part in tree.parts if tree.op == "and" else (tree,):
            test = condition(part, features.columns, filter_values(number))
            conditions.append(case((visible, test)) if can_fail(part) else test)
    return conditions


def filter_values(number: int) -> Any:
    """Return the function that returns the parameter for a value of a filter."""
    return lambda place, kind: value(f"filter_{number}_{place}", kind)


ROOT, API_URL = (literal_column(f"%({name})s::text", Text()) for name in ("root", "api"))


def write_item(form: StatementForm, caller: Caller, chosen: Any) -> tuple[ColumnElement[str], Any]:
    """Return the JSON of an item, and the tables that it comes from."""
    prefixes, urls = (
        literal_column(f"%({name})s::text[]", Text()) for name in ("prefixes", "urls")
    )
    file_names = named_file(caller, (prefixes, urls) if form.publishes else None)
    rows = ITEMS.rows.join(chosen, chosen.c.id == raster_files.c.id).join(
        file_names, literal_column("true")
    )
    text = func.stac_item(
        raster_files.table_valued(), raster_sources.c.uuid, coordinate_systems.table_valued(),
        file_names.c.title, file_names.c.href, ROOT, API_URL,
    )  # fmt: skip
    return text, rows


def write_collection(_: StatementForm, __: Caller, chosen: Any) -> tuple[ColumnElement[str], Any]:
    """Return the JSON of a collection, and the tables that it comes from."""
    text = func.stac_collection(
        raster_sources.table_valued(), organisations.c.name, TIMELESS, ROOT, API_URL
    )
    return cast(text, Text), COLLECTIONS.rows.join(chosen, chosen.c.id == raster_sources.c.id)


def write_source(_: StatementForm, caller: Caller, chosen: Any) -> tuple[ColumnElement[str], Any]:
    """Return the JSON of a raster source as a feature, and the tables; its properties are the row of the list."""
    listed = shown_rows(RASTER_SOURCES.entity, caller).add_columns(raster_sources.c.extent)
    rows = listed.subquery("shown")  # feature_members reads this name
    columns = rows.c
    text = func.concat(
        *feature_members(columns), ',"links":[',
        func.json_build_object("rel", "self", "type", "application/geo+json",
                               "href", func.concat(ROOT, "/collections/rastersources/items/", columns.uuid)),
        ",",
        func.json_build_object("rel", "collection", "type", "application/json",
                               "href", func.concat(ROOT, "/collections/rastersources")),
        "]}",
    )  # fmt: skip
    return text, rows.join(chosen, chosen.c.id == columns.id)


WRITERS = {"item": write_item, "collection": write_collection, "source": write_source}


def most_rows(limit: int, offset: int) -> int:
    """Return the smallest power of ten above the number of the last row of a page."""
    return power_of_ten(limit + offset + 1)
