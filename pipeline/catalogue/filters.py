"""The filters of each list, as a table: name, type with its lookups, and column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Table,
    Uuid,
    any_,
    case,
    func,
    select,
    type_coerce,
)

from pipeline.catalogue import spatial_filters
from pipeline.catalogue.access import Caller, may_write, readable, writable
from pipeline.catalogue.layers import derived_layer_fields
from pipeline.catalogue.lookups import (
    ACCESS,
    ANY_UUIDS,
    BOOLEAN,
    IS_NULL,
    PART_OF_UUID,
    SAME_BOOLEAN,
    SIZE,
    TEXT,
    TEXT_PATTERN,
    TIME,
    UUIDS,
    BadValue,
    BoundTest,
    FilterKind,
    choice_kind,
    custom_kind,
    parse_uuid,
    split_list,
    true_or_false,
)
from pipeline.catalogue.source_links import LAYER_LINKS, SCENARIO_LINKS, SourceLinks
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
Through = Callable[[Predicate, Caller], Predicate]
TIME_FORMAT = "A time in ISO 8601, YYYY-MM-DDThh:mm:ssZ."


@dataclass(frozen=True, eq=False)
class Filter:
    """A field by which a list can be filtered."""

    name: str
    kind: FilterKind
    target: Any
    """What the lookups test: a column, a function that returns it for a caller, or the argument of a custom kind."""
    help: str = ""
    through: Through | None = None
    """Turns a condition on a related table into a condition on the table of the list."""

    def parse(self, lookup: str, text: str) -> BoundTest:
        """Parse the value of a parameter into a test; raise BadValue."""
        if "\x00" in text:
            raise BadValue("Null characters are not allowed.")
        return self.kind.lookups[lookup](text)

    def condition(self, bound: BoundTest, caller: Caller) -> Predicate:
        """Return the condition of a test."""
        target = self.target(caller) if callable(self.target) else self.target
        condition = bound.test(target, bound.values, caller)
        return self.through(condition, caller) if self.through else condition


@cache
def filters_by_parameter(filters: tuple[Filter, ...]) -> Mapping[str, tuple[Filter, str]]:
    """Return query parameter -> filter and lookup, for all lookups of all filters."""
    return {
        parameter_name(field.name, lookup): (field, lookup)
        for field in filters
        for lookup in field.kind.lookups
    }


def parameter_name(field: str, lookup: str) -> str:
    """Return the query parameter of a lookup of a field."""
    return f"{field}__{lookup}" if lookup else field


def equals_any(column: ColumnElement[Any], of: Select[Any]) -> Predicate:
    """Return `column = ANY (ARRAY (subquery))`; with IN, PostgreSQL may scan the whole outer table."""
    return column == any_(func.array(of.scalar_subquery()))


def _related(
    column: ColumnElement[Any], key: ColumnElement[Any], *conditions: Predicate
) -> Through:
    """Turn a condition on a related table into: `column` is the key of a row that meets it."""
    return lambda condition, _: equals_any(column, select(key).where(*conditions, condition))


SUPPLIER = FilterKind(
    {lookup: test for lookup, test in TEXT.lookups.items() if lookup != "isnull"},
    TEXT.pattern,
    "remo.vantilburg",
    TEXT.patterns,
)


def _owners(text: str) -> BoundTest:
    """Test for one or more owners; a single one is compared without ANY, so that PostgreSQL reads an index in order."""
    uuids = [parse_uuid(part) for part in split_list(text)]
    return (
        BoundTest(_has_owner, (uuids[0],))
        if len(uuids) == 1
        else BoundTest(_has_any_owner, (uuids,))
    )


def _has_owner(owner: Any, values: Sequence[Any], _: Caller) -> Predicate:
    chosen = select(organisations.c.id).where(organisations.c.uuid == values[0])
    condition: Predicate = owner == chosen.scalar_subquery()
    return condition


def _has_any_owner(owner: Any, values: Sequence[Any], _: Caller) -> Predicate:
    uuids = any_(type_coerce(values[0], ARRAY(Uuid)))
    return equals_any(owner, select(organisations.c.id).where(organisations.c.uuid == uuids))


OWNERS = replace(ANY_UUIDS, lookups=dict.fromkeys(ANY_UUIDS.lookups, _owners))


def _of_organisation(table: Table) -> tuple[Filter, ...]:
    """Return the filters by organisation."""
    owner = table.c.organisation_id
    return (
        Filter("organisation", OWNERS, owner, "Uuids of organisations."),
        Filter("organisation__uuid", OWNERS, owner, "Uuids of organisations."),
        Filter("organisation__name", TEXT, organisations.c.name, "Name of the organisation.",
               _related(owner, organisations.c.id)),
    )  # fmt: skip


WRITABLE = custom_kind(
    true_or_false(
        lambda table, _, caller: writable(table, caller),
        lambda table, _, caller: ~may_write(table, caller),
    )
)


def _owned(table: Table) -> tuple[Filter, ...]:
    """Return the filters of all objects that belong to an organisation."""
    return (
        Filter("name", TEXT, table.c.name, "Text filter on the name."),
        Filter("uuid", UUIDS, table.c.uuid,
               "Uuids in canonical form (8-4-4-4-12), in upper or lower case, separated by commas."),
        *_of_organisation(table),
        Filter("access_modifier", ACCESS, table.c.access_modifier,
               "Who may see it: Public, Common, Private or Hidden, or its number."),
        Filter("supplier", SUPPLIER, users.c.username, "Username of the supplier.",
               _related(table.c.supplier_id, users.c.id)),
        Filter("supplier__isnull", custom_kind(IS_NULL), table.c.supplier_id,
               "Whether it has no supplier."),
        Filter("created", TIME, table.c.created, f"When it was created. {TIME_FORMAT}"),
        Filter("last_modified", TIME, table.c.last_modified, f"When it last changed. {TIME_FORMAT}"),
        Filter("writable", WRITABLE, table,
               "Whether you may write it."),
    )  # fmt: skip


def _uses_in_scenarios(caller: Caller) -> Select[Any]:
    """Select the sources of scenarios that the caller may read; even the number of other scenarios must not show."""
    return (
        select(scenario_sources.c.source_uuid)
        .join(scenarios, scenarios.c.id == scenario_sources.c.scenario_id)
        .where(readable(scenarios, caller))
    )


def _used_in_scenario(source: Any, _: Sequence[Any], caller: Caller) -> Predicate:
    return equals_any(source, _uses_in_scenarios(caller))


def _in_no_scenario(source: Any, _: Sequence[Any], caller: Caller) -> Predicate:
    return ~_uses_in_scenarios(caller).where(scenario_sources.c.source_uuid == source).exists()


IN_NO_SCENARIO = custom_kind(true_or_false(_in_no_scenario, _used_in_scenario))
BOX = custom_kind(spatial_filters.in_bbox, "4,51,5,52", spatial_filters.BOX_PATTERN)
POINT = custom_kind(spatial_filters.at_point, "4.5,51.9", spatial_filters.POINT_PATTERN)
GEOMETRY = custom_kind(spatial_filters.in_geometry, "POINT (4.5 51.9)", TEXT_PATTERN)

RASTER_SOURCES: tuple[Filter, ...] = (
    *_owned(raster_sources),
    Filter("supplier_code", TEXT, raster_sources.c.supplier_code, "The supplier's own name for it."),
    Filter("temporal", BOOLEAN, raster_sources.c.temporal, "Whether it is a series in time."),
    Filter("first_value_timestamp", TIME, raster_sources.c.first_value_timestamp, f"Its first time. {TIME_FORMAT}"),
    Filter("last_value_timestamp", TIME, raster_sources.c.last_value_timestamp, f"Its last time. {TIME_FORMAT}"),
    Filter("layers__uuid", ANY_UUIDS, layers.c.uuid, "The raster sources that the layers with these uuids use.",
           _related(raster_sources.c.uuid, LAYER_LINKS.source_uuid, LAYER_LINKS.owner_id == layers.c.id)),
    Filter(
        "scenario__isnull",
        IN_NO_SCENARIO,
        raster_sources.c.uuid,
        "Whether no scenario uses it. false: only those used in a scenario; true: only the others.",
    ),
    Filter("in_bbox", BOX, raster_sources, "west,south,east,north in degrees."),
    Filter("bbox", BOX, raster_sources, "The same as in_bbox."),
    Filter("point", POINT, raster_sources, "longitude,latitude in degrees."),
    Filter("geometry", GEOMETRY, raster_sources, "GeoJSON, or WKT without curves, in degrees."),
)  # fmt: skip


def _using_source(links: SourceLinks) -> Through:
    """Turn a condition on raster sources into: the row uses a source that meets it and that the caller may read."""
    return lambda condition, caller: equals_any(
        links.owners.c.id,
        select(links.owner_id)
        .join(raster_sources, raster_sources.c.uuid == links.source_uuid)
        .where(condition, readable(raster_sources, caller)),
    )


def _derived(name: str) -> Callable[[Caller], ColumnElement[Any]]:
    """Return the function that returns a derived field of layers for a caller."""
    return lambda caller: derived_layer_fields(caller)[name]


def _layer_in_scenario(_: Any, __: Sequence[Any], caller: Caller) -> Predicate:
    used = _used_in_scenario(raster_sources.c.uuid, (), caller)
    return _using_source(LAYER_LINKS)(used, caller)


LAYER_IN_NO_SCENARIO = custom_kind(
    true_or_false(lambda *test: ~_layer_in_scenario(*test), _layer_in_scenario)
)


TIME_FILTERS = ("first_value_timestamp", "last_value_timestamp")
SPATIAL_FILTERS = ("in_bbox", "bbox", "point", "geometry")

LAYERS: tuple[Filter, ...] = (
    *_owned(layers),
    Filter("supplier_code", TEXT, layers.c.supplier_code, "The supplier's own name for it."),
    Filter("temporal", custom_kind(SAME_BOOLEAN), _derived("temporal"),
           "Whether it is a series in time."),
    *(replace(field, target=_derived(field.name)) for field in RASTER_SOURCES if field.name in TIME_FILTERS),
    *(replace(field, through=_using_source(LAYER_LINKS)) for field in RASTER_SOURCES if field.name in SPATIAL_FILTERS),
    Filter(
        "raster_sources__uuid",
        ANY_UUIDS,
        layer_sources.c.source_uuid,
        "Layers that use the raster sources with these uuids.",
        _related(layers.c.id, layer_sources.c.layer_id),
    ),
    Filter("scenario__isnull", LAYER_IN_NO_SCENARIO, None,
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


SCENARIOS: tuple[Filter, ...] = (
    *_owned(scenarios),
    Filter("model_name", TEXT, scenarios.c.model_name, "The model that was run."),
    Filter("total_size", SIZE, scenarios.c.total_size, "Bytes of its results."),
    Filter("raster_sources__uuid", ANY_UUIDS, raster_sources.c.uuid,
           "Scenarios that use the raster sources with these uuids.", _using_source(SCENARIO_LINKS)),
)  # fmt: skip

ORGANISATIONS: tuple[Filter, ...] = (
    Filter("name", TEXT, organisations.c.name, "Text filter on the name."),
    Filter("uuid", PART_OF_UUID, organisations.c.uuid, "A uuid or a part of one."),
)

USERS: tuple[Filter, ...] = (
    Filter("username", TEXT, users.c.username, "Text filter on the username."),
)


def role_filter(organisation_id: int) -> Filter:
    """Return the filter of users by a role that they have in an organisation."""
    in_organisation = roles.c.organisation_id == organisation_id
    return Filter("role", choice_kind(*ROLES), roles.c.role, "A role that they have there.",
                  _related(users.c.id, roles.c.user_id, in_organisation))  # fmt: skip


UPLOADS: tuple[Filter, ...] = (
    Filter("state", choice_kind(*UploadState), uploads.c.state, "The state of the upload."),
)


def file_name(uri: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the name of the file at the end of a URI, percent-decoded."""
    return func.file_name(uri)


def visible_uri(caller: Caller) -> ColumnElement[Any]:
    """Return the URI of a rejected file for suppliers and administrators of its organisation; null for others."""
    visible_in = sorted(caller.supplies | caller.administers)
    return case((rejected_files.c.organisation_id.in_(visible_in), rejected_files.c.uri))


REJECTED_FILES: tuple[Filter, ...] = (
    Filter("name", TEXT, file_name(rejected_files.c.uri), "Text filter on the name of the file."),
    Filter("uri", TEXT, visible_uri, "Text filter on its URI, for users who may see it."),
    Filter("code", TEXT, rejected_files.c.code, "Reason code."),
    Filter("definition", TEXT, rejected_files.c.definition, "Id of the definition."),
    *_of_organisation(rejected_files),
    Filter("first_seen", TIME, rejected_files.c.first_seen, "When it was rejected for the first time."),
    Filter("last_seen", TIME, rejected_files.c.last_seen, "When it was rejected for the last time."),
)  # fmt: skip
