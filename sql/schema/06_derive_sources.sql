-- Derives fields of raster sources from their raster files.

-- Tiles touch if their edges are within 1e-9 degrees of each other, because edges are rounded sums of pixel sizes.
CREATE FUNCTION union_longitudes(wests double precision[], easts double precision[],
                                 OUT west double precision, OUT east double precision)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    WITH pieces AS ( -- cut at the antimeridian: low <= high
        SELECT w AS low, e AS high FROM unnest(wests, easts) AS box (w, e) WHERE w <= e
        UNION ALL SELECT w, 180 FROM unnest(wests, easts) AS box (w, e) WHERE w > e
        UNION ALL SELECT -180, e FROM unnest(wests, easts) AS box (w, e) WHERE w > e
    ), reached AS (
        SELECT low, max(high) OVER (ORDER BY low, high ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM pieces
    ), gaps AS ( -- between the pieces, and across the antimeridian
        SELECT before AS starts, low AS ends, low - before AS width, 1 AS rank FROM reached WHERE low - before > 1e-9
        UNION ALL SELECT max(high), min(low), min(low) + 360 - max(high), 0 FROM pieces HAVING count(*) > 0
    )
    SELECT CASE WHEN width > 0 THEN ends ELSE -180 END, CASE WHEN width > 0 THEN starts ELSE 180 END
    FROM gaps ORDER BY width DESC, rank LIMIT 1
$$;
COMMENT ON FUNCTION union_longitudes IS 'The smallest interval of longitudes that holds all given ones; west > east crosses the antimeridian.';

-- The first file of a source is the first by URI, so that the derived fields do not depend on the order of registering.
CREATE FUNCTION derive_sources(source_ids bigint[]) RETURNS SETOF bigint LANGUAGE sql AS $$
    WITH steps AS (
        SELECT source_id, step, step - lag(step) OVER (PARTITION BY source_id ORDER BY step) AS gap
        FROM (SELECT DISTINCT source_id, unnest(times) AS step FROM raster_files WHERE source_id = ANY (source_ids)) AS distinct_steps
    ), temporal_extent AS (
        SELECT source_id, min(step) AS first, max(step) AS last,
               CASE WHEN count(*) >= 3 AND min(gap) = max(gap) THEN min(gap) END AS equidistant,
               array_agg(DISTINCT extract(epoch FROM gap)) FILTER (WHERE gap IS NOT NULL) AS gaps
        FROM steps GROUP BY source_id
    ), files AS (
        SELECT source_id, count(*)::integer AS file_count, sum(size)::bigint AS size,
               array_agg(raster_files.west) AS wests, array_agg(raster_files.east) AS easts,
               min(south) AS south, max(north) AS north,
               min(origin_x) AS origin_x, min(origin_y) AS origin_y,
               max(upper_bound_x) AS upper_bound_x, max(upper_bound_y) AS upper_bound_y,
               min(uri COLLATE "C") AS first_uri,
               count(DISTINCT coalesce(fill_value, '')) > 1 AS nodata_differs
        FROM raster_files WHERE source_id = ANY (source_ids) GROUP BY source_id
    ), derived AS (
        SELECT source.id, coalesce(files.file_count, 0) AS file_count,
               coalesce(source.declared_interval, temporal_extent.equidistant) AS "interval",
               CASE WHEN temporal_extent.first IS NOT NULL THEN temporal_extent.first
                    WHEN files.file_count > 0 AND NOT source.temporal THEN timestamptz 'epoch' END AS first_value_timestamp,
               CASE WHEN temporal_extent.last IS NOT NULL THEN temporal_extent.last
                    WHEN files.file_count > 0 AND NOT source.temporal THEN timestamptz 'epoch' END AS last_value_timestamp,
               longitudes.west, files.south, longitudes.east, files.north,
               system.projection, files.origin_x, files.origin_y, files.upper_bound_x, files.upper_bound_y,
               first_file.pixelsize_x, first_file.pixelsize_y, files.size, first_file.dtype, first_file.fill_value,
               CASE WHEN files.nodata_differs THEN jsonb_build_array(jsonb_build_object(
                   'code', 'nodata_differs', 'message', 'The files of this source declare different nodata values; the value of the first file by name is shown.'))
                   ELSE '[]' END
               || CASE WHEN EXISTS (
                   SELECT FROM unnest(temporal_extent.gaps) AS gap
                   WHERE mod(gap, extract(epoch FROM source.declared_interval)) <> 0
               ) THEN jsonb_build_array(jsonb_build_object(
                   'code', 'interval_contradicted', 'message', 'The times between the files are not multiples of the declared interval.'))
                   ELSE '[]' END AS warnings
        FROM raster_sources AS source
        LEFT JOIN files ON files.source_id = source.id
        LEFT JOIN temporal_extent ON temporal_extent.source_id = source.id
        LEFT JOIN raster_files AS first_file ON first_file.source_id = files.source_id AND first_file.uri = files.first_uri
        LEFT JOIN coordinate_systems AS system ON system.id = first_file.coordinate_system_id
        LEFT JOIN LATERAL union_longitudes(files.wests, files.easts) AS longitudes ON true
        WHERE source.id = ANY (source_ids)
    )
    UPDATE raster_sources AS source
    SET (file_count, "interval", first_value_timestamp, last_value_timestamp, west, south, east, north, projection,
         origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype, fill_value, warnings)
      = (derived.file_count, derived."interval", derived.first_value_timestamp, derived.last_value_timestamp,
         derived.west, derived.south, derived.east, derived.north, derived.projection,
         derived.origin_x, derived.origin_y, derived.upper_bound_x, derived.upper_bound_y,
         derived.pixelsize_x, derived.pixelsize_y, derived.size, derived.dtype, derived.fill_value, derived.warnings)
    FROM derived
    WHERE source.id = derived.id
      AND (source.file_count, source."interval", source.first_value_timestamp, source.last_value_timestamp,
           source.west, source.south, source.east, source.north, source.projection,
           source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
           source.pixelsize_x, source.pixelsize_y, source.size, source.dtype, source.fill_value, source.warnings)
          IS DISTINCT FROM
          (derived.file_count, derived."interval", derived.first_value_timestamp, derived.last_value_timestamp,
           derived.west, derived.south, derived.east, derived.north, derived.projection,
           derived.origin_x, derived.origin_y, derived.upper_bound_x, derived.upper_bound_y,
           derived.pixelsize_x, derived.pixelsize_y, derived.size, derived.dtype, derived.fill_value, derived.warnings)
    RETURNING source.id
$$;
COMMENT ON FUNCTION derive_sources IS 'Computes the derived fields of raster sources from their raster files; returns the ids of the sources that changed.';
