-- name: record
INSERT INTO definitions (id, config, uuid) VALUES (:id, :config, :uuid)
ON CONFLICT (id) DO UPDATE SET config = excluded.config, uuid = excluded.uuid, synced = now();

-- name: get_config
SELECT config FROM definitions WHERE id = :id;

-- name: find_orphans
SELECT config, id, (SELECT count(*) FROM raster_sources AS source WHERE source.definition = definitions.id)
FROM definitions WHERE id <> ALL (:ids) ORDER BY id;

-- name: claim_source
UPDATE raster_sources SET definition = :id, group_key = 'all'
WHERE uuid = :uuid AND definition IS NULL AND NOT EXISTS (
    SELECT FROM raster_sources WHERE definition = :id AND group_key = 'all');

-- name: get_definition_of_source
SELECT definition FROM raster_sources WHERE uuid = :uuid;

-- name: get_uuid_of_source
SELECT uuid FROM raster_sources WHERE definition = :id AND group_key = 'all';

-- name: lock
SELECT pg_try_advisory_xact_lock(hashtextextended(:id, 0));

-- name: find_sources
SELECT id FROM raster_sources WHERE definition = :id;

-- name: get_uuid
SELECT uuid FROM definitions WHERE id = :id;

-- name: remove_files
-- The files of a drop folder stay, because they belong to sources of other definitions.
DELETE FROM raster_files AS file USING raster_sources AS source
WHERE file.source_id = source.id AND source.definition = :id AND file.definition = :id;

-- name: forget
WITH rejected AS (
    DELETE FROM rejected_files WHERE definition = :id
), deleted AS (
    DELETE FROM tombstones WHERE definition = :id
)
DELETE FROM definitions WHERE id = :id;

-- name: release_sources
-- The remaining sources no longer belong to a definition.
UPDATE raster_sources SET definition = NULL, group_key = NULL, definition_hash = NULL WHERE definition = :id;

-- name: count_outdated_sources
-- Leaves out the sources of unchanged files. The first part of the hash covers all fields except the name.
SELECT count(*) FROM raster_sources AS source
WHERE source.definition = :definition
  AND split_part(source.definition_hash, '.', 1) IS DISTINCT FROM split_part(:hash, '.', 1)
  AND NOT EXISTS (
    SELECT FROM raster_files AS file JOIN changed USING (uri)
    WHERE file.source_id = source.id AND file.definition = source.definition AND changed.verdict = 'outdated');

-- name: find_outdated_sources
SELECT id FROM raster_sources
WHERE definition = :definition
  AND split_part(definition_hash, '.', 1) IS DISTINCT FROM split_part(:hash, '.', 1);

-- name: update_outdated_sources
-- The name is made from a file, so the part of the hash for names stays until a file is registered.
UPDATE raster_sources SET
    definition_hash = split_part(:hash, '.', 1) || '.' || coalesce(split_part(definition_hash, '.', 2), ''),
    description = :description, organisation_id = :organisation_id, access_modifier = :access_modifier,
    supplier_id = :supplier_id, supplier_code = :supplier_code, temporal = :temporal, declared_interval = :interval
WHERE id = ANY (:ids);

-- name: add_grid_to_names
-- Adds the grid to the name of each raster source that the run created and that has the same name as another source of
-- the import.
UPDATE raster_sources AS source
SET name = format('%s (%s)', left(name, 180), concat_ws(', ', projection, abs(pixelsize_x), dtype))
WHERE definition = :definition AND created_by = current_run() AND pixelsize_x IS NOT NULL AND EXISTS (
    SELECT FROM raster_sources AS other
    WHERE other.definition = source.definition AND other.name = source.name AND other.id <> source.id);
