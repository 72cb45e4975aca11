-- The made-up records as files of the first :collections raster sources in turn, each with one time and the facts of a real file.
INSERT INTO coordinate_systems (wkt, projection)
SELECT auth_name || srtext, 'EPSG:28992' FROM spatial_ref_sys WHERE srid = 28992;
INSERT INTO raster_files (
    id, source_id, uri, fingerprint, size, width, height, band_count, transform, coordinate_system_id, rotated,
    origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, west, south, east, north, footprint,
    operation_code, operation_name, operation_accuracy, proj_version, dtype, fill_value, bands, times, area_or_point,
    layout, provenance)
OVERRIDING SYSTEM VALUE
SELECT made.id, 1 + (made.id - 1) % CAST(:collections AS bigint), 's3://bucket/rasters/' || made.uuid || '.tif', md5(made.id || ''), size,
    1000, 800, 1, ARRAY[pixelsize_x, 0, origin_x, 0, pixelsize_y, upper_bound_y], coordinate_systems.id, false,
    origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, west, south, east, north,
    ST_Multi(ST_MakeEnvelope(west, south, east, north, 4326)),
    'EPSG:15934', 'Amersfoort to WGS 84 (3)', 1, '9.5.1', dtype, fill_value,
    jsonb_build_array(jsonb_build_object('time', null, 'dtype', dtype, 'nodata', fill_value, 'description', null)),
    ARRAY[first_value_timestamp], 'Area',
    '{"cog": true, "mask": null, "overviews": [], "block_width": 512, "block_height": 512, "compression": "DEFLATE", "not_cog_because": []}',
    '{"transform": "tags ModelPixelScale and ModelTiepoint", "fill_value": "tag GDAL_NODATA", "projection": "GeoKeys"}'
FROM made.records AS made CROSS JOIN coordinate_systems ORDER BY made.id;
SELECT count(*) FROM derive_sources(ARRAY(SELECT id FROM raster_sources WHERE file_count = 0));
SELECT setval(pg_get_serial_sequence('raster_files', 'id'), max(id)) FROM raster_files;
