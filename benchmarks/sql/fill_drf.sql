-- The made-up records into the tables of the Django REST Framework service.
INSERT INTO drf.organisation SELECT * FROM made.organisations;
INSERT INTO drf.raster_source
SELECT id, uuid, name, description, organisation_id, access_modifier, supplier, supplier_code, temporal, step,
    first_value_timestamp, last_value_timestamp, west, south, east, north, ST_MakeEnvelope(west, south, east, north, 4326),
    projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, created, last_modified, layers,
    '{}', size, dtype, fill_value
FROM made.records ORDER BY id;
