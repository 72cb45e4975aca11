-- name: add
-- Also reads the organisation, supplier and access of the raster source, and locks it so that it cannot be deleted.
INSERT INTO layers (name, source, organisation_id, access_modifier, supplier_id)
SELECT :name, :graph, organisation_id, access_modifier, supplier_id FROM raster_sources WHERE uuid = :source FOR KEY SHARE
RETURNING uuid;
