"""The lists of the catalogue: what each shows of a row, from which tables, to whom."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
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
from pipeline.catalogue.access import Caller, may_write, readable, writable
from pipeline.catalogue.filters import file_name, visible_uri
from pipeline.catalogue.layers import derived_layer_fields
from pipeline.catalogue.select_rows import Entity, SourceLinks
from pipeline.database.tables import (
    coordinate_systems,
    label_type_sources,
    label_types,
    layer_sources,
    layers,
    organisations,
    raster_files,
    raster_sources,
    rejected_files,
    roles,
    scenario_sources,
    scenarios,
    tasks,
    uploads,
    users,
)

Columns = Sequence[ColumnElement[Any]]


def _own(table: Table, *without: str) -> list[ColumnElement[Any]]:
    """The columns of the table itself."""
    return [column for column in table.c if column.name not in without]


def _owner(table: Table, caller: Caller) -> list[ColumnElement[Any]]:
    """What is shown of the organisation and the supplier, and whether the caller may write the row."""
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


def _dependents(uses: Table, owner: str, owners: Table, name: str) -> ColumnElement[Any]:
    """The uuids of all that use a raster source, oldest first; also of those that the caller may not read."""
    found = (
        select(owners.c.uuid)
        .join(uses, uses.c[owner] == owners.c.id)
        .where(uses.c.source_uuid == raster_sources.c.uuid)
        .order_by(owners.c.id)
        .correlate(raster_sources)
        .scalar_subquery()
    )
    return func.array(found).label(name)


def _used(
    uses: Table,
    owner: str,
    owners: Table,
    *where: ColumnElement[bool],
    deleted: bool = False,
) -> ColumnElement[Any]:
    """The uuids of the raster sources that a row uses: those that exist, or those that were deleted by force."""
    there = select(raster_sources.c.id).where(raster_sources.c.uuid == uses.c.source_uuid, *where)
    found = (
        select(uses.c.source_uuid)
        .where(uses.c[owner] == owners.c.id, ~there.exists() if deleted else there.exists())
        .order_by(uses.c.source_uuid)
        .correlate(owners)
        .scalar_subquery()
    )
    return func.array(found).label("deleted_sources" if deleted else "raster_sources")


def _raster_source_columns(caller: Caller) -> Columns:
    hidden = (
        "extent",
        "notices",
        "definition",
        "group_key",
        "definition_hash",
        "declared_interval",
    )
    return [
        *_own(raster_sources, *hidden),
        *_owner(raster_sources, caller),
        _dependents(layer_sources, "layer_id", layers, "layers"),
        _dependents(label_type_sources, "label_type_id", label_types, "labeltypes"),
    ]


def _layer_columns(caller: Caller) -> Columns:
    return [
        *_own(layers, "temporal"),
        *_owner(layers, caller),
        *(fact.label(name) for name, fact in derived_layer_fields(caller).items()),
        _used(layer_sources, "layer_id", layers),
        _used(layer_sources, "layer_id", layers, deleted=True),
    ]


def _label_type_columns(caller: Caller) -> Columns:
    return [
        *_own(label_types),
        *_owner(label_types, caller),
        _used(label_type_sources, "label_type_id", label_types),
        _used(label_type_sources, "label_type_id", label_types, deleted=True),
    ]


def _scenario_columns(caller: Caller) -> Columns:
    return [
        *_own(scenarios),
        *_owner(scenarios, caller),
        _used(scenario_sources, "scenario_id", scenarios, readable(raster_sources, caller)),
    ]


def _readable(table: Table) -> Callable[[Caller], ColumnElement[bool]]:
    return lambda caller: readable(table, caller)


def _orders(table: Table, *names: str) -> dict[str, ColumnElement[Any]]:
    return {name: table.c[name] for name in ("name", *names, "created", "last_modified", "id")}


def _supplier(table: Table) -> ColumnElement[Any]:
    """The username of the supplier, to order by."""
    found = select(users.c.username).where(users.c.id == table.c.supplier_id)
    return found.correlate(table).scalar_subquery()


def _organisation_name(table: Table) -> ColumnElement[Any]:
    """The name of the organisation, to order by."""
    found = select(organisations.c.name).where(organisations.c.id == table.c.organisation_id)
    return found.correlate(table).scalar_subquery()


RASTER_SOURCES = Entity(
    raster_sources,
    _raster_source_columns,
    _with_owner,
    _readable(raster_sources),
    filters.RASTER_SOURCES,
    _orders(
        raster_sources, "supplier_code", "size", "first_value_timestamp", "last_value_timestamp"
    ),
)
LAYERS = Entity(
    layers,
    _layer_columns,
    _with_owner,
    _readable(layers),
    filters.LAYERS,
    {
        **_orders(layers, "supplier_code"),
        "supplier": _supplier(layers),
        "temporal": lambda caller: derived_layer_fields(caller)["temporal"],
        "organisation__name": _organisation_name(layers),
    },
    uses=SourceLinks(layer_sources, "layer_id"),
)
LABEL_TYPES = Entity(
    label_types,
    _label_type_columns,
    _with_owner,
    _readable(label_types),
    filters.LABEL_TYPES,
    _orders(label_types),
    uses=SourceLinks(label_type_sources, "label_type_id"),
)
SCENARIOS = Entity(
    scenarios,
    _scenario_columns,
    _with_owner,
    _readable(scenarios),
    filters.SCENARIOS,
    {**_orders(scenarios, "model_name", "total_size"), "supplier": _supplier(scenarios)},
    uses=SourceLinks(scenario_sources, "scenario_id", from_graph=False),
)


def _given_name() -> ColumnElement[Any]:
    """The name that the client gave to an uploaded file; ours says nothing."""
    found = select(uploads.c.filename).where(uploads.c.uri == raster_files.c.uri)
    return found.correlate(raster_files).scalar_subquery()


def _file_columns(caller: Caller) -> Columns:
    return [
        *_own(raster_files, "footprint", "uri"),
        case((writable(raster_sources, caller), raster_files.c.uri)).label("uri"),
        raster_files.c.uri.label("place"),
        func.coalesce(_given_name(), file_name(raster_files.c.uri)).label("name"),
        coordinate_systems.c.projection.label("projection"),
    ]


def _with_source_and_system(table: FromClause) -> FromClause:
    return table.join(raster_sources, raster_sources.c.id == raster_files.c.source_id).join(
        coordinate_systems, coordinate_systems.c.id == raster_files.c.coordinate_system_id
    )


def _of_readable_source(table: Table) -> Callable[[Caller], ColumnElement[bool]]:
    """Rows of the raster sources that the caller may see."""
    return lambda caller: (
        select(raster_sources.c.id)
        .where(raster_sources.c.id == table.c.source_id, readable(raster_sources, caller))
        .exists()
    )


def _user_columns(_: Caller) -> Columns:
    return [column for column in users.c if column.name != "password_hash"]


def _colleagues(caller: Caller) -> ColumnElement[bool]:
    """The caller, and everyone who has a role where the caller has one."""
    shared = select(roles.c.user_id).where(roles.c.organisation_id.in_(sorted(caller.belongs_to)))
    return (
        or_(users.c.id == caller.user_id, users.c.id.in_(shared)) if caller.logged_in else false()
    )


def held_roles(user: ColumnElement[Any], organisation: ColumnElement[Any]) -> ColumnElement[Any]:
    """The roles of a user in an organisation."""
    held = (
        select(roles.c.role)
        .where(roles.c.user_id == user, roles.c.organisation_id == organisation)
        .order_by(roles.c.role)
    )
    return func.array(held.scalar_subquery()).label("roles")


def users_of(organisation_id: int) -> Entity:
    """Those who have a role in an organisation, with their roles there; filtered by `role` too."""
    held = select(roles.c.user_id).where(roles.c.organisation_id == organisation_id)
    return replace(
        USERS,
        columns=lambda caller: [
            *_user_columns(caller),
            held_roles(users.c.id, literal(organisation_id)),
        ],
        visible=lambda caller: and_(_colleagues(caller), users.c.id.in_(held)),
        filters=(*filters.USERS, filters.role_filter(organisation_id)),
    )


def organisations_of(user_id: int) -> Entity:
    """Where a user has a role, with their roles there; as far as the caller belongs there too, or is the user."""

    def visible(caller: Caller) -> ColumnElement[bool]:
        held = select(roles.c.organisation_id).where(roles.c.user_id == user_id)
        shared = organisations.c.id.in_(sorted(caller.belongs_to))
        return organisations.c.id.in_(held) & (shared if caller.user_id != user_id else true())

    return replace(
        ORGANISATIONS,
        columns=lambda _: [*_own(organisations), held_roles(literal(user_id), organisations.c.id)],
        visible=visible,
    )


def _rejected_columns(caller: Caller) -> Columns:
    return [
        *_own(rejected_files, "uri"),
        visible_uri(caller).label("uri"),
        rejected_files.c.uri.label("place"),
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
    _of_readable_source(raster_files),
    orders={"id": raster_files.c.id},
)
UPLOADS = Entity(
    uploads,
    lambda _: _own(uploads, "uri"),
    lambda table: table,
    _of_readable_source(uploads),
    filters.UPLOADS,
    {"id": uploads.c.id},
    default_order="-id",
)
USERS = Entity(
    users,
    _user_columns,
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
    """How much of an organisation the caller may see: raster sources and scenarios with their bytes."""
    sources = (
        raster_sources.c.organisation_id == organisation_id,
        readable(raster_sources, caller),
    )
    held = (scenarios.c.organisation_id == organisation_id, readable(scenarios, caller))
    return select(
        select(func.count())
        .select_from(raster_sources)
        .where(*sources)
        .scalar_subquery()
        .label("rasters"),
        select(func.coalesce(func.sum(raster_sources.c.size), 0))
        .where(*sources)
        .scalar_subquery()
        .label("bytes"),
        select(func.count())
        .select_from(scenarios)
        .where(*held)
        .scalar_subquery()
        .label("scenarios"),
        select(func.coalesce(func.sum(scenarios.c.total_size), 0))
        .where(*held)
        .scalar_subquery()
        .label("scenario_bytes"),
    )
