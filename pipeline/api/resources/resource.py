"""A resource: one list of the catalogue in the API. Views, forms and the OpenAPI document are built from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.resources.field import Field
from pipeline.catalogue.select_rows import Entity


@dataclass(frozen=True, eq=False)
class Resource:
    """One list of the catalogue. Its hooks extend the writes of a row; by default they do nothing."""

    path: str
    """The path below /api/v4/, such as rastersources."""
    model: str
    """The name in the message of a 404, such as RasterSource."""
    title: str
    """The name of one row on pages, such as Raster Source."""
    description: str
    """The text of its page."""
    entity: Entity
    fields: tuple[Field, ...]
    examples: tuple[str, ...] = ()
    """Query strings that its page shows as examples."""
    max_page_size: int | None = None
    """None: that of the configuration of the API."""
    delete_problems: tuple[int, ...] = ()
    """Error statuses of DELETE, other than those of every URL."""

    @cached_property
    def is_sql(self) -> bool:
        """Whether PostgreSQL can write the rows as JSON."""
        return all(field.is_sql for field in self.fields)

    async def check_move(
        self, row_id: int, organisation_id: int, connection: AsyncConnection
    ) -> None:
        """Raise Problem if a row may not move to another organisation."""

    async def before_delete(
        self,
        row: Any,  # noqa: ARG002
        force: bool,  # noqa: ARG002
        connection: AsyncConnection,  # noqa: ARG002
    ) -> Sequence[str]:
        """Return the URIs of files to delete together with a locked row; raise Problem if it may not be deleted."""
        return ()

    async def after_write(self, row_id: int, connection: AsyncConnection) -> None:
        """Update the fields that depend on the stored ones."""
