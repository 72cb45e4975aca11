"""Defines the lists of the catalogue: their columns and tables, and the condition for rows that a caller may read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    case,
    false,
    func,
    literal,
    or_,
    select,
    true,
)

from pipeline.catalogue import filters
from pipeline.catalogue.access import Caller, may_write, readable, readable_as, writable
from pipeline.catalogue.filters import file_name, visible_uri
from pipeline.catalogue.layers import derived_layer_fields
from pipeline.catalogue.select_rows import Counters, Entity
from pipeline.catalogue.source_links import (
    LABEL_TYPE_LINKS,
    LAYER_LINKS,
    SCENARIO_LINKS,
    SourceLinks,
)
from pipeline.database.tables import (
    coordinate_systems,
    label_types,
    layers,
    organisations,
    raster_files,
    raster_sources,
    rejected_files,
    roles,
    scenarios,
    source_counts,
    source_names,
    tasks,
    uploads,
    users,
)

Columns = Sequence[ColumnElement[Any]]


def _own(table: Table, *without: str) -> list[ColumnElement[Any]]:
    """Return the columns of the table, without some of them."""
    return [column for column in table.c if column.name not in without]


def _owner(table: Table, caller: Caller) -> list[ColumnElement[Any]]:
    """Return columns for the organisation, the supplier, and whether the caller may write the row."""
    return [
        organisations.c.uuid.label("organisation_uuid"),
        organisations.c.name.label("organisation_name"),
        users.c.username.label("supplier"),
        may_write(table, caller).label("writable"),
    ]


def _with_owner(table: FromClause) -> FromClause:
    return table.join(organisations, organisations.c.id == table.c.organisation_id).outerjoin(
        users, users.c.id == table.c.supplier_id
    )


def _dependents(links: SourceLinks, name: str) -> ColumnElement[Any]:
    """Return the uuids of all owners that use a raster source, oldest first, even those the caller may not read."""
    uuids = (
        select(links.owners.c.uuid)
        .join(links.table, links.owner_id == links.owners.c.id)
        .where(links.source_uuid == raster_sources.c.uuid)
        .order_by(links.owners.c.id)
        .correlate(raster_sources)
        .scalar_subquery()
    )
    return func.array(uuids).label(name)


def _used_sources(
    links: SourceLinks, *conditions: ColumnElement[bool], deleted: bool = False
) -> ColumnElement[Any]:
    """Return the uuids of the raster sources that a row uses: existing ones, or those that were deleted by force."""
    source = select(raster_sources.c.id).where(
        raster_sources.c.uuid == links.source_uuid, *conditions
    )
    uuids = (
        select(links.source_uuid)
        .where(
            links.owner_id == links.owners.c.id, ~source.exists() if deleted else source.exists()
        )
        .order_by(links.source_uuid)
        .correlate(links.owners)
        .scalar_subquery()
    )
    return func.array(uuids).label("deleted_sources" if deleted else "raster_sources")


def _raster_source_columns(caller: Caller) -> Columns:
    hidden = (
        "extent", "warnings", "definition", "group_key", "definition_hash", "declared_interval",
    )  # fmt: skip
    return [
        *_own(raster_sources, *hidden),
        *_owner(raster_sources, caller),
        _dependents(LAYER_LINKS, "layers"),
        _dependents(LABEL_TYPE_LINKS, "labeltypes"),
    ]


def _layer_columns(caller: Caller) -> Columns:
    return [
        *_own(layers, "temporal"),
        *_owner(layers, caller),
        *(fact.label(name) for name, fact in derived_layer_fields(caller).items()),
        _used_sources(LAYER_LINKS),
        _used_sources(LAYER_LINKS, deleted=True),
    ]


def _label_type_columns(caller: Caller) -> Columns:
    return [
        *_own(label_types),
        *_owner(label_types, caller),
        _used_sources(LABEL_TYPE_LINKS),
        _used_sources(LABEL_TYPE_LINKS, deleted=True),
    ]


def _scenario_columns(caller: Caller) -> Columns:
    return [
        *_own(scenarios),
        *_owner(scenarios, caller),
        _used_sources(SCENARIO_LINKS, readable(raster_sources, caller)),
    ]


def _readable(table: Table) -> Callable[[Caller], ColumnElement[bool]]:
    return lambda caller: readable(table, caller)


def _orders(table: Table, *names: str) -> dict[str, ColumnElement[Any]]:
    return {name: table.c[name] for name in ("name", *names, "created", "last_modified", "id")}


def _name_of(key: Column[Any], name: Column[Any]) -> ColumnElement[Any]:
    """Return the name of the referenced row in another table, for ordering."""
    named = select(name).where(name.table.c.id == key)
    return named.correlate(key.table).scalar_subquery()


def _readable_counts(caller: Caller) -> ColumnElement[bool]:
    counts = source_counts.c
    return readable_as(
        counts.access_modifier, counts.organisation_id, counts.hidden_supplier_id, caller
    )


RASTER_SOURCES = Entity(
    raster_sources,
    _raster_source_columns,
    _with_owner,
    _readable(raster_sources),
    filters.RASTER_SOURCES,
    _orders(
        raster_sources, "supplier_code", "size", "first_value_timestamp", "last_value_timestamp"
    ),
    counters=Counters(
        source_counts, frozenset({"organisation_id", "access_modifier"}), _readable_counts
    ),
    names=source_names,
)
LAYERS = Entity(
    layers,
    _layer_columns,
    _with_owner,
    _readable(layers),
    filters.LAYERS,
    {
        **_orders(layers, "supplier_code"),
        "supplier": _name_of(layers.c.supplier_id, users.c.username),
        "temporal": lambda caller: derived_layer_fields(caller)["temporal"],
        "organisation__name": _name_of(layers.c.organisation_id, organisations.c.name),
    },
    links=LAYER_LINKS,
)
LABEL_TYPES = Entity(
    label_types,
    _label_type_columns,
    _with_owner,
    _readable(label_types),
    filters.LABEL_TYPES,
    _orders(label_types),
    links=LABEL_TYPE_LINKS,
)
SCENARIOS = Entity(
    scenarios,
    _scenario_columns,
    _with_owner,
    _readable(scenarios),
    filters.SCENARIOS,
    {
        **_orders(scenarios, "model_name", "total_size"),
        "supplier": _name_of(scenarios.c.supplier_id, users.c.username),
    },
    links=SCENARIO_LINKS,
)


def file_title() -> ColumnElement[Any]:
    """Return the name of a file; for an upload, whose stored name is a uuid, the name that the client sent."""
    name = select(uploads.c.filename).where(uploads.c.uri == raster_files.c.uri)
    uploaded = name.correlate(raster_files).scalar_subquery()
    return func.coalesce(uploaded, file_name(raster_files.c.uri))


def _file_columns(caller: Caller) -> Columns:
    return [
        *_own(raster_files, "footprint", "uri"),
        case((writable(raster_sources, caller), raster_files.c.uri)).label("uri"),
        raster_files.c.uri.label("full_uri"),
        file_title().label("name"),
        coordinate_systems.c.projection.label("projection"),
    ]


def _with_source_and_system(table: FromClause) -> FromClause:
    return table.join(raster_sources, raster_sources.c.id == raster_files.c.source_id).join(
        coordinate_systems, coordinate_systems.c.id == raster_files.c.coordinate_system_id
    )


def _has_readable_source(table: Table) -> Callable[[Caller], ColumnElement[bool]]:
    """Return the condition for rows of raster sources that the caller may read."""
    return lambda caller: (
        select(raster_sources.c.id)
        .where(raster_sources.c.id == table.c.source_id, readable(raster_sources, caller))
        .exists()
    )


def _colleagues(caller: Caller) -> ColumnElement[bool]:
    """Return the condition for the caller and everyone who has a role in one of the caller's organisations."""
    if not caller.logged_in:
        return false()
    members = select(roles.c.user_id).where(roles.c.organisation_id.in_(sorted(caller.belongs_to)))
    return or_(users.c.id == caller.user_id, users.c.id.in_(members))


def _roles_in(user: ColumnElement[Any], organisation: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the roles of a user in an organisation."""
    names = (
        select(roles.c.role)
        .where(roles.c.user_id == user, roles.c.organisation_id == organisation)
        .order_by(roles.c.role)
    )
    return func.array(names.scalar_subquery()).label("roles")


def users_of(organisation_id: int) -> Entity:
    """Return the list of users who have a role in an organisation, with these roles and a filter by `role`."""
    members = select(roles.c.user_id).where(roles.c.organisation_id == organisation_id)
    return replace(
        USERS,
        columns=lambda caller: [
            *USERS.columns(caller),
            _roles_in(users.c.id, literal(organisation_id)),
        ],
        visible=lambda caller: and_(_colleagues(caller), users.c.id.in_(members)),
        filters=(*filters.USERS, filters.role_filter(organisation_id)),
    )


def organisations_of(user_id: int) -> Entity:
    """Return the list of organisations in which a user has a role, with these roles.

    Other callers see only the organisations in which they have a role themselves.
    """

    def visible(caller: Caller) -> ColumnElement[bool]:
        of_user = select(roles.c.organisation_id).where(roles.c.user_id == user_id)
        shared = organisations.c.id.in_(sorted(caller.belongs_to))
        return organisations.c.id.in_(of_user) & (shared if caller.user_id != user_id else true())

    return replace(
        ORGANISATIONS,
        columns=lambda _: [*_own(organisations), _roles_in(literal(user_id), organisations.c.id)],
        visible=visible,
    )


def _rejected_columns(caller: Caller) -> Columns:
    return [
        *_own(rejected_files, "uri"),
        visible_uri(caller).label("uri"),
        rejected_files.c.uri.label("full_uri"),
        file_name(rejected_files.c.uri).label("name"),
        organisations.c.uuid.label("organisation_uuid"),
        organisations.c.name.label("organisation_name"),
    ]


REJECTED_FILES = Entity(
    rejected_files,
    _rejected_columns,
    lambda table: table.join(organisations, organisations.c.id == table.c.organisation_id),
    lambda caller: rejected_files.c.organisation_id.in_(sorted(caller.reads)),
    filters.REJECTED_FILES,
    {
        name: rejected_files.c[name]
        for name in ("first_seen", "last_seen", "attempts", "code", "id")
    },
    default_order="-last_seen",
)
RASTER_FILES = Entity(
    raster_files,
    _file_columns,
    _with_source_and_system,
    _has_readable_source(raster_files),
    orders={"id": raster_files.c.id},
)
UPLOADS = Entity(
    uploads,
    lambda _: _own(uploads, "uri"),
    lambda table: table,
    _has_readable_source(uploads),
    filters.UPLOADS,
    {"id": uploads.c.id},
    default_order="-id",
)
USERS = Entity(
    users,
    lambda _: _own(users, "password_hash"),
    lambda table: table,
    _colleagues,
    filters.USERS,
    {"username": users.c.username, "id": users.c.id},
)
TASKS = Entity(tasks, lambda _: _own(tasks), lambda table: table, lambda _: true())
ORGANISATIONS = Entity(
    organisations,
    lambda _: _own(organisations),
    lambda table: table,
    lambda _: true(),
    filters.ORGANISATIONS,
    {"name": organisations.c.name, "id": organisations.c.id},
)


def usage_statement(organisation_id: int, caller: Caller) -> Select[Any]:
    """Count the raster sources and scenarios of an organisation that the caller may read, and add up their bytes."""
    totals = []
    for name, table, size in (
        ("raster", raster_sources, raster_sources.c.size),
        ("scenario", scenarios, scenarios.c.total_size),
    ):
        conditions = (table.c.organisation_id == organisation_id, readable(table, caller))
        count = select(func.count()).select_from(table).where(*conditions)
        total = select(func.coalesce(func.sum(size), 0).cast(BigInteger)).where(*conditions)
        totals += [
            count.scalar_subquery().label(f"{name}_count"),
            total.scalar_subquery().label(f"{name}_total_size"),
        ]
    return select(*totals)
