-- name: find_candidates
-- All raster sources with these supplier codes or uuids. Anyone may choose a code, so it counts only in the named
-- organisations.
SELECT wanted.key, source.id, source.temporal, source.organisation_id, source.supplier_id,
       coalesce(source.uuid = wanted.uuid, false)
FROM unnest(CAST(:keys AS text[]), CAST(:uuids AS uuid[])) AS wanted (key, uuid)
CROSS JOIN LATERAL (
    SELECT id FROM raster_sources AS coded
    WHERE coded.supplier_code = wanted.key AND coded.organisation_id = ANY (CAST(:organisations AS bigint[]))
    UNION SELECT id FROM raster_sources AS named WHERE named.uuid = wanted.uuid
) AS found
JOIN raster_sources AS source ON source.id = found.id
WHERE CAST(:organisations AS bigint[]) IS NULL OR source.organisation_id = ANY (CAST(:organisations AS bigint[]))
ORDER BY source.id;

-- name: find_rejected
SELECT uri FROM rejected_files WHERE definition = :definition AND uri = ANY (:uris);

-- name: find_sources
SELECT source_id FROM raster_files WHERE definition = :definition AND uri = ANY (:uris);

-- name: leave_sources
DELETE FROM raster_files
WHERE definition = :definition AND uri = ANY (:uris) AND (source_id <> :source OR uri <> :target);

-- name: forget_rejections
DELETE FROM rejected_files WHERE definition = :definition AND uri = ANY (:uris);

-- name: forget_tombstones
-- Tombstones of the file itself, which was registered again, and of files that were moved away: no run could register
-- those again.
DELETE FROM tombstones
WHERE definition = :definition AND (uri = ANY (:uris) OR NOT starts_with(uri, :folder));
