"""The resource rastersources: its 29 fields, in the contract's order."""

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
from pipeline.api.resources.field import STRING, Field, boolean, derived, nullable, shown_links
from pipeline.api.resources.resource import Resource
from pipeline.catalogue import lists
from pipeline.definitions.durations import DURATION, MAX_SECONDS

RASTER_SOURCES = Resource(
    path="rastersources",
    model="RasterSource",
    title="Raster Source",
    description="""\
Raster sources hold the data; raster layers show it, as it is or through a graph of operations.

The fields "layers" and "labeltypes" list everything that depends on a raster source. Some of it you may not be \
allowed to read; following such a hyperlink gives 404.

## Deletion

A raster source can be deleted only while nothing uses it: the fields "layers" and "labeltypes" say what does.

To delete it all the same, send {"force": true} as the body. Whatever uses it is broken by that.""",
    entity=lists.RASTER_SOURCES,
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
                    {"type": "number", "minimum": 0, "maximum": MAX_SECONDS},
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
        "organisation__name=DDSC",
        "organisation__uuid=61f5a464c35044c19bc7d4b42d7f58cb",
        "organisation__name__startswith=Nelen",
        "organisation__name__icontains=Schuur",
        "uuid=10415ccb-ec31-4d43-bdb3-db597061527b,4a544b7a-772b-45fb-9aa4-a69447f34f52",
        "first_value_timestamp=2016-06-21T06:05:00Z",
        "first_value_timestamp__lt=2016-06-21T06:05:00Z",
        "layers__uuid=0866dbe6-69b1-413e-a709-e28e888eaed8",
        "scenario__isnull=true",
        "ordering=-name",
        "access_modifier=Private",
        "access_modifier=100",
        "created__gte=2017-01-01T00:00:00Z",
        "last_modified__lt=2018-01-01T00:00:00Z",
        "in_bbox=4.4,51.8,4.6,52.0",
    ),
)
