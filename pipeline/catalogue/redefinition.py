"""What a changed definition says of all its raster sources, those too that no file of a batch leads to."""

from sqlalchemy import Engine

from pipeline.catalogue.comparison import Comparison
from pipeline.catalogue.register import Owner, source_parameters
from pipeline.database.engine import transaction, translate_errors
from pipeline.definitions.definition import Definition

# The first part of the hash is that of all fields but the name.
OUTDATED = """
    source.definition = %(definition)s
    AND split_part(source.definition_hash, '.', 1) IS DISTINCT FROM split_part(%(hash)s, '.', 1)
"""
COUNT = f"""
    SELECT count(*) FROM raster_sources AS source WHERE {OUTDATED} AND NOT EXISTS (
        SELECT FROM raster_files AS file JOIN changed USING (uri)
        WHERE file.source_id = source.id AND file.definition = source.definition AND changed.verdict = 'outdated')
"""  # noqa: S608 - the part is a constant
LOCK = f"SELECT id FROM raster_sources AS source WHERE {OUTDATED} ORDER BY id FOR UPDATE"  # noqa: S608

# The name needs a file, and so the part of the hash that is about names stays as it is until one comes.
UPDATE = """
    UPDATE raster_sources SET
        definition_hash = split_part(%(hash)s, '.', 1) || '.' || coalesce(split_part(definition_hash, '.', 2), ''),
        description = %(description)s, organisation_id = %(organisation_id)s, access_modifier = %(access_modifier)s,
        supplier_id = %(supplier_id)s, supplier_code = %(supplier_code)s, temporal = %(temporal)s,
        declared_interval = %(interval)s
    WHERE id = ANY (%(ids)s)
"""


def count_outdated_sources(listing: Comparison, definition: Definition) -> int:
    """How many raster sources have the fields of an earlier version of their definition, and no unchanged file."""
    names = {"definition": definition.id, "hash": definition.hash()}
    with translate_errors():
        (count,) = listing.connection.execute(COUNT, names).fetchone() or (0,)
    return int(count)


def update_outdated_sources(engine: Engine, definition: Definition, owner: Owner) -> None:
    """Once all files are brought in: give the other raster sources of a definition its fields, all but the name."""
    parameters = source_parameters(definition, owner)
    with transaction(engine) as connection:
        ids = [number for (number,) in connection.execute(LOCK, parameters)]
        connection.execute(UPDATE, {**parameters, "ids": ids})
        connection.execute("SELECT derive_sources(%s)", (ids,))
