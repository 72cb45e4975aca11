"""Which files of a raster source fit each other: they share a projection, a pixel size and a dtype."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.catalogue.comparison import Comparison, Verdict
from pipeline.database.engine import translate_errors

# How `own` differs from `model`, of which each has these columns; null where they fit.
CODE = """
    CASE
        WHEN coalesce(own.projection, own.wkt) <> coalesce(model.projection, model.wkt) THEN 'projection_mismatch'
        WHEN abs(own.pixelsize_x - model.pixelsize_x) > 1e-6 * abs(model.pixelsize_x)
          OR abs(own.pixelsize_y - model.pixelsize_y) > 1e-6 * abs(model.pixelsize_y) THEN 'pixelsize_mismatch'
        WHEN own.dtype <> model.dtype THEN 'dtype_mismatch'
    END
"""
MESSAGE = """
    format('it does not fit the other files of its source: it has %%s, they have %%s; register it as another source',
           concat_ws(' ', coalesce(own.projection, 'a CRS without code'), own.pixelsize_x, own.pixelsize_y, own.dtype),
           concat_ws(' ', coalesce(model.projection, 'a CRS without code'), model.pixelsize_x, model.pixelsize_y,
                     model.dtype))
"""
GRID = "grid_class(own.projection, own.wkt, own.pixelsize_x, own.pixelsize_y, own.dtype)"

# A file must agree with the other files of its source, or, where all are new, with the first of them. Whether files
# that are missing count is up to the caller.
REJECT_MISFITS = f"""
    WITH model AS (
        SELECT DISTINCT ON (candidate.source_id) candidate.* FROM (
            SELECT file.source_id, 0 AS rank, file.id AS position, system.wkt, system.projection,
                   file.pixelsize_x, file.pixelsize_y, file.dtype
            FROM raster_files AS file
            JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
            WHERE file.source_id IN (SELECT source_id FROM staged) AND NOT file.uri = ANY (%(uris)s)
              AND (file.state = 'present' OR %(missing_count)s)
            UNION ALL
            SELECT source_id, 1, position, wkt, projection, pixelsize_x, pixelsize_y, dtype FROM staged
        ) AS candidate ORDER BY candidate.source_id, candidate.rank, candidate.position
    ), judged AS (
        SELECT own.position, {CODE} AS code, {MESSAGE} AS message, {GRID} AS grid
        FROM staged AS own JOIN model USING (source_id)
    )
    DELETE FROM staged USING judged
    WHERE staged.position = judged.position AND judged.code IS NOT NULL
    RETURNING staged.uri, judged.code, judged.message, staged.fingerprint, staged.size, staged.group_key, judged.grid
"""  # noqa: S608 - the part is a constant

# Missing files that were kept and do not fit those that came now leave their source.
DROP_MISSING = f"""
    WITH model AS (
        SELECT DISTINCT ON (source_id) * FROM staged ORDER BY source_id, position
    ), judged AS (
        SELECT own.id, {CODE} AS code
        FROM (
            SELECT file.id, file.source_id, file.pixelsize_x, file.pixelsize_y, file.dtype,
                   system.wkt, system.projection
            FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
            WHERE file.state = 'missing' AND NOT file.uri = ANY (%(uris)s)
        ) AS own JOIN model USING (source_id)
    )
    DELETE FROM raster_files AS file USING judged WHERE file.id = judged.id AND judged.code IS NOT NULL
"""  # noqa: S608 - the part is a constant

# Registered files that do not fit those of the batch, to which they have to give way, become refused ones.
EVICT = f"""
    WITH model AS (
        SELECT DISTINCT ON (source_id) * FROM staged ORDER BY source_id, position
    ), own AS (
        SELECT file.id, file.source_id, file.uri, file.fingerprint, file.reading_hash, file.pixelsize_x,
               file.pixelsize_y, file.dtype, system.wkt, system.projection
        FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
        WHERE file.definition = %(definition)s AND file.uri = ANY (%(evicted)s)
    ), judged AS (
        SELECT own.id, own.uri, {CODE} AS code, {MESSAGE} AS message, own.fingerprint, source.group_key, {GRID} AS grid,
               own.reading_hash
        FROM own JOIN model USING (source_id) JOIN raster_sources AS source ON source.id = own.source_id
    ), gone AS (
        DELETE FROM raster_files AS file USING judged WHERE file.id = judged.id AND judged.code IS NOT NULL
    )
    INSERT INTO rejected_files AS kept (definition, organisation_id, uri, code, message, fingerprint, group_key, grid,
                                        reading_hash)
    SELECT %(definition)s, %(organisation_id)s, uri, code, message, fingerprint, group_key, grid, reading_hash
    FROM judged WHERE code IS NOT NULL
    ON CONFLICT (definition, uri) DO UPDATE SET
        code = excluded.code, message = excluded.message, fingerprint = excluded.fingerprint,
        group_key = excluded.group_key, grid = excluded.grid, reading_hash = excluded.reading_hash, last_seen = now()
    RETURNING kept.uri, kept.code, kept.message, kept.fingerprint
"""  # noqa: S608 - the parts are those above

# Per source with refused files, the class of files that are the most, registered or not; as many: the first by URI.
# What is missing has no vote.
# It keeps its class where files of other definitions, or that clients sent, are in it: those are not up for choice.
DISPUTES = """
    WITH refused AS (
        SELECT source.id AS source_id, refused.grid, refused.uri
        FROM rejected_files AS refused
        JOIN listed ON listed.uri = refused.uri AND listed.fingerprint = refused.fingerprint
        JOIN raster_sources AS source
          ON source.definition = refused.definition AND source.group_key = refused.group_key
        WHERE refused.definition = %(definition)s AND refused.grid IS NOT NULL
    ), holder AS ( -- which fit each other, so that one of them tells the class of all
        SELECT DISTINCT ON (file.source_id) file.source_id,
               grid_class(system.projection, system.wkt, file.pixelsize_x, file.pixelsize_y, file.dtype) AS grid
        FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
        WHERE file.source_id IN (SELECT source_id FROM refused) ORDER BY file.source_id, file.uri COLLATE "C"
    ), candidate AS (
        SELECT source_id, grid, uri, true AS out, false AS fixed FROM refused
        UNION ALL
        SELECT file.source_id, holder.grid, file.uri, false, file.definition IS DISTINCT FROM %(definition)s
        FROM raster_files AS file JOIN holder USING (source_id) WHERE file.state = 'present'
    ), class AS (
        SELECT source_id, grid, bool_or(fixed) AS fixed, count(*) AS files, min(uri COLLATE "C") AS first,
               coalesce(array_agg(uri) FILTER (WHERE out), '{}') AS outside,
               coalesce(array_agg(uri) FILTER (WHERE NOT out), '{}') AS inside
        FROM candidate GROUP BY source_id, grid
    ), winner AS (
        SELECT DISTINCT ON (source_id) * FROM class ORDER BY source_id, fixed DESC, files DESC, first
    )
    SELECT winner.outside, coalesce((
        SELECT class.inside FROM class
        WHERE class.source_id = winner.source_id AND class.grid <> winner.grid AND class.inside <> '{}'), '{}')
    FROM winner WHERE winner.outside <> '{}' ORDER BY winner.source_id
"""

STANDINGS = """
    SELECT listed.uri, changed.verdict, listed.size FROM listed LEFT JOIN changed USING (position)
    WHERE listed.uri = ANY (%s)
"""


@dataclass(frozen=True)
class GridConflict:
    """Files of one source that do not fit each other."""

    accepted: list[str]
    """URIs of refused files which are to be in the source."""
    evicted: list[str]
    """URIs of registered files, which have to give way; empty where the source has become such that the winners fit."""


def find_grid_conflicts(listing: Comparison) -> list[GridConflict]:
    """The sources of a definition whose refused files outnumber the registered ones, or fit them by now."""
    with translate_errors():
        rows = listing.connection.execute(DISPUTES, {"definition": listing.definition.id})
        return [GridConflict(*row) for row in rows]


def standings(listing: Comparison, uris: Sequence[str]) -> list[tuple[str, Verdict | None, int]]:
    """URI, verdict and size of those of the files that were listed; the verdict of unchanged ones is None."""
    with translate_errors():
        return listing.connection.execute(STANDINGS, (list(uris),)).fetchall()
