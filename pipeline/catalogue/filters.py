"""The filters of each list as one table: name, type with its lookups, and what it filters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, any_, case, func, select

from pipeline.catalogue import spatial_filters
from pipeline.catalogue.access import Caller, may_write, readable, writable
from pipeline.catalogue.layers import derived_layer_fields
from pipeline.catalogue.lookups import (
    ACCESS,
    ANY_UUIDS,
    BOOLEAN,
    BOOLEAN_PATTERN,
    PART_OF_UUID,
    SIZE,
    TEXT,
    TEXT_PATTERN,
    TIME,
    UUIDS,
    BadValue,
    FilterKind,
    Lookup,
    choice_kind,
    custom_kind,
    is_null,
    parse_boolean,
)
from pipeline.catalogue.upload_states import UploadState
from pipeline.catalogue.users import ROLES
from pipeline.database.tables import (
    label_type_sources,
    label_types,
    layer_sources,
    layers,
    organisations,
    raster_sources,
    rejected_files,
    roles,
    scenario_sources,
    scenarios,
    uploads,
    users,
)

Predicate = ColumnElement[bool]
WRITTEN_TIME = "Written as ISO 8601, YYYY-MM-DDThh:mm:ssZ."


@dataclass(frozen=True)
class Filter:
    """One field that a list can be filtered by."""

    name: str
    kind: FilterKind
    target: Any
    """The column that the lookups test, or what a filter of its own kind makes of it."""
    help: str = ""
    through: Callable[[Predicate], Predicate] | None = None
    """From a predicate on a related table to one on the list's own."""

    def predicate(self, lookup: str, value: str, caller: Caller) -> Predicate:
        """The SQL of one parameter; raises BadValue."""
        if "\x00" in value:
            raise BadValue("Null characters are not allowed.")
        found = self.kind.lookups[lookup](self.target, value, caller)
        return self.through(found) if self.through else found


def filters_by_parameter(filters: tuple[Filter, ...]) -> Mapping[str, tuple[Filter, str]]:
    """Name of a query parameter -> filter and lookup, for all lookups of all filters."""
    return {
        f"{one.name}__{lookup}" if lookup else one.name: (one, lookup)
        for one in filters
        for lookup in one.kind.lookups
    }


def equals_any(column: ColumnElement[Any], of: Select[Any]) -> Predicate:
    """`column = ANY (ARRAY (subquery))`: unlike IN it never makes the planner read the outer table from end to end."""
    return column == any_(func.array(of.scalar_subquery()))


def _related(
    column: ColumnElement[Any], key: ColumnElement[Any]
) -> Callable[[Predicate], Predicate]:
    """Rows whose `column` is the key of a row that matches."""
    return lambda test: equals_any(column, select(key).where(test))


SUPPLIER = FilterKind(
    {lookup: test for lookup, test in TEXT.lookups.items() if lookup != "isnull"},
    TEXT.pattern,
    "remo.vantilburg",
    TEXT.patterns,
)


def _of_organisation(table: Table) -> tuple[Filter, ...]:
    """By the organisation that it belongs to."""
    of_organisation = _related(table.c.organisation_id, organisations.c.id)
    return (
        Filter("organisation", ANY_UUIDS, organisations.c.uuid, "Uuids of organisations.", of_organisation),
        Filter("organisation__uuid", ANY_UUIDS, organisations.c.uuid, "Uuids of organisations.", of_organisation),
        Filter("organisation__name", TEXT, organisations.c.name, "Name of the organisation.", of_organisation),
    )  # fmt: skip


def _owned(table: Table) -> tuple[Filter, ...]:
    """What everything that belongs to an organisation can be filtered by."""
    return (
        Filter("name", TEXT, table.c.name, "Text filter on the name."),
        Filter("uuid", UUIDS, table.c.uuid,
               "Uuids in canonical form (8-4-4-4-12), in capitals or small letters, separated by commas."),
        *_of_organisation(table),
        Filter("access_modifier", ACCESS, table.c.access_modifier,
               "Who may see it: Public, Common, Private or Hidden, or its number."),
        Filter("supplier", SUPPLIER, users.c.username, "Username of the supplier.",
               _related(table.c.supplier_id, users.c.id)),
        Filter("supplier__isnull", custom_kind(is_null, "true", BOOLEAN_PATTERN), table.c.supplier_id,
               "Whether it has no supplier."),
        Filter("created", TIME, table.c.created, f"When it was made. {WRITTEN_TIME}"),
        Filter("last_modified", TIME, table.c.last_modified, f"When it last changed. {WRITTEN_TIME}"),
        Filter("writable", custom_kind(partial(_is_writable, table), "true", BOOLEAN_PATTERN), None,
               "Whether you may write it."),
    )  # fmt: skip


def _is_writable(table: Table, _: Any, value: str, caller: Caller) -> Predicate:
    return writable(table, caller) if parse_boolean(value) else ~may_write(table, caller)


def _used_in_scenario(_: Any, value: str, caller: Caller) -> Predicate:
    """Used in a scenario that the caller may see: of others nothing is told, not even that they are."""
    using = (
        select(scenario_sources.c.source_uuid)
        .join(scenarios, scenarios.c.id == scenario_sources.c.scenario_id)
        .where(readable(scenarios, caller))
    )
    if parse_boolean(value):
        return ~using.where(scenario_sources.c.source_uuid == raster_sources.c.uuid).exists()
    return equals_any(raster_sources.c.uuid, using)


BOX = custom_kind(spatial_filters.in_bbox, "4,51,5,52", spatial_filters.BOX_PATTERN)
POINT = custom_kind(spatial_filters.at_point, "4.5,51.9", spatial_filters.POINT_PATTERN)
GEOMETRY = custom_kind(spatial_filters.in_geometry, "POINT (4.5 51.9)", TEXT_PATTERN)

RASTER_SOURCES: tuple[Filter, ...] = (
    *_owned(raster_sources),
    Filter("supplier_code", TEXT, raster_sources.c.supplier_code, "The supplier's own name for it."),
    Filter("temporal", BOOLEAN, raster_sources.c.temporal, "Whether it is a series in time."),
    Filter("first_value_timestamp", TIME, raster_sources.c.first_value_timestamp, f"Its first time. {WRITTEN_TIME}"),
    Filter("last_value_timestamp", TIME, raster_sources.c.last_value_timestamp, f"Its last time. {WRITTEN_TIME}"),
    Filter(
        "layers__uuid",
        ANY_UUIDS,
        layers.c.uuid,
        "The raster sources that the layers with these uuids use.",
        lambda test: equals_any(
            raster_sources.c.uuid,
            select(layer_sources.c.source_uuid)
            .join(layers, layers.c.id == layer_sources.c.layer_id)
            .where(test),
        ),
    ),
    Filter(
        "scenario__isnull",
        custom_kind(_used_in_scenario, "true", BOOLEAN_PATTERN),
        None,
        "Whether no scenario uses it. false: only those used in a scenario; true: only the others.",
    ),
    Filter("in_bbox", BOX, raster_sources, "west,south,east,north in degrees."),
    Filter("bbox", BOX, raster_sources, "The same as in_bbox."),
    Filter("point", POINT, raster_sources, "longitude,latitude in degrees."),
    Filter("geometry", GEOMETRY, raster_sources, "GeoJSON, or WKT without curves, in degrees."),
)  # fmt: skip


def _of_sources(uses: Table, owner: str, test: Predicate, *, via: Table) -> Predicate:
    """Rows that use a raster source that matches."""
    return equals_any(
        via.c.id,
        select(uses.c[owner])
        .join(raster_sources, raster_sources.c.uuid == uses.c.source_uuid)
        .where(test),
    )


def _places_of(one: Filter) -> Filter:
    """A spatial filter on raster sources as one on layers: those with a source that the caller may read there."""

    def test(_: Any, value: str, caller: Caller) -> Predicate:
        found = one.predicate("", value, caller) & readable(raster_sources, caller)
        return _of_sources(layer_sources, "layer_id", found, via=layers)

    return Filter(one.name, custom_kind(test, one.kind.example, one.kind.pattern), None, one.help)


def _times_of(one: Filter) -> Filter:
    """A temporal filter on what layers show, which is derived from their sources."""

    def through(lookup: str) -> Lookup:
        return lambda _, value, caller: one.kind.lookups[lookup](
            derived_layer_fields(caller)[one.name], value, caller
        )

    lookups = {lookup: through(lookup) for lookup in one.kind.lookups}
    return Filter(one.name, replace(one.kind, lookups=lookups), None, one.help)


def _layer_is_temporal(_: Any, value: str, caller: Caller) -> Predicate:
    return derived_layer_fields(caller)["temporal"].is_(parse_boolean(value))


def _layer_in_scenario(_: Any, value: str, caller: Caller) -> Predicate:
    used = _used_in_scenario(None, "false", caller) & readable(raster_sources, caller)
    found = _of_sources(layer_sources, "layer_id", used, via=layers)
    return ~found if parse_boolean(value) else found


TIMES = ("first_value_timestamp", "last_value_timestamp")
PLACES = ("in_bbox", "bbox", "point", "geometry")

LAYERS: tuple[Filter, ...] = (
    *_owned(layers),
    Filter("supplier_code", TEXT, layers.c.supplier_code, "The supplier's own name for it."),
    Filter("temporal", custom_kind(_layer_is_temporal, "true", BOOLEAN_PATTERN), None,
           "Whether it is a series in time."),
    *(_times_of(one) for one in RASTER_SOURCES if one.name in TIMES),
    *(_places_of(one) for one in RASTER_SOURCES if one.name in PLACES),
    Filter(
        "raster_sources__uuid",
        ANY_UUIDS,
        layer_sources.c.source_uuid,
        "Layers that use the raster sources with these uuids.",
        _related(layers.c.id, layer_sources.c.layer_id),
    ),
    Filter("scenario__isnull", custom_kind(_layer_in_scenario, "true", BOOLEAN_PATTERN), None,
           "false: only those whose sources are used in a scenario; true: only the others."),
)  # fmt: skip

LABEL_TYPES: tuple[Filter, ...] = (
    *_owned(label_types),
    Filter("object_type", TEXT, label_types.c.object_type, "What is labelled."),
    Filter(
        "raster_sources__uuid",
        ANY_UUIDS,
        label_type_sources.c.source_uuid,
        "Label types that use the raster sources with these uuids.",
        _related(label_types.c.id, label_type_sources.c.label_type_id),
    ),
)


def _scenario_uses(lookup: str) -> Lookup:
    """Scenarios that use a raster source, as far as the caller may read that: of others they do not tell."""

    def test(_: Any, value: str, caller: Caller) -> Predicate:
        found = ANY_UUIDS.lookups[lookup](raster_sources.c.uuid, value, caller)
        found &= readable(raster_sources, caller)
        return _of_sources(scenario_sources, "scenario_id", found, via=scenarios)

    return test


SCENARIOS: tuple[Filter, ...] = (
    *_owned(scenarios),
    Filter("model_name", TEXT, scenarios.c.model_name, "The model that was run."),
    Filter("total_size", SIZE, scenarios.c.total_size, "Bytes of its results."),
    Filter("raster_sources__uuid",
           replace(ANY_UUIDS, lookups={lookup: _scenario_uses(lookup) for lookup in ANY_UUIDS.lookups}), None,
           "Scenarios that use the raster sources with these uuids."),
)  # fmt: skip

ORGANISATIONS: tuple[Filter, ...] = (
    Filter("name", TEXT, organisations.c.name, "Text filter on the name."),
    Filter("uuid", PART_OF_UUID, organisations.c.uuid, "A uuid or a part of one."),
)

USERS: tuple[Filter, ...] = (
    Filter("username", TEXT, users.c.username, "Text filter on the username."),
)


def role_filter(organisation_id: int) -> Filter:
    """Users by a role that they have in an organisation."""
    held = roles.c.organisation_id == organisation_id
    return Filter("role", choice_kind(*ROLES), roles.c.role, "A role that they have there.",
                  lambda test: equals_any(users.c.id, select(roles.c.user_id).where(held, test)))  # fmt: skip


UPLOADS: tuple[Filter, ...] = (
    Filter("state", choice_kind(*UploadState), uploads.c.state, "What became of it."),
)


def file_name(uri: ColumnElement[Any]) -> ColumnElement[Any]:
    """The name of the file at the end of a URI, as people write it."""
    return func.file_name(uri)


def visible_uri(caller: Caller) -> ColumnElement[Any]:
    """Where a rejected file is, for suppliers and administrators of its organisation; null for others."""
    where = sorted(caller.supplies | caller.administers)
    return case((rejected_files.c.organisation_id.in_(where), rejected_files.c.uri))


def _of_shown_uri(lookup: str) -> Lookup:
    return lambda _, value, caller: TEXT.lookups[lookup](visible_uri(caller), value, caller)


REJECTED_FILES: tuple[Filter, ...] = (
    Filter("name", TEXT, file_name(rejected_files.c.uri), "Text filter on the name of the file."),
    Filter("uri", replace(TEXT, lookups={lookup: _of_shown_uri(lookup) for lookup in TEXT.lookups}), None,
           "Text filter on where it is, for those who see it."),
    Filter("code", TEXT, rejected_files.c.code, "Reason code."),
    Filter("definition", TEXT, rejected_files.c.definition, "Id of the definition."),
    *_of_organisation(rejected_files),
    Filter("first_seen", TIME, rejected_files.c.first_seen, "When it was refused for the first time."),
    Filter("last_seen", TIME, rejected_files.c.last_seen, "When it was refused for the last time."),
)  # fmt: skip
