"""What the tests of syncs ask the catalogue and do to it."""

from sqlalchemy import Engine, text

from pipeline.catalogue import tombstones
from pipeline.ingest.plan import Plan

NAMES = "SELECT name FROM raster_sources ORDER BY name"
COUNTS = """
    SELECT listed, registered, unchanged, missing, rejected, bytes FROM sync_runs ORDER BY id DESC LIMIT 1
"""


def delete_source(engine: Engine, name: str) -> None:
    """As the API does."""
    with engine.begin() as connection:
        number = connection.execute(
            text("SELECT id FROM raster_sources WHERE name = :name"), {"name": name}
        ).scalar_one()
        connection.execute(tombstones.add_source_tombstones(number))
        connection.execute(text("DELETE FROM raster_sources WHERE id = :id"), {"id": number})


def changes(plan: Plan) -> dict[str, int]:
    return {name: count for name, count in plan.counts.items() if count}
