-- name: mark
UPDATE raster_files AS file SET state = 'missing' FROM absent
WHERE file.definition = :definition AND file.uri = absent.uri AND file.state = 'present';

-- name: find_sources
SELECT source_id FROM raster_files AS file JOIN absent USING (uri) WHERE file.definition = :definition;

-- name: remove
DELETE FROM raster_files AS file USING absent WHERE file.definition = :definition AND file.uri = absent.uri
RETURNING absent.state;

-- name: find_empty
SELECT id, group_key FROM raster_sources WHERE definition = :definition AND file_count = 0;

-- name: find_removable
-- Empty sources that are not in use and to which no file can return: a rejected file may be repaired, a deleted file may
-- be restored, and an upload may be in progress.
SELECT source.id FROM raster_sources AS source
WHERE source.id = ANY (:ids) AND source.file_count = 0
  AND NOT EXISTS (SELECT FROM rejected_files AS rejected
                  WHERE rejected.definition = source.definition AND rejected.group_key = source.group_key)
  AND NOT EXISTS (SELECT FROM tombstones WHERE tombstones.source_uuid = source.uuid)
  AND NOT EXISTS (SELECT FROM layer_sources AS used WHERE used.source_uuid = source.uuid)
  AND NOT EXISTS (SELECT FROM label_type_sources AS used WHERE used.source_uuid = source.uuid)
  AND NOT EXISTS (SELECT FROM scenario_sources AS used WHERE used.source_uuid = source.uuid)
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.source_id = source.id
                  AND uploads.state = ANY (:open_states));

-- name: delete_sources
DELETE FROM raster_sources WHERE id = ANY (:ids);
