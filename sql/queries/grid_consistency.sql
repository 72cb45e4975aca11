-- name: find_model
-- The grid that the files of each source share: the grid of the first file that the batch did not read, or else of the
-- first file. `uris` are the files that the batch read.
CREATE TEMPORARY TABLE elected ON COMMIT DROP AS
SELECT source_id, grid_of(file) AS grid FROM (
    SELECT DISTINCT ON (file.source_id) file.source_id, file FROM raster_files AS file
    WHERE file.source_id = ANY (:sources) AND file.state = 'present'
    ORDER BY file.source_id, file.uri = ANY (:uris), file.id
) AS first;

-- name: find_misfit_of_upload
-- The reason why a staged file does not fit the files of its source, including missing ones; no row if it fits.
SELECT code, grid_message(own, model)
FROM (
    SELECT ROW(coalesce(system.projection, system.wkt_md5), staged.pixelsize_x, staged.pixelsize_y,
               staged.dtype)::grid AS own, grid_of(first.file) AS model
    FROM staged JOIN coordinate_systems AS system ON system.id = staged.coordinate_system_id CROSS JOIN LATERAL (
        SELECT file FROM raster_files AS file WHERE file.source_id = staged.source_id AND file.uri <> staged.uri
        ORDER BY file.id LIMIT 1) AS first
) AS pair CROSS JOIN LATERAL grid_mismatch(own, model) AS code
WHERE code IS NOT NULL;

-- name: find_contested
-- The sources of the definition that have files rejected only because of their grid.
SELECT DISTINCT source.id FROM rejected_files AS rejected
JOIN raster_sources AS source USING (definition, group_key)
WHERE rejected.definition = :definition AND rejected.reading_hash = :reading_hash AND rejected.facts IS NOT NULL;

-- name: find_misfits
-- Files that are rejected only because of their grid. They have not changed since they were read, and the definition
-- would now read and group them in the same way.
CREATE TEMPORARY TABLE misfits ON COMMIT DROP AS
SELECT rejected.id AS rejected_id, source.id AS source_id,
       jsonb_populate_record(NULL::raster_files, rejected.facts || jsonb_build_object(
           'source_id', source.id, 'registered', now(), 'added_by', current_run(),
           'registered_by', current_run())) AS file
FROM rejected_files AS rejected
JOIN listed ON listed.uri = rejected.uri AND listed.fingerprint = rejected.fingerprint
JOIN raster_sources AS source USING (definition, group_key)
WHERE rejected.definition = :definition AND rejected.reading_hash = :reading_hash AND rejected.facts IS NOT NULL;

-- name: elect_grids
-- The grid that most files of a source fit; if two grids fit as many, the grid of the file with the lowest URI. Missing
-- files, and files that this run did not find, do not count. Files of other definitions and of clients cannot be
-- rejected here, so their grid always wins. There may be many grids: grids that differ only by rounding count as one,
-- and only grids with similar pixel sizes are compared.
CREATE TEMPORARY TABLE elected ON COMMIT DROP AS
WITH voter AS (
    SELECT source_id, grid_of(file) AS grid, (file).uri, false AS fixed FROM misfits
    UNION ALL
    SELECT file.source_id, grid_of(file), file.uri, file.definition IS DISTINCT FROM :definition
    FROM raster_files AS file
    WHERE file.source_id IN (SELECT source_id FROM misfits) AND file.state = 'present'
      AND NOT EXISTS (SELECT FROM absent WHERE absent.uri = file.uri AND file.definition = :definition)
), measured AS (
    SELECT *, ln(abs((grid).pixelsize_x)) AS log_x, ln(abs((grid).pixelsize_y)) AS log_y FROM voter
), candidate AS (
    SELECT source_id, (array_agg(grid ORDER BY uri COLLATE "C"))[1] AS grid, floor(min(log_x) * 5e5) AS bucket,
           bool_or(fixed) AS fixed, count(*) AS files, min(uri COLLATE "C") AS first
    FROM measured
    GROUP BY source_id, (grid).crs, (grid).dtype, sign((grid).pixelsize_x), sign((grid).pixelsize_y),
             round(log_x * 1e8), round(log_y * 1e8)
)
SELECT DISTINCT ON (own.source_id) own.source_id, own.grid
FROM candidate AS own CROSS JOIN generate_series(-1, 1) AS step
JOIN candidate AS other ON other.source_id = own.source_id AND other.bucket = own.bucket + step
WHERE grid_mismatch(other.grid, own.grid) IS NULL
GROUP BY own.source_id, own.grid, own.first
ORDER BY own.source_id, bool_or(other.fixed) DESC, sum(other.files) DESC, min(other.first), own.first;

-- name: get_accepted
SELECT (misfits.file).uri FROM misfits JOIN elected USING (source_id)
WHERE grid_mismatch(grid_of(misfits.file), elected.grid) IS NULL;

-- name: get_evicted
SELECT file.uri FROM raster_files AS file JOIN elected USING (source_id)
WHERE file.definition = :definition AND file.state = 'present'
  AND grid_mismatch(grid_of(file), elected.grid) IS NOT NULL;

-- name: evict
-- Removes the files of the definition that do not fit the chosen grid from their source. Present files become rejected
-- files, which keep the facts that were read. Without `everything`, only missing files and `uris` are tested.
WITH judged AS (
    SELECT file.id, grid_mismatch(grid_of(file), elected.grid) AS code,
           grid_message(grid_of(file), elected.grid) AS message
    FROM raster_files AS file JOIN elected USING (source_id)
    WHERE file.definition = :definition
      AND (:everything OR file.state = 'missing' OR file.uri = ANY (:uris))
), evicted AS (
    DELETE FROM raster_files AS file USING judged
    WHERE file.id = judged.id AND judged.code IS NOT NULL
    RETURNING judged.code, judged.message, file
)
INSERT INTO rejected_files AS rejected (definition, organisation_id, uri, code, message, fingerprint, group_key, facts,
                                        reading_hash)
SELECT :definition, :organisation_id, (file).uri, code, message, (file).fingerprint, source.group_key,
       to_jsonb(file) || jsonb_build_object('footprint', ((file).footprint)::text), (file).reading_hash
FROM evicted JOIN raster_sources AS source ON source.id = (file).source_id
WHERE (file).state = 'present' ORDER BY (file).uri
ON CONFLICT (definition, uri) DO UPDATE SET
    organisation_id = excluded.organisation_id, code = excluded.code, message = excluded.message,
    fingerprint = excluded.fingerprint, group_key = excluded.group_key, facts = excluded.facts,
    reading_hash = excluded.reading_hash, last_seen = now(), attempts = rejected.attempts + 1,
    rejected_by = excluded.rejected_by
RETURNING rejected.uri, rejected.code, rejected.message, rejected.fingerprint, (rejected.facts ->> 'size')::bigint;

-- name: accept
WITH accepted AS (
    DELETE FROM rejected_files AS rejected USING misfits JOIN elected USING (source_id)
    WHERE rejected.id = misfits.rejected_id AND grid_mismatch(grid_of(misfits.file), elected.grid) IS NULL
    RETURNING misfits.file
)
INSERT INTO raster_files OVERRIDING SYSTEM VALUE SELECT (accepted.file).* FROM accepted
RETURNING uri, size;

-- name: count_evicted
-- The number of removed files by what the run had done with them; the counts of the run decrease by these.
SELECT -count(*) FILTER (WHERE verdict IN ('add', 'update', 'moved')) AS registered,
       -count(*) FILTER (WHERE verdict = 'moved') AS moved,
       -count(*) FILTER (WHERE verdict IS NULL OR verdict = 'outdated') AS unchanged,
       -count(*) FILTER (WHERE verdict = 'withheld') AS withheld,
       -count(*) FILTER (WHERE verdict = 'settling') AS settling,
       -coalesce(sum(listed.size) FILTER (WHERE verdict IN ('add', 'update', 'moved')), 0)::bigint AS bytes
FROM listed LEFT JOIN changed USING (position) WHERE listed.uri = ANY (:uris);
