"""The resources that depend on raster sources: rasters (layers), labeltypes and scenarios."""

import re
from typing import Any

from pipeline.api.links import Links
from pipeline.api.resources import common_fields as common
from pipeline.api.resources.field import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    WRITTEN_BOOLEAN,
    WRITTEN_OBJECT,
    WRITTEN_TEXT,
    Field,
    Json,
    boolean_field,
    derived,
    json_field,
    links_field,
    list_field,
    nullable,
    object_schema,
    read_boolean,
    read_json,
    text_field,
)
from pipeline.api.resources.resource import Resource
from pipeline.catalogue import lists
from pipeline.catalogue.layers import SOURCE_BLOCK
from pipeline.catalogue.lookups import UUID_PATTERN, BadValue, parse_uuid

OBJECT = {"type": "object"}
WMS_TEXTS = ("endpoint", "layer")
DIGITS = re.compile("[0-9]{1,15}")
MAX_INTEGER = 2**53
"""The largest integer that every JSON parser reads exactly."""
ANY_INTEGER = {"type": "integer", "minimum": -MAX_INTEGER, "maximum": MAX_INTEGER}
OBSERVATION_TYPE_KEYS = (
    "id", "url", "code", "parameter", "unit", "scale", "description", "reference_frame", "compartment",
)  # fmt: skip
SOURCE_PATTERN = f"([!-~]*/)?{UUID_PATTERN}/?([?][!-~]*)?"
"""A uuid, or a hyperlink that ends in one."""
MAX_SOURCES = 10_000


def show_source(row: Any, _: Links) -> Json:
    """Return the graph; it keeps the uuids of raster sources that were deleted by force."""
    if row.source is None or not row.deleted_sources:
        return row.source
    return {**row.source, "deleted_sources": row.deleted_sources}


def read_source(value: Json) -> Json:
    """Return a graph {"graph": {name: [block, arguments...]}, "name": name}, or null. Raises BadValue."""
    if value is None:
        return None
    graph = value.get("graph") if isinstance(value, dict) else None
    if not isinstance(graph, dict) or value.get("name") not in list(graph):
        raise BadValue('Must be a graph: {"graph": {name: [block, arguments]}, "name": name}.')
    return read_json({key: part for key, part in value.items() if key != "deleted_sources"})


def show_wms_info(row: Any, _: Links) -> Json:
    """Return an object with both texts, even if fewer are stored."""
    stored = row.wms_info if isinstance(row.wms_info, dict) else {}
    texts = {
        name: value if isinstance(value := stored.get(name), str) else "" for name in WMS_TEXTS
    }
    return {**stored, **texts}


def read_size(value: Json) -> int | None:
    """Return a number of bytes, or null; accept a text of digits too. Raises BadValue."""
    if value is None or value == "":
        return None
    size = int(value) if isinstance(value, str) and DIGITS.fullmatch(value) else value
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 <= size <= MAX_INTEGER:
        raise BadValue(f"Must be a whole number from 0 to {MAX_INTEGER}.")
    if size != int(size):
        raise BadValue("Must be a whole number.")
    return int(size)


def show_observation_type(row: Any, _: Links) -> Json:
    """Return an object with all keys of an observation type, or null."""
    stored = row.observation_type
    return None if stored is None else {**dict.fromkeys(OBSERVATION_TYPE_KEYS), **stored}


def read_observation_type(value: Json) -> Json:
    """Return the object to store, given as a code, an id or an object. Raises BadValue."""
    if isinstance(value, str):
        return read_json({"code": value}) if value.strip() else None
    if isinstance(value, dict | None):
        return read_json(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(value) <= MAX_INTEGER and value == int(value):
        return {"id": int(value)}
    raise BadValue("Must be a code, an id or an object.")


def _read_nullable_text(value: Json) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadValue("Not a valid string.")
    return read_json(value)  # type: ignore[no-any-return]


def _read_nullable_number(value: Json) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadValue("A valid number is required.")
    return value


def read_sources(value: Json) -> Json:
    """Return the uuids of raster sources, given as uuids or hyperlinks. Raises BadValue."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadValue("Must be a list of uuids.")
    if len(value) > MAX_SOURCES:
        raise BadValue(f"Must be a list of at most {MAX_SOURCES} uuids.")
    matches = [re.fullmatch(SOURCE_PATTERN, text) for text in value]
    return [parse_uuid(match[2] if match else "") for match in matches]


def is_geoblock(source: Json) -> bool:
    """Return whether a graph does more than show one raster source."""
    if source is None:
        return False
    graph = source.get("graph", {})
    block = graph.get(source.get("name"))
    return not (len(graph) == 1 and isinstance(block, list) and block[:1] == [SOURCE_BLOCK])


GRAPH = json_field(
    "source",
    "The graph; its blocks of type lizard_nxt.blocks.LizardRasterSource name the raster sources.",
    schema=nullable(OBJECT),
    show=show_source,
    read=read_source,
    accepts=nullable(
        {
            **WRITTEN_OBJECT,
            "properties": {"graph": {**WRITTEN_OBJECT, "minProperties": 1}, "name": WRITTEN_TEXT},
            "required": ["graph", "name"],
        }
    ),
)

LAYERS = Resource(
    path="rasters",
    model="RasterLayer",
    title="Raster Layer",
    description="""\
Raster layers show raster sources, directly or through a graph of operations.

The field "source" is that graph, and "raster_sources" lists the raster sources in it. Bounds and times come from \
those that you may read. The server stores and returns the fields about drawing, but does not use them. A layer that \
shows one raster source has pixels: data/ and timesteps/.""",
    entity=lists.LAYERS,
    fields=(
        *common.identity("rasters"),
        common.NAME,
        common.DESCRIPTION,
        common.ORGANISATION,
        common.ACCESS,
        common.SUPPLIER,
        common.SUPPLIER_CODE,
        list_field("shared_with", "Organisations with which it is shared."),
        json_field("observation_type", "What is observed; write it as a code, an id or an object.",
                   schema=nullable(OBJECT), show=show_observation_type, read=read_observation_type,
                   accepts={"anyOf": [WRITTEN_TEXT, ANY_INTEGER, WRITTEN_OBJECT, {"type": "null"}]}),
        json_field("aggregation_type", "How values are aggregated.", kind="string", schema=nullable(STRING),
                   accepts=nullable(WRITTEN_TEXT), read=_read_nullable_text),
        json_field("options", "How it is drawn.", initial={}),
        json_field("colormap", "How it is coloured."),
        boolean_field("rescalable", "Whether its colours can be rescaled."),
        json_field("temporal", "Whether it is a time series; null: the same as its sources.", kind="boolean",
                   schema=BOOLEAN, accepts=nullable(WRITTEN_BOOLEAN),
                   read=lambda value: None if value is None else read_boolean(value)),
        derived("interval", "string", STRING, "Time between steps, if its sources agree.", common.show_interval),
        *common.TIMES,
        GRAPH,
        common.SPATIAL_BOUNDS,
        *common.GRID,
        common.DTYPE,
        common.FILL_VALUE,
        common.CREATED,
        common.LAST_MODIFIED,
        json_field("wms_info", "Where it is drawn: endpoint and layer.",
                   schema=object_schema(**dict.fromkeys(WMS_TEXTS, STRING)), show=show_wms_info),
        common.WRITABLE,
        list_field("layer_collections", "Collections that contain it."),
        links_field("raster_sources", "rastersources", "The raster sources in its graph."),
        Field("is_geoblock", "boolean", BOOLEAN, "Whether the graph does more than show one raster source.",
              lambda row, _: is_geoblock(row.source)),
        json_field("weight", "Position among other layers.", kind="float", schema=nullable(NUMBER),
                   accepts=nullable(NUMBER), read=_read_nullable_number),
    ),
    examples=("name__icontains=depth", "raster_sources__uuid=10415ccb-ec31-4d43-bdb3-db597061527b"),
)  # fmt: skip

LABEL_TYPES = Resource(
    path="labeltypes",
    model="LabelType",
    title="Label Type",
    description="Label types give objects, such as buildings, labels that are computed from raster sources.",
    entity=lists.LABEL_TYPES,
    fields=(
        *common.identity("labeltypes")[:0:-1],
        common.NAME,
        common.DESCRIPTION,
        common.ORGANISATION,
        text_field("object_type", "What is labelled, such as buildings."),
        GRAPH,
        common.ACCESS,
        common.CREATED,
        common.LAST_MODIFIED,
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
        *common.identity("scenarios")[1:],
        common.NAME,
        common.ORGANISATION,
        common.SUPPLIER,
        text_field("model_name", "The simulation model.", max_length=255),
        json_field(
            "total_size",
            "Bytes of its results.",
            kind="integer",
            schema=nullable(INTEGER),
            read=read_size,
            accepts={
                "anyOf": [
                    {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER},
                    {"type": "string", "pattern": f"^({DIGITS.pattern})?$"},
                    {"type": "null"},
                ]
            },
        ),
        common.CREATED,
        common.LAST_MODIFIED,
        links_field(
            "raster_sources",
            "rastersources",
            "The raster sources that it uses and that you may read; write them as uuids.",
            read=read_sources,
            accepts={
                "type": "array",
                "maxItems": MAX_SOURCES,
                "items": {"type": "string", "pattern": f"^{SOURCE_PATTERN}$"},
            },
            initial=[],
        ),
        common.ACCESS,
        common.WRITABLE,
    ),
)
