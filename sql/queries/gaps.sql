-- name: find_sources
-- Users may choose any name for a source, so uuids and ids of definitions come first.
SELECT id, uuid::text, name, definition, declared_interval, projection, warnings FROM raster_sources
WHERE CASE WHEN EXISTS (SELECT FROM raster_sources WHERE uuid = :uuid) THEN uuid = :uuid
           WHEN EXISTS (SELECT FROM raster_sources WHERE definition = :name) THEN definition = :name
           ELSE name = :name END
ORDER BY id

-- name: count_files
SELECT count(*) AS files, count(*) FILTER (WHERE state = 'missing') AS missing
FROM raster_files WHERE source_id = :source

-- name: list_steps
SELECT step, bool_or(state = 'present') AS present
FROM raster_files CROSS JOIN LATERAL unnest(times) AS step
WHERE source_id = :source GROUP BY step ORDER BY step

-- name: select_first_wkt
SELECT system.wkt
FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
WHERE file.source_id = :source ORDER BY file.id LIMIT 1

-- name: list_grids
-- Files that share a grid are one row, with the steps of those that are present.
SELECT transform, width, height, origin_x, upper_bound_x, west, south, east, north,
       bool_or(state = 'present') AS present,
       array_agg(step) FILTER (WHERE state = 'present' AND step IS NOT NULL) AS steps
FROM raster_files AS file LEFT JOIN LATERAL unnest(times) AS step ON true
WHERE source_id = :source
GROUP BY transform, width, height, origin_x, upper_bound_x, west, south, east, north
ORDER BY min(file.id)
