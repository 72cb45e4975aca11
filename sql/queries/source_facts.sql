-- name: find_source
-- A uuid comes first, then a whole name, then a part of one.
SELECT source.id, source.uuid, source.name, organisation.name AS organisation
FROM raster_sources AS source JOIN organisations AS organisation ON organisation.id = source.organisation_id
WHERE CASE WHEN EXISTS (SELECT FROM raster_sources WHERE uuid = :uuid) THEN source.uuid = :uuid
           WHEN EXISTS (SELECT FROM raster_sources WHERE name = :name) THEN source.name = :name
           ELSE strpos(upper(source.name), upper(:name)) > 0 END
ORDER BY source.id LIMIT :most;

-- name: describe_source
SELECT source.uuid, source.name, organisation.name AS organisation, source.access_modifier, supplier.username AS supplier,
       supplier_code, description, temporal, "interval", first_value_timestamp, last_value_timestamp,
       west, south, east, north, projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y,
       dtype, fill_value, size, file_count,
       (SELECT count(*) FROM raster_files WHERE source_id = source.id AND state = 'missing') AS missing_files,
       definition, group_key, source.created, source.last_modified,
       (SELECT count(*) FROM layer_sources WHERE source_uuid = source.uuid) AS layers,
       (SELECT count(*) FROM label_type_sources WHERE source_uuid = source.uuid) AS labeltypes,
       (SELECT count(*) FROM scenario_sources WHERE source_uuid = source.uuid) AS scenarios
FROM raster_sources AS source
JOIN organisations AS organisation ON organisation.id = source.organisation_id
LEFT JOIN users AS supplier ON supplier.id = source.supplier_id
WHERE source.id = :source;

-- name: list_files
SELECT file.uri, file.state, file.width, file.height, file.band_count, system.projection, file.operation_name AS operation,
       file.times[1] AS first_time, file.times[cardinality(file.times)] AS last_time, file.size, file.warnings
FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
WHERE file.source_id = :source ORDER BY file.uri COLLATE "C" LIMIT :most;

-- name: count_warnings
SELECT warning ->> 'code' AS code, warning ->> 'message' AS message, count(*) AS files
FROM (SELECT jsonb_array_elements(warnings) AS warning FROM raster_files WHERE source_id = :source) AS of_files
GROUP BY 1, 2
UNION ALL
SELECT warning ->> 'code', warning ->> 'message', 0
FROM (SELECT jsonb_array_elements(warnings) AS warning FROM raster_sources WHERE id = :source) AS of_source
ORDER BY 3 DESC, 1, 2;

-- name: draw_footprint
-- Cells are a little smaller than their place in the grid: a file that ends at the edge of a cell is not in the next one.
WITH shapes AS MATERIALIZED (
    SELECT DISTINCT footprint FROM raster_files WHERE source_id = :source LIMIT :most + 1
), box AS (
    SELECT west, south, CASE WHEN east < west THEN east + 360 ELSE east END - west AS width, north - south AS height
    FROM raster_sources WHERE id = :source
), cells AS (
    SELECT line, place, west + width * (place + 0.01) / :columns AS low, west + width * (place + 0.99) / :columns AS high,
           north - height * (line + 0.99) / :rows AS bottom, north - height * (line + 0.01) / :rows AS top
    FROM (SELECT west, south, width, height, south + height AS north FROM box) AS bounds
    CROSS JOIN generate_series(0, :rows - 1) AS line CROSS JOIN generate_series(0, :columns - 1) AS place
), shifted AS (
    SELECT line, place, CASE WHEN high > 180 THEN 360 ELSE 0 END AS turn, low, high, bottom, top FROM cells
)
SELECT string_agg(CASE WHEN EXISTS (
           SELECT FROM shapes
           WHERE ST_Intersects(footprint, ST_MakeEnvelope(low - turn, bottom, high - turn, top, 4326))
       ) THEN '#' ELSE '.' END, '' ORDER BY place) AS line,
       (SELECT count(*) FROM shapes) AS shapes
FROM shifted GROUP BY shifted.line ORDER BY shifted.line;
