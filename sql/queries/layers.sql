-- name: add
-- With the organisation, the supplier and the access of the raster source, which nobody can delete meanwhile.
INSERT INTO layers (name, source, organisation_id, access_modifier, supplier_id)
SELECT :name, :graph, organisation_id, access_modifier, supplier_id FROM raster_sources WHERE uuid = :source FOR KEY SHARE
RETURNING uuid;
