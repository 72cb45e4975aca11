-- name: lock
SELECT id, uuid, temporal FROM raster_sources WHERE id = ANY (:ids) ORDER BY id FOR UPDATE;

-- name: derive
SELECT derive_sources(:ids);
