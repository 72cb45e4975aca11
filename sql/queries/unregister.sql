-- name: find_sources
SELECT id FROM raster_sources WHERE uuid = ANY (:uuids)
UNION SELECT source_id FROM raster_files AS file WHERE file.definition IS NOT NULL AND (
    file.uri = ANY (:uris)
    OR EXISTS (SELECT FROM unnest(CAST(:uris AS text[])) AS folder (uri)
               WHERE starts_with(file.uri, rtrim(folder.uri, '/') || '/')));

-- name: remove_files
-- Removes files with these URIs or below them, and the files of these sources, but never files that clients sent. Files
-- of a definition leave tombstones. Files that were registered by hand do not, because only a user registers them again.
WITH removed AS (
    DELETE FROM raster_files AS file WHERE file.definition IS NOT NULL AND (
        file.uri = ANY (:uris)
        OR EXISTS (SELECT FROM unnest(CAST(:uris AS text[])) AS folder (uri)
                   WHERE starts_with(file.uri, rtrim(folder.uri, '/') || '/'))
        OR file.source_id IN (SELECT id FROM raster_sources WHERE uuid = ANY (:uuids)))
    RETURNING file.*
), deleted AS (
    INSERT INTO tombstones (definition, source_uuid, name, organisation_id, uri, fingerprint)
    SELECT file.definition, source.uuid, source.name, source.organisation_id, file.uri, file.fingerprint
    FROM removed AS file JOIN raster_sources AS source ON source.id = file.source_id
    WHERE file.definition <> :by_hand
    ON CONFLICT (definition, uri) WHERE uri IS NOT NULL DO UPDATE SET fingerprint = excluded.fingerprint
)
SELECT count(*) FROM removed;

-- name: forget_rejections
-- Deletes the rejections of files that were registered by hand.
DELETE FROM rejected_files AS file WHERE file.definition = :by_hand AND (
    file.uri = ANY (:uris)
    OR EXISTS (SELECT FROM unnest(CAST(:uris AS text[])) AS folder (uri)
               WHERE starts_with(file.uri, rtrim(folder.uri, '/') || '/')));

-- name: find_empty
SELECT id FROM raster_sources WHERE id = ANY (:ids) AND file_count = 0;
