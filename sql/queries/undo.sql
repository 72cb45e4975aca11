-- name: get_run
SELECT definition, state, started, undone FROM sync_runs WHERE id = :run FOR UPDATE;

-- name: lock
SELECT pg_try_advisory_xact_lock(hashtextextended(:definition, 0));

-- name: find_sources
SELECT id FROM raster_sources WHERE definition = :definition AND created_by = :run
UNION SELECT source_id FROM raster_files WHERE definition = :definition AND added_by = :run;

-- name: find_changed_sources
-- The sources that the run created and that were edited or defined by others since; they stay unchanged.
SELECT id, uuid, name, described_by AS run FROM raster_sources
WHERE id = ANY (:ids) AND created_by = :run AND described_by IS DISTINCT FROM :run ORDER BY id;

-- name: find_changed_files
-- The files that the run added and that another run registered again.
SELECT file.uri, file.registered_by AS run FROM raster_files AS file
WHERE file.source_id = ANY (:ids) AND file.definition = :definition AND file.added_by = :run
  AND file.registered_by IS DISTINCT FROM :run AND file.source_id <> ALL (:kept)
ORDER BY file.uri COLLATE "C";

-- name: remove_files
-- Leaves no tombstones, so that the next run registers the files again.
DELETE FROM raster_files WHERE source_id = ANY (:ids) AND source_id <> ALL (:kept)
  AND definition = :definition AND added_by = :run AND registered_by = :run;

-- name: forget_rejections
DELETE FROM rejected_files WHERE definition = :definition AND rejected_by = :run AND attempts = 1;

-- name: find_empty
SELECT id FROM raster_sources
WHERE id = ANY (:ids) AND id <> ALL (:kept) AND created_by = :run AND file_count = 0;

-- name: describe_sources
SELECT uuid, name FROM raster_sources WHERE id = ANY (:ids) ORDER BY id;

-- name: mark_undone
UPDATE sync_runs SET undone = now() WHERE id = :run;
