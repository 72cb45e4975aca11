"""The resource rastersources: its 29 fields in the order of the contract, and the hooks of its writes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.problems import Problem
from pipeline.api.quota import check_move
from pipeline.api.resources import common_fields as common
from pipeline.api.resources.field import (
    INTEGER,
    STRING,
    Field,
    boolean_field,
    derived,
    json_column,
    links_field,
    nullable,
)
from pipeline.api.resources.resource import Resource
from pipeline.catalogue import before_writes, lists
from pipeline.catalogue.tombstones import add_source_tombstones
from pipeline.catalogue.write_sources import derive_sources
from pipeline.database.queries import queries
from pipeline.definitions.durations import DURATION, MAX_SECONDS

QUERIES = queries("source_data")


class RasterSourceResource(Resource):
    """The raster sources. Layers depend on them, files belong to them, and some of their fields are derived."""

    async def check_move(
        self, source_id: int, organisation_id: int, connection: AsyncConnection
    ) -> None:
        """Raise Problem 413 if the quota of the new organisation is too small for the data."""
        await check_move(source_id, organisation_id, connection)

    async def before_delete(
        self, row: Any, force: bool, connection: AsyncConnection
    ) -> Sequence[str]:
        """Add tombstones and return the URIs of uploaded files; raise Problem 412 while layers use the source."""
        if not force:
            used = (await connection.execute(before_writes.count_dependents(row.uuid))).one()
            if used.layers or used.labeltypes:
                raise Problem(
                    412,
                    f"The raster source is used by {used.layers} layers and {used.labeltypes} label types; "
                    'delete those first, or send {"force": true} to break them.',
                )
        uploaded = await connection.execute(QUERIES["select_uploaded_uris"], {"source": row.id})
        uris = uploaded.scalars().all()
        await connection.execute(add_source_tombstones(row.id))
        return uris

    async def after_write(self, source_id: int, connection: AsyncConnection) -> None:
        """Update the derived fields."""
        await connection.execute(derive_sources([source_id]))


RASTER_SOURCES = RasterSourceResource(
    path="rastersources",
    model="RasterSource",
    title="Raster Source",
    description="""\
Raster sources hold the data; raster layers show it, directly or through a graph of operations.

The fields "layers" and "labeltypes" list everything that depends on a raster source. If you are not allowed to read \
one of these objects, its hyperlink answers 404.

## Deletion

You can delete a raster source only while nothing uses it: see the fields "layers" and "labeltypes".

To delete it anyway, send {"force": true} as the body. This breaks whatever uses it.""",
    entity=lists.RASTER_SOURCES,
    delete_problems=(412,),
    fields=(
        *common.identity("rastersources"),
        common.NAME,
        common.DESCRIPTION,
        common.ORGANISATION,
        common.ACCESS,
        common.SUPPLIER,
        common.SUPPLIER_CODE,
        boolean_field("temporal", "Whether it is a time series."),
        Field(
            "interval",
            "string",
            nullable(STRING),
            "Time between steps as [D ]HH:MM:SS[.ffffff]; you may also write it in ISO 8601 or in seconds.",
            common.show_interval,
            json_column("interval"),
            read=common.read_interval,
            accepts={
                "anyOf": [
                    {"type": "string", "pattern": f"^{DURATION}?$"},
                    {"type": "number", "minimum": 0, "maximum": MAX_SECONDS},
                    {"type": "null"},
                ]
            },
            store="declared_interval",
        ),
        *common.TIMES,
        common.SPATIAL_BOUNDS,
        *common.GRID,
        common.CREATED,
        common.LAST_MODIFIED,
        common.WRITABLE,
        links_field("layers", "rasters", "The layers that use it."),
        links_field("labeltypes", "labeltypes", "The label types that use it."),
        derived("size", "integer", INTEGER, "Bytes of its TIFF files."),
        common.DTYPE,
        common.FILL_VALUE,
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
