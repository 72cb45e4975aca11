"""The resource rastersources: its 29 fields, in the contract's order."""

from pipeline.api.fields import STRING, Field, boolean, derived, nullable, shown_links
from pipeline.api.resource import Resource
from pipeline.api.shared import (
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
    ORGANISATION,
    SPATIAL_BOUNDS,
    SUPPLIER,
    SUPPLIER_CODE,
    TIMES,
    WRITABLE,
    identity,
    read_interval,
    show_interval,
)
from pipeline.catalogue import entities
from pipeline.sources.intervals import DURATION, MOST_SECONDS

RASTER_SOURCES = Resource(
    path="rastersources",
    model="RasterSource",
    title="Raster Source",
    description="""\
Raster sources hold the data; raster layers show it, as it is or through a graph of operations.

The fields "layers" and "labeltypes" list everything that depends on a raster source. Some of it you may not be \
allowed to read; following such a hyperlink gives 404.

A raster source can be deleted only while no layer and no label type uses it. To delete it all the same, send \
{"force": true} as the body; what depends on it is broken by that.""",
    entity=entities.RASTER_SOURCES,
    fields=(
        *identity("rastersources"),
        NAME,
        DESCRIPTION,
        ORGANISATION,
        ACCESS,
        SUPPLIER,
        SUPPLIER_CODE,
        boolean("temporal", "Whether it is a series in time."),
        Field(
            "interval",
            "string",
            show_interval,
            nullable(STRING),
            "Time between steps: [D ]HH:MM:SS[.ffffff]; written like that, as ISO 8601 or in seconds.",
            read=read_interval,
            accepts={
                "anyOf": [
                    {"type": "string", "pattern": f"^{DURATION}?$"},
                    {"type": "number", "minimum": 0, "maximum": MOST_SECONDS},
                    {"type": "null"},
                ]
            },
            store="declared_interval",
        ),
        *TIMES,
        SPATIAL_BOUNDS,
        *GRID,
        CREATED,
        LAST_MODIFIED,
        WRITABLE,
        Field("layers", "list", shown_links("layers", "rasters"), LINKS, "The layers that use it."),
        Field(
            "labeltypes",
            "list",
            shown_links("labeltypes", "labeltypes"),
            LINKS,
            "The label types that use it.",
        ),
        derived("size", "integer", INTEGER, "Bytes of its TIFF files."),
        DTYPE,
        FILL_VALUE,
    ),
    examples=(
        "name__icontains=Elevation",
        "organisation__name__startswith=Nelen",
        "first_value_timestamp__lt=2016-06-21T06:05:00Z",
        "scenario__isnull=true",
        "in_bbox=4.4,51.8,4.6,52.0",
        "ordering=-name",
        "access_modifier=Private",
        "created__gte=2017-01-01T00:00:00Z",
    ),
)
