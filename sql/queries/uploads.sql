-- name: list_waiting
-- The oldest uploads of each organisation that wait, or whose worker stopped.
SELECT organisation_id, array_agg(id ORDER BY id) AS ids FROM (
    SELECT upload.id, source.organisation_id,
           row_number() OVER (PARTITION BY source.organisation_id ORDER BY upload.id) AS place
    FROM uploads AS upload JOIN raster_sources AS source ON source.id = upload.source_id
    WHERE upload.state = ANY (:waiting_states)
      AND (upload.state <> 'retry'
           OR upload.updated_at < now() - :delay * interval '1 second' * 2 ^ (upload.attempts - 1))
) AS waiting WHERE place <= :most GROUP BY organisation_id;

-- name: hold
SELECT pg_try_advisory_xact_lock(:kind, mod(:id, 2147483648)::integer);

-- name: claim
WITH claimed AS (
    UPDATE uploads SET state = 'processing', state_detail = NULL, attempts = attempts + 1, updated_at = now()
    WHERE id IN (
        SELECT id FROM uploads WHERE id = :id AND state = ANY (:waiting_states)
        FOR UPDATE SKIP LOCKED
    ) RETURNING id, source_id, task_id, uri, "timestamp", attempts, crs, nodata
), started AS (
    UPDATE tasks SET status = 'STARTED', updated = now() WHERE id IN (SELECT task_id FROM claimed)
)
SELECT claimed.id, claimed.source_id, claimed.uri, claimed."timestamp", claimed.attempts, source.temporal,
       claimed.crs, claimed.nodata
FROM claimed JOIN raster_sources AS source ON source.id = claimed.source_id;

-- name: lock_upload
SELECT id FROM uploads WHERE id = :id AND state = 'processing' FOR UPDATE;

-- name: replace_files
-- Deletes the files that an upload replaces: files within it, to half a pixel, that have no time other than its time.
-- Files of a definition leave tombstones, so that its next run does not register them again.
WITH removed AS (
    DELETE FROM raster_files AS file USING staged
    WHERE file.source_id = staged.source_id AND file.uri <> staged.uri
      AND (NOT :temporal OR (file.times <@ staged.times AND cardinality(file.times) > 0))
      AND file.origin_x >= staged.origin_x - abs(staged.pixelsize_x) / 2
      AND file.origin_y >= staged.origin_y - abs(staged.pixelsize_y) / 2
      AND file.upper_bound_x <= staged.upper_bound_x + abs(staged.pixelsize_x) / 2
      AND file.upper_bound_y <= staged.upper_bound_y + abs(staged.pixelsize_y) / 2
    RETURNING file.source_id, file.definition, file.uri, file.fingerprint
), deleted AS (
    INSERT INTO tombstones (definition, source_uuid, name, organisation_id, uri, fingerprint)
    SELECT removed.definition, source.uuid, source.name, source.organisation_id, removed.uri, removed.fingerprint
    FROM removed JOIN raster_sources AS source ON source.id = removed.source_id
    WHERE removed.definition IS NOT NULL
    ON CONFLICT (definition, uri) WHERE uri IS NOT NULL DO UPDATE SET
        source_uuid = excluded.source_uuid, name = excluded.name, fingerprint = excluded.fingerprint
)
SELECT uri FROM removed;

-- name: finish
WITH finished AS (
    UPDATE uploads
    SET state = :state, state_detail = CASE WHEN CAST(:result AS text) IS NULL THEN :detail END, updated_at = now()
    WHERE id = :id RETURNING task_id
)
UPDATE tasks
SET status = CASE :state WHEN 'committed' THEN 'SUCCESS' WHEN 'retry' THEN 'RETRY' ELSE 'FAILURE' END,
    result = :result, detail = :detail, updated = now()
WHERE id IN (SELECT task_id FROM finished);

-- name: assign_source
UPDATE staged SET source_id = :source;
