-- The rows and views that the role rastersources_reader can query. privileges.py grants it the SELECTs.

-- Roles other than the owner of the tables see only Public rows, whatever they are granted. The programs of this project
-- connect as the owner.
ALTER TABLE raster_sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE raster_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE layers ENABLE ROW LEVEL SECURITY;
ALTER TABLE label_types ENABLE ROW LEVEL SECURITY;
ALTER TABLE label_type_sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE scenarios ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY public_rows ON raster_sources FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON layers FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON label_types FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON scenarios FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON raster_files FOR SELECT USING (EXISTS (
    SELECT FROM raster_sources AS source WHERE source.id = source_id AND source.access_modifier = 0
));
CREATE POLICY public_rows ON label_type_sources FOR SELECT USING (EXISTS (
    SELECT FROM label_types AS label WHERE label.id = label_type_id AND label.access_modifier = 0
));
CREATE POLICY public_rows ON users FOR SELECT USING (EXISTS (
    SELECT FROM raster_sources AS source WHERE source.supplier_id = users.id AND source.access_modifier = 0
));

-- It is STABLE, so that PostgreSQL inserts its body into the query that calls it.
CREATE FUNCTION interval_text(value interval) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value IS NOT NULL THEN
        CASE WHEN extract(days FROM justify_hours(value)) <> 0 THEN extract(days FROM justify_hours(value)) || ' ' ELSE '' END
        || to_char(justify_hours(value), 'HH24:MI:SS')
        || CASE WHEN mod(extract(microseconds FROM value), 1000000) <> 0 THEN to_char(value, '.US') ELSE '' END
    END
$$;
COMMENT ON FUNCTION interval_text IS 'An interval as the API writes it: [D ]HH:MM:SS[.ffffff].';

-- GDAL and QGIS read a PostgreSQL interval as 0, so the view also has it as a number and as text.
CREATE VIEW public_raster_sources WITH (security_invoker = true) AS
SELECT source.id, source.uuid, source.name, source.description, organisation.name AS organisation,
       supplier.username AS supplier, source.supplier_code, source.temporal, source."interval",
       source.first_value_timestamp, source.last_value_timestamp, source.extent, source.projection,
       source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
       source.pixelsize_x, source.pixelsize_y, source.size, source.dtype, source.fill_value,
       source.created, source.last_modified,
       extract(epoch FROM source."interval")::double precision AS interval_seconds,
       interval_text(source."interval") AS interval_text
FROM raster_sources AS source
JOIN organisations AS organisation ON organisation.id = source.organisation_id
LEFT JOIN users AS supplier ON supplier.id = source.supplier_id
WHERE source.access_modifier = 0;
COMMENT ON VIEW public_raster_sources IS 'The raster sources that everyone may see, with the names of their organisation and supplier.';
DO $$
DECLARE field record;
BEGIN -- the columns of the view have the comments of their tables
    FOR field IN
        SELECT view.attname AS name, coalesce(col_description('raster_sources'::regclass, source.attnum),
               CASE view.attname WHEN 'organisation' THEN 'Name of the owner.' WHEN 'supplier' THEN 'Username of the supplier.' END) AS text
        FROM pg_attribute AS view
        LEFT JOIN pg_attribute AS source ON source.attrelid = 'raster_sources'::regclass AND source.attname = view.attname
        WHERE view.attrelid = 'public_raster_sources'::regclass AND view.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN public_raster_sources.%I IS %L', field.name, field.text);
    END LOOP;
END
$$;
COMMENT ON COLUMN public_raster_sources.interval_seconds IS 'The interval as a number of seconds, for programs that cannot read intervals.';
COMMENT ON COLUMN public_raster_sources.interval_text IS 'The interval as the API writes it: [D ]HH:MM:SS[.ffffff].';
