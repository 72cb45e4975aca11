-- name: lock_organisation
-- Additions to an organisation with a quota are checked one after the other.
SELECT id FROM organisations WHERE id = :organisation AND raster_storage_capacity IS NOT NULL FOR NO KEY UPDATE;

-- name: select_storage_use
-- The bytes in use by an organisation: its raster sources, its open uploads and the files that it is sending. There is
-- no row for an organisation without a quota.
SELECT raster_storage_capacity AS capacity,
       (SELECT coalesce(sum(size), 0) FROM raster_sources WHERE organisation_id = :organisation)
     + (SELECT coalesce(sum(upload.size), 0)
        FROM uploads AS upload JOIN raster_sources AS source ON source.id = upload.source_id
        WHERE source.organisation_id = :organisation AND upload.state = ANY (:open_states))
     + (SELECT coalesce(sum(file.reserved), 0)
        FROM received_files AS file JOIN raster_sources AS source ON source.id = file.source_id
        WHERE source.organisation_id = :organisation) AS used
FROM organisations WHERE id = :organisation AND raster_storage_capacity IS NOT NULL;

-- name: select_size
-- The bytes of a raster source, of its open uploads and of the files that are being sent to it.
SELECT coalesce(source.size, 0)
     + (SELECT coalesce(sum(size), 0) FROM uploads WHERE source_id = :source AND state = ANY (:open_states))
     + (SELECT coalesce(sum(reserved), 0) FROM received_files WHERE source_id = :source)
FROM raster_sources AS source WHERE id = :source;

-- name: insert_task
INSERT INTO tasks DEFAULT VALUES RETURNING id, uuid;

-- name: insert_upload
-- The file must be durable.
INSERT INTO uploads (source_id, task_id, user_id, filename, uri, size, "timestamp", crs, nodata, state)
VALUES (:source_id, :task_id, :user_id, :filename, :uri, :size, :timestamp, :crs, :nodata, 'received');

-- name: select_uploaded_uris
SELECT uri FROM uploads WHERE source_id = :source AND uri IS NOT NULL;

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
-- Run this after `remove_files`.
SELECT count(*) FROM raster_files
WHERE source_id = :source
  AND times[1] <= coalesce(CAST(:stop AS timestamptz), 'infinity')
  AND times[cardinality(times)] >= coalesce(CAST(:start AS timestamptz), '-infinity');

-- name: revoke_uploads
-- Ends the open uploads with a given time in the range, or all of them without limits.
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
-- How many of the files were uploaded, and how many uploads wait.
SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes,
       count(*) FILTER (WHERE EXISTS (SELECT FROM uploads AS upload WHERE upload.uri = file.uri)) AS uploaded,
       (SELECT count(*) FROM uploads WHERE source_id = :source AND state = ANY (:open_states)) AS waiting
FROM raster_files AS file WHERE source_id = :source;
