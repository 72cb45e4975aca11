-- The made-up records into our tables, as an application would insert them: constraints and triggers are on.
INSERT INTO organisations (id, uuid, name) OVERRIDING SYSTEM VALUE SELECT id, uuid, name FROM made.organisations;
INSERT INTO users (username) SELECT DISTINCT supplier FROM made.records WHERE supplier IS NOT NULL;
INSERT INTO raster_sources (
    id, uuid, name, description, organisation_id, access_modifier, supplier_id, supplier_code, temporal, declared_interval,
    file_count, "interval", first_value_timestamp, last_value_timestamp, west, south, east, north, projection,
    origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype, fill_value, created, last_modified)
OVERRIDING SYSTEM VALUE
SELECT made.id, made.uuid, name, description, organisation_id, access_modifier, users.id, supplier_code, temporal, step, 1,
    step, first_value_timestamp, last_value_timestamp, west, south, east, north, projection,
    origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype, fill_value, made.created,
    made.last_modified
FROM made.records AS made LEFT JOIN users ON username = supplier ORDER BY made.id;
INSERT INTO layers (uuid, name, organisation_id, access_modifier)
SELECT layers[1], 'layer of ' || id, organisation_id, 0 FROM made.records WHERE layers <> '{}' ORDER BY id;
INSERT INTO layer_sources (layer_id, source_uuid)
SELECT layers.id, made.uuid FROM made.records AS made JOIN layers ON layers.uuid = made.layers[1];
