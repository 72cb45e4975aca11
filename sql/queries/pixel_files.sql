-- name: find_step
-- The last step of a raster source at or before a time; null if there is none. The index raster_files_step finds it
-- among files of one step; files of several steps are scanned.
SELECT max(step) AS step FROM (
    (SELECT file.times[1] AS step FROM raster_files AS file
     WHERE file.source_id = :source AND file.times <> '{}' AND (cardinality(file.times) > 1) IS FALSE
       AND file.times[1] <= CAST(:time AS timestamptz) AND file.state = 'present'
     ORDER BY file.times[1] DESC LIMIT 1)
    UNION ALL
    (SELECT max(step) FROM raster_files AS file, unnest(file.times) AS step
     WHERE file.source_id = :source AND file.times <> '{}' AND (cardinality(file.times) > 1) IS TRUE
       AND file.times[1] <= CAST(:time AS timestamptz) AND file.state = 'present' AND step <= CAST(:time AS timestamptz))
) AS last_steps;

-- name: list_steps
SELECT DISTINCT step FROM raster_files AS file, unnest(file.times) AS step
WHERE file.source_id = :source AND file.state = 'present'
  AND step >= CAST(:start AS timestamptz) AND step <= CAST(:end AS timestamptz)
ORDER BY step;

-- name: choose_files
-- The files of a raster source that show a window, the last one on top: at a step, within bounds in WGS 84 degrees or
-- in the CRS of the files. Null means any.
WITH wanted AS (
    SELECT CAST(:step AS timestamptz) AS step, CAST(:degrees AS double precision[]) AS degrees,
           CAST(:bounds AS double precision[]) AS bounds
)
SELECT file.uri, file.fingerprint, file.transform, system.wkt, file.width, file.height, file.dtype, file.bands, file.times
FROM wanted, raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
WHERE file.source_id = :source AND file.state = 'present'
  AND (wanted.step IS NULL
       OR (file.times <> '{}' AND (cardinality(file.times) > 1) IS FALSE AND file.times[1] = wanted.step)
       OR (file.times <> '{}' AND (cardinality(file.times) > 1) IS TRUE AND file.times[1] <= wanted.step
           AND file.times @> ARRAY[wanted.step]))
  AND (degrees IS NULL OR file.footprint && ST_MakeEnvelope(degrees[1], degrees[2], degrees[3], degrees[4], 4326))
  AND (bounds IS NULL OR (file.origin_x < bounds[3] AND file.upper_bound_x > bounds[1]
                          AND file.origin_y < bounds[4] AND file.upper_bound_y > bounds[2]))
ORDER BY file.id LIMIT :most;

-- name: sample_files
-- Some files of a raster source, evenly spread over all of them.
SELECT file.uri, file.fingerprint, file.transform, system.wkt, file.width, file.height, file.dtype, file.bands, file.times
FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
WHERE file.id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (ORDER BY id) - 1 AS number, count(*) OVER () AS amount
        FROM raster_files WHERE source_id = :source AND state = 'present'
    ) AS numbered
    WHERE mod(number, greatest(1, (amount + :most - 1) / :most)) = 0
)
ORDER BY file.id;
