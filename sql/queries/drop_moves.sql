-- name: begin
INSERT INTO moves (definition, uri, target, fingerprint, sidecars)
VALUES (:definition, :uri, :target, :fingerprint, :sidecars)
ON CONFLICT DO NOTHING;

-- name: list_pending
SELECT uri, target, fingerprint, sidecars FROM moves WHERE definition = :definition ORDER BY id;

-- name: find_target
SELECT id FROM moves WHERE target = :target;

-- name: end
-- An object may get another ETag when it is copied.
WITH registered AS (
    UPDATE raster_files SET fingerprint = :fingerprint
    WHERE definition = :definition AND uri = :target AND fingerprint <> :fingerprint
), rejected AS (
    UPDATE rejected_files SET fingerprint = :fingerprint
    WHERE definition = :definition AND uri = :target AND fingerprint <> :fingerprint
)
DELETE FROM moves WHERE definition = :definition AND uri = :uri;

-- name: change_target
WITH registered AS (
    UPDATE raster_files SET uri = :new WHERE definition = :definition AND uri = :target
), rejected AS (
    UPDATE rejected_files SET uri = :new WHERE definition = :definition AND uri = :target
)
UPDATE moves SET target = :new WHERE definition = :definition AND uri = :uri;

-- name: find_sources
SELECT source_id FROM raster_files WHERE definition = :definition AND uri = :target;

-- name: cancel
WITH registered AS (
    DELETE FROM raster_files WHERE definition = :definition AND uri = :target
), rejected AS (
    DELETE FROM rejected_files WHERE definition = :definition AND uri = :target
)
DELETE FROM moves WHERE definition = :definition AND uri = :uri;
