"""The link tables: the raster sources that each layer, label type and scenario uses."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table

from pipeline.database.tables import (
    label_type_sources,
    label_types,
    layer_sources,
    layers,
    scenario_sources,
    scenarios,
)


@dataclass(frozen=True, eq=False)
class SourceLinks:
    """A link table: the id of a layer, label type or scenario (the owner), and the uuid of a source that it uses."""

    table: Table
    owners: Table
    from_graph: bool = True
    """Whether a trigger writes the links, from the graph in the column `source`; otherwise the API writes them."""

    @property
    def owner_id(self) -> Column[Any]:
        """The column with the id of the owner."""
        return self.table.columns[0]

    @property
    def source_uuid(self) -> Column[Any]:
        """The column with the uuid of the raster source."""
        return self.table.columns[1]


LAYER_LINKS = SourceLinks(layer_sources, layers)
LABEL_TYPE_LINKS = SourceLinks(label_type_sources, label_types)
SCENARIO_LINKS = SourceLinks(scenario_sources, scenarios, from_graph=False)
