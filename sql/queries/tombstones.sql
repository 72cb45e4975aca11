-- name: add_source_tombstones
-- Adds tombstones for a raster source that is about to be deleted: one for its group as a whole, and one for each file
-- that another definition added to it. Deletes the rejections of the group.
WITH source AS (
    SELECT id, uuid, name, organisation_id, definition, group_key FROM raster_sources WHERE id = :source
), forgotten AS (
    DELETE FROM rejected_files AS rejected USING source
    WHERE rejected.definition = source.definition AND rejected.group_key = source.group_key
)
INSERT INTO tombstones (definition, source_uuid, name, organisation_id, group_key, uri, fingerprint)
SELECT definition, uuid, name, organisation_id, group_key, NULL, NULL FROM source WHERE definition IS NOT NULL
UNION ALL
SELECT file.definition, source.uuid, source.name, source.organisation_id, NULL, file.uri, file.fingerprint
FROM source JOIN raster_files AS file ON file.source_id = source.id
WHERE file.definition IS NOT NULL AND file.definition IS DISTINCT FROM source.definition
ON CONFLICT DO NOTHING;

-- name: find_deleted_groups
SELECT group_key FROM tombstones WHERE definition = :definition AND uri IS NULL;

-- name: list
SELECT definition, source_uuid AS source, name, uri, created FROM tombstones ORDER BY created, id;

-- name: find
-- Finds tombstones by the uuid of the source, the definition, the file, or a folder or prefix above it. The group of a
-- single-file source is the URI of its file.
SELECT id FROM tombstones
WHERE :everything OR source_uuid::text = ANY (:names) OR definition = ANY (:names)
   OR coalesce(uri, group_key) = ANY (:uris)
   OR EXISTS (SELECT FROM unnest(CAST(:uris AS text[])) AS folder (uri)
              WHERE starts_with(coalesce(tombstones.uri, group_key), rtrim(folder.uri, '/') || '/'))
FOR UPDATE;

-- name: restore
-- Creates a deleted source again, empty, with its uuid. The next sync adds its files and the fields of its definition.
WITH restored AS (
    DELETE FROM tombstones WHERE id = ANY (:ids) RETURNING *
)
INSERT INTO raster_sources (uuid, name, organisation_id, definition, group_key)
SELECT source_uuid, name, organisation_id, definition, group_key FROM restored WHERE uri IS NULL ORDER BY id
ON CONFLICT DO NOTHING;
