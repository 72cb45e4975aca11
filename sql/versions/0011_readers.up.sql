-- Programs such as GDAL and QGIS read a PostgreSQL interval as 0: the view gives it as a number and as text too.

CREATE OR REPLACE VIEW public_raster_sources WITH (security_invoker = true) AS
SELECT source.id, source.uuid, source.name, source.description, organisation.name AS organisation,
       supplier.username AS supplier, source.supplier_code, source.temporal, source."interval",
       source.first_value_timestamp, source.last_value_timestamp, source.extent, source.projection,
       source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
       source.pixelsize_x, source.pixelsize_y, source.size, source.dtype, source.fill_value,
       source.created, source.last_modified,
       extract(epoch FROM source."interval")::double precision AS interval_seconds,
       CASE WHEN extract(days FROM justify_hours(source."interval")) <> 0
            THEN extract(days FROM justify_hours(source."interval")) || ' ' ELSE '' END
       || to_char(justify_hours(source."interval"), 'HH24:MI:SS')
       || CASE WHEN mod(extract(microseconds FROM source."interval"), 1000000) <> 0
               THEN to_char(source."interval", '.US') ELSE '' END AS interval_text
FROM raster_sources AS source
JOIN organisations AS organisation ON organisation.id = source.organisation_id
LEFT JOIN users AS supplier ON supplier.id = source.supplier_id
WHERE source.access_modifier = 0;
COMMENT ON COLUMN public_raster_sources.interval_seconds IS 'The interval as a number of seconds, for programs that know no intervals.';
COMMENT ON COLUMN public_raster_sources.interval_text IS 'The interval as the API writes it: [D ]HH:MM:SS[.ffffff].';
