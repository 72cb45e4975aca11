-- name: find_sources
-- The sources that a batch may change: those of its groups, and those in which its files were registered or rejected.
-- This is a UNION, because PostgreSQL would scan all sources for an OR.
SELECT id FROM raster_sources WHERE definition = :definition AND group_key = ANY (:keys)
UNION SELECT source_id FROM raster_files WHERE definition = :definition AND uri = ANY (:uris)
UNION SELECT source.id
FROM rejected_files AS rejected JOIN raster_sources AS source USING (definition, group_key)
WHERE rejected.definition = :definition AND rejected.uri = ANY (:uris);

-- name: move_groups
-- Gives the source of a moved file its new key, and its new name unless a user renamed the source.
UPDATE raster_sources AS source
SET group_key = moved.key, name = CASE WHEN source.name = moved.old_name THEN moved.name ELSE source.name END
FROM unnest(CAST(:old_keys AS text[]), CAST(:old_names AS text[]), CAST(:new_keys AS text[]),
            CAST(:new_names AS text[])) AS moved (old_key, old_name, key, name)
WHERE source.definition = :definition AND source.group_key = moved.old_key
  AND NOT EXISTS (SELECT FROM raster_sources AS other
                  WHERE other.definition = :definition AND other.group_key = moved.key);

-- name: upsert_sources
-- One source per group. An existing source is updated only if its definition changed, and its name only if the part of
-- the hash for names changed. New sources of one file get the fields that derive_sources() would derive, and their ids
-- are returned: deriving them later would write each row, and its entries in all indexes, a second time.
INSERT INTO raster_sources (uuid, definition, group_key, definition_hash, name, description, organisation_id,
                            access_modifier, supplier_id, supplier_code, temporal, declared_interval, file_count,
                            "interval", first_value_timestamp, last_value_timestamp, west, south, east, north,
                            projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y,
                            size, dtype, fill_value)
SELECT coalesce(:uuid, gen_random_uuid()), :definition, key, :hash, name, :description, :organisation_id,
       :access_modifier, :supplier_id, :supplier_code, :temporal, :interval, (file.uri IS NOT NULL)::integer,
       CASE WHEN file.uri IS NOT NULL THEN CAST(:interval AS interval) END, first.step, first.step,
       file.west, file.south, file.east, file.north,
       system.projection, file.origin_x, file.origin_y, file.upper_bound_x, file.upper_bound_y, file.pixelsize_x,
       file.pixelsize_y, file.size, file.dtype, file.fill_value
FROM unnest(CAST(:keys AS text[]), CAST(:names AS text[]), CAST(:alone AS boolean[])) AS found (key, name, alone)
LEFT JOIN staged AS file ON alone AND file.group_key = key AND cardinality(file.times) <= 1 AND file.west <= file.east
LEFT JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
CROSS JOIN LATERAL (SELECT coalesce(
    file.times[1], CASE WHEN file.uri IS NOT NULL AND NOT :temporal THEN timestamptz 'epoch' END) AS step) AS first
ORDER BY key
ON CONFLICT (definition, group_key) DO UPDATE SET
    name = CASE split_part(raster_sources.definition_hash, '.', 2)
           WHEN split_part(excluded.definition_hash, '.', 2) THEN raster_sources.name ELSE excluded.name END,
    definition_hash = excluded.definition_hash, description = excluded.description,
    organisation_id = excluded.organisation_id, access_modifier = excluded.access_modifier,
    supplier_id = excluded.supplier_id, supplier_code = excluded.supplier_code,
    temporal = excluded.temporal, declared_interval = excluded.declared_interval
WHERE raster_sources.definition_hash IS DISTINCT FROM excluded.definition_hash
RETURNING CASE WHEN xmax = 0 AND file_count = 1 THEN id END; -- xmax is 0 where a row was inserted

-- name: find_former_sources
-- The sources of the definition to which files belonged, registered or rejected.
SELECT file.uri, source.id, source.group_key
FROM raster_files AS file JOIN raster_sources AS source ON source.id = file.source_id
WHERE file.definition = :definition AND file.uri = ANY (:uris) AND source.definition = :definition
UNION ALL
SELECT rejected.uri, source.id, source.group_key
FROM rejected_files AS rejected JOIN raster_sources AS source USING (definition, group_key)
WHERE rejected.definition = :definition AND rejected.uri = ANY (:uris);

-- name: withhold_groups
-- Sources that were deleted since the files were listed. Run this after locking the sources, because a deletion locks
-- them too.
DELETE FROM raster_sources AS source USING tombstones AS tombstone
WHERE source.definition = :definition AND source.group_key = ANY (:keys)
  AND tombstone.definition = source.definition AND tombstone.group_key = source.group_key;

-- name: withhold_files
DELETE FROM staged USING tombstones AS tombstone
WHERE tombstone.definition = :definition AND (tombstone.group_key = staged.group_key
   OR tombstone.uri = staged.uri AND tombstone.fingerprint = staged.fingerprint)
RETURNING staged.uri;

-- name: assign_sources
UPDATE staged SET source_id = source.id FROM raster_sources AS source
WHERE source.definition = :definition AND source.group_key = staged.group_key;

-- name: remove_files
-- Rejected and moved files leave their source, and so do files that the definition now puts into another source.
DELETE FROM raster_files AS file USING raster_sources AS source
WHERE source.id = file.source_id AND file.definition = :definition AND file.uri = ANY (:uris) AND (
    file.uri = ANY (:withdrawn) OR EXISTS (
        SELECT FROM staged WHERE staged.uri = file.uri AND staged.group_key <> source.group_key))
RETURNING file.uri, file.added_by;

-- name: keep_added_by
-- A moved file counts as added by the run that added it at its former URI.
UPDATE raster_files AS file SET added_by = moved.run
FROM unnest(CAST(:moved AS text[]), CAST(:runs AS integer[])) AS moved (uri, run)
WHERE file.definition = :definition AND file.uri = moved.uri;

-- name: forget_tombstones
-- Deletes the tombstones of files that were registered again because they changed.
DELETE FROM tombstones USING staged
WHERE tombstones.definition = :definition AND tombstones.uri = staged.uri AND tombstones.uri <> ALL (:misfits);

-- name: forget_rejections
DELETE FROM rejected_files USING staged
WHERE rejected_files.definition = :definition AND rejected_files.uri = staged.uri
  AND rejected_files.uri <> ALL (:misfits);

-- name: upsert_rejections
INSERT INTO rejected_files (definition, organisation_id, uri, code, message, fingerprint, group_key, reading_hash)
SELECT :definition, :organisation_id, rejected.*, :reading_hash
FROM unnest(CAST(:uris AS text[]), CAST(:codes AS text[]), CAST(:messages AS text[]), CAST(:fingerprints AS text[]),
            CAST(:group_keys AS text[])) AS rejected (uri) ORDER BY uri
ON CONFLICT (definition, uri) DO UPDATE SET
    organisation_id = excluded.organisation_id, code = excluded.code, message = excluded.message,
    fingerprint = excluded.fingerprint, group_key = excluded.group_key, facts = NULL,
    reading_hash = excluded.reading_hash, last_seen = now(), attempts = rejected_files.attempts + 1,
    rejected_by = excluded.rejected_by;
