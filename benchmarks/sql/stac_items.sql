-- The made-up records as STAC items, one for each line.
COPY (
    SELECT json_build_object('type', 'Feature', 'stac_version', '1.0.0', 'stac_extensions', CAST('[]' AS json), 'links', CAST('[]' AS json),
        'id', r.uuid, 'collection', 'records', 'bbox', json_build_array(west, south, east, north),
        'geometry', CAST(ST_AsGeoJSON(ST_MakeEnvelope(west, south, east, north, 4326), 15) AS json),
        'properties', json_build_object('datetime', first_value_timestamp, 'start_datetime', first_value_timestamp,
            'end_datetime', last_value_timestamp, 'title', r.name, 'description', description, 'organisation', o.uuid,
            'organisation_name', o.name, 'access_modifier', access_modifier, 'supplier', supplier, 'supplier_code', supplier_code,
            'temporal', temporal, 'interval', CAST(step AS text), 'created', created, 'updated', last_modified,
            'projection', projection, 'origin_x', origin_x, 'origin_y', origin_y, 'upper_bound_x', upper_bound_x,
            'upper_bound_y', upper_bound_y, 'pixelsize_x', pixelsize_x, 'pixelsize_y', pixelsize_y, 'layers', layers,
            'size', size, 'dtype', dtype, 'fill_value', fill_value),
        'assets', json_build_object('data', json_build_object('href', 's3://bucket/' || r.uuid || '.tif', 'roles', json_build_array('data'))))
    FROM made.records AS r JOIN made.organisations AS o ON o.id = organisation_id ORDER BY r.id
) TO STDOUT WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02');
