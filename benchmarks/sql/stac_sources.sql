-- Raster sources without files, all Public: the collections of a catalogue of series and mosaics.
INSERT INTO organisations (id, uuid, name) OVERRIDING SYSTEM VALUE SELECT id, uuid, name FROM made.organisations;
INSERT INTO raster_sources (id, uuid, name, description, organisation_id, access_modifier)
OVERRIDING SYSTEM VALUE
SELECT n, CAST(md5('raster source' || n) AS uuid), 'Collection ' || n, 'Rasters of a made-up catalogue.', 1 + n % 50, 0
FROM generate_series(1, CAST(:collections AS bigint)) AS n;
