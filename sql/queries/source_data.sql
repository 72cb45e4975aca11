-- name: remove_files
-- Deletes the files of a source whose steps all lie between two times. A file without a time counts as of 1970-01-01.
-- Files of a definition leave tombstones, so that its next run does not bring them back.
WITH removed AS (
    DELETE FROM raster_files
    WHERE source_id = :source
      AND coalesce(times[1], timestamptz 'epoch') >= coalesce(CAST(:start AS timestamptz), '-infinity')
      AND coalesce(times[cardinality(times)], timestamptz 'epoch') <= coalesce(CAST(:stop AS timestamptz), 'infinity')
    RETURNING source_id, definition, uri, fingerprint
), deleted AS (
    INSERT INTO tombstones (definition, source_uuid, name, organisation_id, uri, fingerprint)
    SELECT removed.definition, source.uuid, source.name, source.organisation_id, removed.uri, removed.fingerprint
    FROM removed JOIN raster_sources AS source ON source.id = removed.source_id
    WHERE removed.definition IS NOT NULL
    ON CONFLICT (definition, uri) WHERE uri IS NOT NULL DO UPDATE SET
        source_uuid = excluded.source_uuid, name = excluded.name, fingerprint = excluded.fingerprint
)
SELECT uri FROM removed;

-- name: count_partly_inside
SELECT count(*) FROM raster_files
WHERE source_id = :source
  AND times[1] <= coalesce(CAST(:stop AS timestamptz), 'infinity')
  AND times[cardinality(times)] >= coalesce(CAST(:start AS timestamptz), '-infinity');

-- name: revoke_uploads
WITH revoked AS (
    UPDATE uploads
    SET state = 'rejected', state_detail = 'The data was removed before it was processed.', updated_at = now()
    WHERE source_id = :source AND state = ANY (:open_states)
      AND (num_nonnulls(CAST(:start AS timestamptz), CAST(:stop AS timestamptz)) = 0
           OR "timestamp" BETWEEN coalesce(CAST(:start AS timestamptz), '-infinity')
              AND coalesce(CAST(:stop AS timestamptz), 'infinity'))
    RETURNING uri, task_id
), ended AS (
    UPDATE tasks SET status = 'REVOKED', detail = 'The data was removed before it was processed.', updated = now()
    WHERE id IN (SELECT task_id FROM revoked)
)
SELECT uri FROM revoked;

-- name: count_files
SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes,
       count(*) FILTER (WHERE EXISTS (SELECT FROM uploads AS upload WHERE upload.uri = file.uri)) AS uploaded,
       (SELECT count(*) FROM uploads WHERE source_id = :source AND state = ANY (:open_states)) AS waiting
FROM raster_files AS file WHERE source_id = :source;
