"""Raster sources that nothing is left of, and their end."""

from pipeline.catalogue.staging import Connection

# Sources that nothing is left of: no files, none that may be mended or brought back, and nobody who uses them.
FIND_UNUSED = """
    SELECT source.id FROM raster_sources AS source
    WHERE source.id = ANY (%(ids)s) AND source.file_count = 0
      AND NOT EXISTS (SELECT FROM rejected_files AS refused
                      WHERE refused.definition = source.definition AND refused.group_key = source.group_key)
      AND NOT EXISTS (SELECT FROM tombstones WHERE tombstones.source_uuid = source.uuid)
      AND NOT EXISTS (SELECT FROM layer_sources AS used WHERE used.source_uuid = source.uuid)
      AND NOT EXISTS (SELECT FROM label_type_sources AS used WHERE used.source_uuid = source.uuid)
      AND NOT EXISTS (SELECT FROM scenario_sources AS used WHERE used.source_uuid = source.uuid)
      AND NOT EXISTS (SELECT FROM uploads WHERE uploads.source_id = source.id
                      AND uploads.state IN ('requested', 'received', 'processing', 'retry'))
"""


def delete_removable(connection: Connection, locked: list[int]) -> list[int]:
    """Delete those of the locked sources that nothing is left of; the ids of the others."""
    # Looked up once they are locked: what began to use them meanwhile is seen.
    unused = find_removable(connection, locked)
    connection.execute("DELETE FROM raster_sources WHERE id = ANY (%s)", (unused,))
    return sorted(set(locked) - set(unused))


def find_removable(connection: Connection, ids: list[int]) -> list[int]:
    """Those of the sources that nothing is left of."""
    return [number for (number,) in connection.execute(FIND_UNUSED, {"ids": ids})]
