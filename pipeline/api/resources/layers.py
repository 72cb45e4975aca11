"""The resources that depend on raster sources: rasters (layers), labeltypes and scenarios."""

import re
from typing import Any

from pipeline.api.links import Links
from pipeline.api.resources.common_fields import (
    ACCESS,
    CREATED,
    DESCRIPTION,
    DTYPE,
    FILL_VALUE,
    GRID,
    INTEGER,
    LAST_MODIFIED,
    LINKS,
    NAME,
    NUMBER,
    ORGANISATION,
    SPATIAL_BOUNDS,
    SUPPLIER,
    SUPPLIER_CODE,
    TIMES,
    WRITABLE,
    identity,
    show_interval,
)
from pipeline.api.resources.field import (
    JSON_VALUE,
    STRING,
    WRITTEN_BOOLEAN,
    WRITTEN_LIST,
    WRITTEN_OBJECT,
    WRITTEN_TEXT,
    Field,
    Json,
    boolean,
    derived,
    json_field,
    nullable,
    read_boolean,
    read_json,
    read_list,
    shown,
    shown_links,
    text,
)
from pipeline.api.resources.resource import Resource
from pipeline.catalogue import lists
from pipeline.catalogue.layers import SOURCE_BLOCK
from pipeline.catalogue.lookups import UUID_PATTERN, BadValue, parse_uuid

OBJECT = {"type": "object"}
WMS_TEXTS = ("endpoint", "layer")
WMS_INFO = {
    "type": "object",
    "properties": dict.fromkeys(WMS_TEXTS, STRING),
    "required": list(WMS_TEXTS),
}
DIGITS = re.compile("[0-9]{1,15}")
LARGEST = 2**53
"""Numbers up to it are the same in every JSON."""
NUMBERED = {"type": "integer", "minimum": -LARGEST, "maximum": LARGEST}
OBSERVED = (
    "id",
    "url",
    "code",
    "parameter",
    "unit",
    "scale",
    "description",
    "reference_frame",
    "compartment",
)
"""Keys of an observation type."""


def show_source(row: Any, _: Links) -> Json:
    """The graph; with the uuids of the raster sources that were deleted by force, if any."""
    if row.source is None or not row.deleted_sources:
        return row.source
    return {**row.source, "deleted_sources": row.deleted_sources}


def read_source(value: Json) -> Json:
    """A graph {"graph": {name: [block, arguments...]}, "name": name}, or null."""
    if value is None:
        return None
    graph = value.get("graph") if isinstance(value, dict) else None
    if not isinstance(graph, dict) or value.get("name") not in list(graph):
        raise BadValue('Must be a graph: {"graph": {name: [block, arguments]}, "name": name}.')
    return read_json({key: part for key, part in value.items() if key != "deleted_sources"})


def show_wms_info(row: Any, _: Links) -> Json:
    """An object with both texts, whatever is stored."""
    stored = row.wms_info if isinstance(row.wms_info, dict) else {}
    texts = {
        name: value if isinstance(value := stored.get(name), str) else "" for name in WMS_TEXTS
    }
    return {**stored, **texts}


def read_size(value: Json) -> int | None:
    """A number of bytes, also as digits, or null."""
    if value is None or value == "":
        return None
    number = int(value) if isinstance(value, str) and DIGITS.fullmatch(value) else value
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not 0 <= number <= LARGEST
    ):
        raise BadValue(f"Must be a whole number from 0 to {LARGEST}.")
    if number != int(number):
        raise BadValue("Must be a whole number.")
    return int(number)


def show_observation_type(row: Any, _: Links) -> Json:
    """An object, whatever it was written as."""
    stored = row.observation_type
    return None if stored is None else {**dict.fromkeys(OBSERVED), **stored}


def read_observation_type(value: Json) -> Json:
    """A code, an id or an object, as the object that is stored."""
    if isinstance(value, str):
        return read_json({"code": value}) if value.strip() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (abs(value) <= LARGEST and value == int(value)):
            raise BadValue("Must be a code, an id or an object.")
        return {"id": int(value)}
    if isinstance(value, dict | None):
        return read_json(value)
    raise BadValue("Must be a code, an id or an object.")


def read_choice_text(value: Json) -> str | None:
    """A word or null."""
    if value is not None and not isinstance(value, str):
        raise BadValue("Not a valid string.")
    return read_json(value)  # type: ignore[no-any-return]


def read_nullable_boolean(value: Json) -> bool | None:
    """true, false, or null for as its sources."""
    return None if value is None else read_boolean(value)


def read_number(value: Json) -> float | None:
    """A finite number or null."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadValue("A valid number is required.")
    return value


SOURCE_PATTERN = f"([!-~]*/)?{UUID_PATTERN}/?([?][!-~]*)?"
"""A uuid, or a hyperlink that ends in one."""
MOST_SOURCES = 10_000


def read_sources(value: Json) -> Json:
    """Uuids of raster sources, or the hyperlinks that are shown for them."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadValue("Must be a list of uuids.")
    if len(value) > MOST_SOURCES:
        raise BadValue(f"Must be a list of at most {MOST_SOURCES} uuids.")
    ends = [re.fullmatch(SOURCE_PATTERN, one) for one in value]
    return [parse_uuid(end[2] if end else "") for end in ends]


GRAPH = Field(
    "source",
    "field",
    show_source,
    nullable(OBJECT),
    "The graph; its blocks of type lizard_nxt.blocks.LizardRasterSource name the raster sources.",
    read=read_source,
    accepts=nullable(
        {
            **WRITTEN_OBJECT,
            "properties": {"graph": {**WRITTEN_OBJECT, "minProperties": 1}, "name": WRITTEN_TEXT},
            "required": ["graph", "name"],
        }
    ),
    store="source",
)
USED = Field("raster_sources", "list", shown_links("raster_sources", "rastersources"), LINKS,
             "The raster sources that the graph names.")  # fmt: skip

LAYERS = Resource(
    path="rasters",
    model="RasterLayer",
    title="Raster Layer",
    description="""\
Raster layers show raster sources: as they are, or through a graph of operations.

The field "source" is that graph; the raster sources that it names are listed in "raster_sources", and where and when \
the layer has data follows from those of them that you may read. Nothing is rendered here: what says how to draw is \
stored and given back.""",
    entity=lists.LAYERS,
    fields=(
        *identity("rasters"),
        NAME,
        DESCRIPTION,
        ORGANISATION,
        ACCESS,
        SUPPLIER,
        SUPPLIER_CODE,
        json_field("shared_with", "Organisations that it is shared with.", kind="list", schema={"type": "array"},
                   accepts=WRITTEN_LIST, read=read_list, initial=[]),
        Field("observation_type", "field", show_observation_type, nullable(OBJECT),
              "What is observed; written as a code, an id or an object.", read=read_observation_type,
              accepts={"anyOf": [WRITTEN_TEXT, NUMBERED, WRITTEN_OBJECT, {"type": "null"}]},
              store="observation_type"),
        json_field("aggregation_type", "How values are summed up.", kind="string", schema=nullable(STRING),
                   accepts=nullable(WRITTEN_TEXT), read=read_choice_text),
        json_field("options", "How it is drawn.", initial={}),
        json_field("colormap", "How it is coloured."),
        boolean("rescalable", "Whether its colours can be rescaled."),
        Field("temporal", "boolean", lambda row, _: row.temporal, {"type": "boolean"},
              "Whether it is a series in time; null means as its sources.", read=read_nullable_boolean,
              accepts=nullable(WRITTEN_BOOLEAN), store="temporal"),
        derived("interval", "string", STRING, "Time between steps, where its sources agree.", show_interval),
        *TIMES,
        GRAPH,
        SPATIAL_BOUNDS,
        *GRID,
        DTYPE,
        FILL_VALUE,
        CREATED,
        LAST_MODIFIED,
        Field("wms_info", "field", show_wms_info, WMS_INFO, "Where it is drawn: endpoint and layer.", read=read_json,
              accepts=JSON_VALUE, store="wms_info"),
        WRITABLE,
        json_field("layer_collections", "Collections that it is in.", kind="list", schema={"type": "array"},
                   accepts=WRITTEN_LIST, read=read_list, initial=[]),
        USED,
        Field("is_geoblock", "boolean", lambda row, _: is_geoblock(row.source), {"type": "boolean"},
              "Whether the graph does more than show one raster source."),
        json_field("weight", "Order among others.", kind="float", schema=nullable(NUMBER),
                   accepts=nullable(NUMBER), read=read_number),
    ),
    examples=("name__icontains=depth", "raster_sources__uuid=10415ccb-ec31-4d43-bdb3-db597061527b"),
)  # fmt: skip


def is_geoblock(source: Json) -> bool:
    """Whether the graph is more than one raster source as it is."""
    if source is None:
        return False
    graph = source.get("graph", {})
    block = graph.get(source.get("name"))
    return not (len(graph) == 1 and isinstance(block, list) and block[:1] == [SOURCE_BLOCK])


LABEL_TYPES = Resource(
    path="labeltypes",
    model="LabelType",
    title="Label Type",
    description="Label types label objects, such as buildings, with values computed from raster sources.",
    entity=lists.LABEL_TYPES,
    fields=(
        *identity("labeltypes")[:0:-1],
        NAME,
        DESCRIPTION,
        ORGANISATION,
        text("object_type", "What is labelled, such as buildings."),
        GRAPH,
        ACCESS,
        CREATED,
        LAST_MODIFIED,
    ),
)

SCENARIOS = Resource(
    path="scenarios",
    model="Scenario",
    title="Scenario",
    description="""\
Scenarios are results of simulations; they name the raster sources that they use. Filter raster sources by \
scenario__isnull to see only those, or only the others.""",
    entity=lists.SCENARIOS,
    fields=(
        *identity("scenarios")[1:],
        NAME,
        ORGANISATION,
        SUPPLIER,
        text("model_name", "The model that was run.", max_length=255),
        Field(
            "total_size",
            "integer",
            shown("total_size"),
            nullable(INTEGER),
            "Bytes of its results.",
            read=read_size,
            accepts={
                "anyOf": [
                    {"type": "integer", "minimum": 0, "maximum": LARGEST},
                    {"type": "string", "pattern": f"^({DIGITS.pattern})?$"},
                    {"type": "null"},
                ]
            },
            store="total_size",
        ),
        CREATED,
        LAST_MODIFIED,
        Field(
            "raster_sources",
            "list",
            shown_links("raster_sources", "rastersources"),
            LINKS,
            "The raster sources that it uses, of those that you may read; written as uuids.",
            read=read_sources,
            accepts={
                "type": "array",
                "maxItems": MOST_SOURCES,
                "items": {"type": "string", "pattern": f"^{SOURCE_PATTERN}$"},
            },
            initial=[],
        ),
        ACCESS,
        WRITABLE,
    ),
)
