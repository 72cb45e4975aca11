-- name: create_grids
-- The inputs from which the bounds of files are computed, and the stored bounds. Files that share both are one row.
CREATE TEMPORARY TABLE grids ON COMMIT DROP AS
SELECT row_number() OVER () AS number, array_agg(id) AS files, coordinate_system_id, transform, width, height,
       west, south, east, north, operation_code, operation_name, operation_accuracy, proj_version
FROM raster_files
GROUP BY coordinate_system_id, transform, width, height, west, south, east, north,
         operation_code, operation_name, operation_accuracy, proj_version;

-- name: create_placed
-- The grids whose new bounds differ from the stored ones. `code` and `message` give the reason if a grid can no longer
-- be placed.
CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
SELECT NULL::bigint AS number, NULL::double precision AS metres, west, south, east, north, footprint, operation_code,
       operation_name, operation_accuracy, proj_version, warnings, NULL::text AS code, NULL::text AS message
FROM raster_files WITH NO DATA;

-- name: list_grids
SELECT grids.*, system.wkt FROM grids JOIN coordinate_systems AS system ON system.id = coordinate_system_id
ORDER BY coordinate_system_id, number;

-- name: insert_placed
INSERT INTO placed VALUES (
    :number, :metres, :west, :south, :east, :north, ST_GeomFromWKB(:footprint, 4326),
    :operation_code, :operation_name, :operation_accuracy, :proj_version, :warnings);

-- name: insert_unplaced
INSERT INTO placed (number, code, message) VALUES (:number, :code, :message);

-- name: list_moved_sources
SELECT source.uuid::text, source.name, count(*) AS files, max(placed.metres) AS metres
FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
JOIN raster_files AS file ON file.id = member.id
JOIN raster_sources AS source ON source.id = file.source_id
WHERE placed.code IS NULL AND placed.metres > :noise
GROUP BY source.id ORDER BY max(placed.metres) DESC, source.id;

-- name: list_unplaced_files
SELECT file.uri, placed.code, placed.message
FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
JOIN raster_files AS file ON file.id = member.id
WHERE placed.code IS NOT NULL ORDER BY file.id;

-- name: count_outdated_files
SELECT coalesce(sum(cardinality(files)), 0)::bigint FROM placed JOIN grids USING (number) WHERE code IS NULL;

-- name: find_sources
SELECT DISTINCT file.source_id
FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
JOIN raster_files AS file ON file.id = member.id WHERE placed.code IS NULL;

-- name: update_files
-- Replaces the warnings about the bounds. Skips a file that was registered with another grid in the meantime.
UPDATE raster_files AS file SET
    west = placed.west, south = placed.south, east = placed.east, north = placed.north,
    footprint = placed.footprint, operation_code = placed.operation_code,
    operation_name = placed.operation_name, operation_accuracy = placed.operation_accuracy,
    proj_version = placed.proj_version, registered = now(),
    warnings = CASE
        WHEN jsonb_path_query_array(file.warnings, '$[*] ? (@.code == $codes[*])', :codes) = placed.warnings
        THEN file.warnings
        ELSE placed.warnings || jsonb_path_query_array(file.warnings, '$[*] ? (!(@.code == $codes[*]))', :codes)
    END
FROM placed JOIN grids USING (number) CROSS JOIN unnest(grids.files) AS member (id)
WHERE file.id = member.id AND placed.code IS NULL
  AND (file.coordinate_system_id, file.transform, file.width, file.height)
    = (grids.coordinate_system_id, grids.transform, grids.width, grids.height);

-- name: reread_misfits
-- Files that do not fit their source keep the facts that were read, including their old bounds. So they are read again.
UPDATE rejected_files SET fingerprint = NULL WHERE facts IS NOT NULL;
