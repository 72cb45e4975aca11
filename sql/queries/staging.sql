-- name: create_staged
-- Files as rows of raster_files, with the group of each.
CREATE TEMPORARY TABLE staged ON COMMIT DROP AS
SELECT NULL::bigint AS position, NULL::text AS group_key, file.* FROM raster_files AS file WITH NO DATA;

-- name: insert_coordinate_systems
-- Usually all are known. Then nothing is inserted, because an insert would use up ids.
INSERT INTO coordinate_systems (wkt, projection)
SELECT wkt, projection FROM unnest(CAST(:wkts AS text[]), CAST(:projections AS text[])) AS found (wkt, projection)
WHERE NOT EXISTS (SELECT FROM coordinate_systems AS known WHERE known.wkt_md5 = md5(found.wkt))
ORDER BY md5(wkt)
ON CONFLICT (wkt_md5) DO NOTHING;

-- name: find_coordinate_systems
SELECT id, wkt FROM coordinate_systems WHERE wkt_md5 IN (SELECT md5(wkt) FROM unnest(CAST(:wkts AS text[])) AS wkt);
