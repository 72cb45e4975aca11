"""Statements that the tests of syncs share."""

from sqlalchemy import Engine, text

from pipeline.catalogue import tombstones
from pipeline.ingest.plan import SyncPlan

NAMES = "SELECT name FROM raster_sources ORDER BY name"
COUNTS = """
    SELECT listed, registered, unchanged, missing, rejected, bytes FROM sync_runs ORDER BY id DESC LIMIT 1
"""


def delete_source(engine: Engine, name: str) -> None:
    """Delete a source as the API does."""
    with engine.begin() as connection:
        source_id = connection.execute(
            text("SELECT id FROM raster_sources WHERE name = :name"), {"name": name}
        ).scalar_one()
        connection.execute(tombstones.add_source_tombstones(source_id))
        connection.execute(text("DELETE FROM raster_sources WHERE id = :id"), {"id": source_id})


def nonzero_counts(plan: SyncPlan) -> dict[str, int]:
    """Return the counts of a plan that are not 0."""
    return {name: count for name, count in plan.counts.items() if count}
