"""A resource: one list of the catalogue as the API offers it, from which routes, forms and documents are made."""

from dataclasses import dataclass

from pipeline.api.resources.field import Field
from pipeline.catalogue.select_rows import Entity


@dataclass(frozen=True)
class Resource:
    """What the generic routes need to know of a resource."""

    path: str
    """Below /api/v4/, such as rastersources."""
    model: str
    """As the sentence of a 404 names it, such as RasterSource."""
    title: str
    """As pages name one of it, such as Raster Source."""
    description: str
    """The text of its page."""
    entity: Entity
    fields: tuple[Field, ...]
    editable: bool = True
    """Whether POST, PUT, PATCH and DELETE exist."""
    examples: tuple[str, ...] = ()
    """Query strings worth trying."""
    max_page_size: int | None = None
    """None: that of the configuration."""
