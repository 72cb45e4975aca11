-- name: create_staged
-- Facts as rows of raster_files, with the group of each file and its coordinate reference system.
CREATE TEMPORARY TABLE staged ON COMMIT DROP AS
SELECT NULL::bigint AS position, NULL::text AS group_key, NULL::text AS wkt, NULL::text AS projection, file.*
FROM raster_files AS file WITH NO DATA;

-- name: upsert_coordinate_systems
INSERT INTO coordinate_systems (wkt, projection)
SELECT DISTINCT ON (md5(wkt)) wkt, projection FROM staged ORDER BY md5(wkt)
ON CONFLICT (wkt_md5) DO NOTHING;

-- name: assign_coordinate_systems
UPDATE staged SET coordinate_system_id = system.id FROM coordinate_systems AS system
WHERE system.wkt_md5 = md5(staged.wkt);
