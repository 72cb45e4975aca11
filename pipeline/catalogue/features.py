"""Defines raster files and raster sources as features of STAC and OGC API: their place, time and queryables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal_column,
    null,
    or_,
    select,
)

from pipeline.catalogue.access import Access, Caller, may_write, readable
from pipeline.catalogue.cql2 import Kind
from pipeline.catalogue.filters import file_name
from pipeline.catalogue.lists import RASTER_SOURCES, file_title
from pipeline.database.tables import (
    coordinate_systems,
    label_type_sources,
    label_types,
    organisations,
    raster_files,
    raster_sources,
    uploads,
)

Predicate = ColumnElement[bool]
UTC_TIME = DateTime(timezone=True)
INDEXED_WORDS = 8
"""Maximum number of words for which PostgreSQL uses the index on names; for more words it tests all files."""
EPOCH = func.to_timestamp(0, type_=UTC_TIME)


@dataclass(frozen=True, eq=False)
class Queryable:
    """A property that filters and orders may name."""

    kind: Kind
    column: ColumnElement[Any]
    help: str
    order: ColumnElement[Any] | None = None
    """The expression to order by; None: the column."""
    is_required: bool = False
    """Whether every feature has a value to order by; then PostgreSQL can read an index in this order."""


@dataclass(frozen=True, eq=False)
class Features:
    """A kind of features."""

    table: Table
    """The table whose `id` identifies a feature within the catalogue."""
    rows: FromClause
    """The table, joined to the tables that its queryables and the access rule need."""
    geometry: ColumnElement[Any]
    start: ColumnElement[Any]
    end: ColumnElement[Any]
    """First and last time; a feature with unknown times has values that match any time."""
    queryables: Mapping[str, Queryable]
    mentions: Callable[[ColumnElement[Any], int], Predicate]
    """Takes an array of LIKE patterns and its length; returns the condition for features whose texts match one of them,
    ignoring case."""
    slow: frozenset[str]
    """Queryables that a function computes for each row; if there are any, searches for words are slow too."""
    count: Callable[[Caller, Sequence[Predicate]], ColumnElement[int]]
    """Returns the number of features whose raster source the caller may read and meets the conditions."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each queryable."""
        return {name: queryable.kind for name, queryable in self.queryables.items()}

    @property
    def columns(self) -> dict[str, ColumnElement[Any]]:
        """The column of each queryable."""
        return {name: queryable.column for name, queryable in self.queryables.items()}


def _time(name: str, *arguments: ColumnElement[Any]) -> ColumnElement[Any]:
    return getattr(func, name)(*arguments, type_=UTC_TIME)  # type: ignore[no-any-return]


def _number(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, Double)


def _text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, Text)


class FileName(Text):
    """The name of a file. PostgreSQL uses the index on names for `like`."""

    class Comparator(Text.Comparator[str]):
        """The operators of the column."""

        def like(self, other: Any, escape: str | None = None) -> Predicate:  # noqa: ARG002
            """Return the condition for files whose name is like a pattern."""
            return _titled("~~", other)

    comparator_factory = Comparator


def shown_name() -> ColumnElement[Any]:
    """Return the name of a file without folders."""
    return _last_part(file_title(), FileName)


def _titled(operator: str, pattern: ColumnElement[Any]) -> Predicate:
    """Return the condition for files whose name matches a pattern, in parts that can each use an index.

    The name of an upload is the file name that the client sent.
    """
    upload = (
        select(uploads.c.uri).where(uploads.c.uri == raster_files.c.uri).correlate(raster_files)
    )
    name_matches = _last_part(file_name(raster_files.c.uri)).bool_op(operator)(pattern)
    matches = _last_part(uploads.c.filename).bool_op(operator)(pattern)
    has_uri = uploads.c.uri.is_not(None)
    uploaded = func.array(select(uploads.c.uri).where(has_uri, matches).scalar_subquery())
    return or_(and_(name_matches, ~upload.exists()), raster_files.c.uri == any_(uploaded))


def _last_part(name: ColumnElement[Any], kind: type[Text] = Text) -> ColumnElement[Any]:
    return func.split_part(name, "/", -1, type_=kind)


def _file_mentions(patterns: ColumnElement[Any], count: int) -> Predicate:
    source = raster_sources.alias("mentioned")
    in_source = _any_matches([source.c.name, source.c.description], patterns)
    sources = func.array(select(source.c.id).where(in_source).scalar_subquery())
    if count > INDEXED_WORDS:
        titled = [_any_matches([shown_name()], patterns)]
    else:
        titled = [_titled("~~*", _entry(patterns, place)) for place in range(1, count + 1)]
    return or_(*titled, raster_files.c.source_id == any_(sources))


def _entry(array: ColumnElement[Any], place: int) -> ColumnElement[Any]:
    """Return an entry of an array in a subquery, so that the plan of PostgreSQL does not depend on its value."""
    return select(array[place]).scalar_subquery()


def _source_mentions(patterns: ColumnElement[Any], _: int) -> Predicate:
    columns = raster_sources.c
    return or_(
        _any_matches([columns.name, columns.description], patterns),
        labelled(columns.uuid, patterns),
    )


def _any_matches(texts: Sequence[ColumnElement[Any]], patterns: ColumnElement[Any]) -> Predicate:
    return or_(*(text.bool_op("~~*")(func.any(patterns)) for text in texts))


def _count_files(caller: Caller, conditions: Sequence[Predicate]) -> ColumnElement[int]:
    """Return the number of files: the sum over the sources that match, or the counters for all sources."""
    if not conditions:
        return _counted("files", caller)
    amount = cast(func.coalesce(func.sum(raster_sources.c.file_count), 0), BigInteger)
    visible = readable(raster_sources, caller)
    return select(amount).where(visible, *conditions).scalar_subquery()


def _count_sources(caller: Caller, conditions: Sequence[Predicate]) -> ColumnElement[int]:
    """Return the number of raster sources, from the counters if these have it."""
    if not conditions:
        return _counted("amount", caller)
    visible = readable(raster_sources, caller)
    return (
        select(func.count())
        .select_from(raster_sources)
        .where(visible, *conditions)
        .scalar_subquery()
    )


def _counted(column: str, caller: Caller) -> ColumnElement[int]:
    """Return the sum of a column of the counters."""
    counters = RASTER_SOURCES.counters
    assert counters
    amount = cast(func.coalesce(func.sum(counters.table.c[column]), 0), BigInteger)
    return select(amount).where(counters.visible(caller)).scalar_subquery()


_FILE, _SOURCE = raster_files.c, raster_sources.c
_FIRST, _LAST = _time("first_step", _FILE.times), _time("last_step", _FILE.times)
ITEMS = Features(
    raster_files,
    raster_files.join(raster_sources, _SOURCE.id == _FILE.source_id).outerjoin(
        coordinate_systems, coordinate_systems.c.id == _FILE.coordinate_system_id
    ),
    _FILE.footprint,
    _FIRST,
    _LAST,
    {
        "id": Queryable(Kind.TEXT, _text(_FILE.id), "The id of the item.", _FILE.id, is_required=True),
        "collection": Queryable(Kind.TEXT, _text(_SOURCE.uuid), "The uuid of its raster source."),
        "geometry": Queryable(Kind.GEOMETRY, _FILE.footprint, "The outline of its pixels."),
        "datetime": Queryable(Kind.TIME, _time("only_step", _FILE.times),
                              "Its time; null if it has none or several.", _FIRST, is_required=True),
        "start_datetime": Queryable(Kind.TIME, _FIRST, "Its first time; the year 1 if none is known.",
                                    is_required=True),
        "end_datetime": Queryable(Kind.TIME, _LAST, "Its last time; the year 9999 if none is known.",
                                  is_required=True),
        "updated": Queryable(Kind.TIME, _FILE.registered, "When it was last registered."),
        "title": Queryable(Kind.TEXT, shown_name(), "The name of the file."),
        "proj:code": Queryable(Kind.TEXT, coordinate_systems.c.projection, "Its CRS, such as EPSG:28992."),
        "rastersources:size": Queryable(Kind.NUMBER, _number(_FILE.size), "Bytes of the file.", is_required=True),
        "rastersources:dtype": Queryable(Kind.TEXT, _FILE.dtype, "numpy code of the pixels."),
        "rastersources:state": Queryable(Kind.TEXT, _FILE.state, "present or missing."),
        "rastersources:accuracy": Queryable(Kind.NUMBER, _FILE.operation_accuracy,
                                            "Accuracy of its place in metres."),
        "rastersources:time_unknown": Queryable(
            Kind.BOOLEAN, case((func.cardinality(_FILE.times, type_=Integer) == 0, True), else_=None),
            "true if no time is known; else null."),
    },
    _file_mentions,
    frozenset({"title"}),
    _count_files,
)  # fmt: skip
"""Raster files."""

TIMELESS: Predicate = and_(
    _SOURCE.first_value_timestamp == EPOCH,
    _SOURCE.last_value_timestamp == EPOCH,
    func.lacks_times(raster_sources.table_valued(), type_=Boolean),
)
"""Whether the times of a raster source are placeholders, because no time is known."""
_START = case((TIMELESS, None), else_=_SOURCE.first_value_timestamp)
_END = case((TIMELESS, None), else_=_SOURCE.last_value_timestamp)
COLLECTIONS = Features(
    raster_sources,
    raster_sources.join(organisations, organisations.c.id == _SOURCE.organisation_id),
    _SOURCE.extent,
    func.coalesce(_START, literal_column("'-infinity'::timestamptz", UTC_TIME)),
    func.coalesce(_END, literal_column("'infinity'::timestamptz", UTC_TIME)),
    {
        "id": Queryable(Kind.TEXT, _text(_SOURCE.uuid), "The uuid of the raster source.", _SOURCE.id,
                        is_required=True),
        "geometry": Queryable(Kind.GEOMETRY, _SOURCE.extent, "Its bounds."),
        "title": Queryable(Kind.TEXT, _SOURCE.name, "Its name.", is_required=True),
        "description": Queryable(Kind.TEXT, _SOURCE.description, "Free text."),
        "organisation": Queryable(Kind.TEXT, organisations.c.name, "The name of its owner."),
        "start_datetime": Queryable(Kind.TIME, _START, "Its first time; null if none is known."),
        "end_datetime": Queryable(Kind.TIME, _END, "Its last time; null if none is known."),
        "created": Queryable(Kind.TIME, _SOURCE.created, "When it was created.", is_required=True),
        "updated": Queryable(Kind.TIME, _SOURCE.last_modified, "When it last changed.", is_required=True),
        "rastersources:supplier_code": Queryable(Kind.TEXT, _SOURCE.supplier_code, "The supplier's own name for it."),
        "rastersources:temporal": Queryable(Kind.BOOLEAN, _SOURCE.temporal, "Whether it is a series in time."),
        "rastersources:file_count": Queryable(Kind.NUMBER, _number(_SOURCE.file_count), "Number of its files."),
        "rastersources:size": Queryable(Kind.NUMBER, _number(_SOURCE.size), "Bytes of its files."),
        "rastersources:dtype": Queryable(Kind.TEXT, _SOURCE.dtype, "numpy code of its pixels."),
    },
    _source_mentions,
    frozenset(),
    _count_sources,
)  # fmt: skip
"""Raster sources."""


MOST_SOURCES = 10_000
"""A caller who may read more raster sources than this gets the whole world as their bounds, as that is fast."""


def bounds_of_sources(caller: Caller) -> Select[Any]:
    """Return the statement for west, south, east and north of all sources that a caller may read; null without bounds.

    If sources lie across the antimeridian or on both sides of it, the bounds contain all longitudes.
    """
    columns = (_SOURCE.west, _SOURCE.south, _SOURCE.east, _SOURCE.north)
    visible = readable(raster_sources, caller)
    rows = select(*columns).where(visible).limit(MOST_SOURCES + 1).subquery("visible")
    west, south, east, north = rows.c
    is_many, crosses = func.count() > MOST_SOURCES, func.bool_or(west > east)
    return select(
        case((or_(is_many, crosses), -180.0), else_=func.min(west)),
        case((is_many, -90.0), else_=func.min(south)),
        case((or_(is_many, crosses), 180.0), else_=func.max(east)),
        case((is_many, 90.0), else_=func.max(north)),
    )


def labelled(source: ColumnElement[Any], patterns: Any) -> Predicate:
    """Return the condition for raster sources with a keyword that matches one of an array of LIKE patterns."""
    pairs = label_type_sources.c
    label_sources = label_types.c.name.bool_op("~~*")(func.any(patterns))
    public = label_types.c.access_modifier == int(Access.Public)
    return source.in_(
        select(pairs.source_uuid)
        .join(label_types, label_types.c.id == pairs.label_type_id)
        .where(public, label_sources)
    )


def intersects(features: Features, shapes: Sequence[Any]) -> Predicate:
    """Return the condition for features that intersect one of the shapes."""
    return or_(*(func.ST_Intersects(features.geometry, shape) for shape in shapes))


def within_time(features: Features, start: Any, end: Any) -> Predicate:
    """Return the condition for features that have a time from `start` to `end`."""
    return and_(features.start <= end, features.end >= start)


def named_file(caller: Caller, published: tuple[Any, Any] | None) -> FromClause:
    """Return a lateral subquery for the rows of ITEMS, with `title` and `href` of the file.

    `href` is its public URL, or its URI for callers who may write it. `published` has an array of prefixes and an array
    of their URLs.
    """
    uri = raster_files.c.uri
    urls: list[ColumnElement[Any]] = []
    if published is not None:
        urls.append(func.stac_href(uri, *published))
    if caller.logged_in:
        urls.append(case((may_write(raster_sources, caller), uri)))
    href = func.coalesce(*urls, type_=Text) if urls else cast(null(), Text)
    # Without OFFSET 0, PostgreSQL would compute the name once for each place where the item has it.
    names = select(shown_name().label("title"), href.label("href")).offset(0)
    return names.correlate(raster_files, raster_sources).lateral("named")
