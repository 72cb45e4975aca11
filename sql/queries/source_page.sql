-- name: select_outline
-- The union of the footprints; null if there are too many different ones, so that the page shows the bounds.
WITH outlines AS (
    SELECT DISTINCT footprint FROM raster_files WHERE source_id = :source LIMIT :most + 1
)
SELECT CASE WHEN count(*) BETWEEN 1 AND :most THEN ST_AsGeoJSON(ST_UnaryUnion(ST_Collect(footprint)), 6) END AS outline
FROM outlines

-- name: select_facts
SELECT source.definition, source.warnings, file.layout, file.rotated, file.band_count, file.operation_code,
       file.operation_name, file.operation_accuracy, file.proj_version, substring(system.wkt FROM '"([^"]*)"') AS system_name
FROM raster_sources AS source
LEFT JOIN LATERAL (
    SELECT * FROM raster_files WHERE source_id = source.id ORDER BY uri COLLATE "C" LIMIT 1
) AS file ON true
LEFT JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
WHERE source.id = :source

-- name: count_steps
-- The number of steps in each of the equal parts of the time of a series; parts are numbered from 1.
SELECT width_bucket(extract(epoch FROM step), extract(epoch FROM CAST(:first AS timestamptz)),
                    extract(epoch FROM CAST(:until AS timestamptz)), CAST(:parts AS integer)) AS part,
       count(DISTINCT step) AS steps
FROM raster_files CROSS JOIN LATERAL unnest(times) AS step
WHERE source_id = :source AND state = 'present'
GROUP BY part ORDER BY part

-- name: list_first_steps
SELECT DISTINCT step FROM raster_files CROSS JOIN LATERAL unnest(times) AS step
WHERE source_id = :source AND state = 'present'
ORDER BY step LIMIT :most
