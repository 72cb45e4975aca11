DROP VIEW public_raster_sources;
CREATE VIEW public_raster_sources WITH (security_invoker = true) AS
SELECT source.id, source.uuid, source.name, source.description, organisation.name AS organisation,
       supplier.username AS supplier, source.supplier_code, source.temporal, source."interval",
       source.first_value_timestamp, source.last_value_timestamp, source.extent, source.projection,
       source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
       source.pixelsize_x, source.pixelsize_y, source.size, source.dtype, source.fill_value,
       source.created, source.last_modified
FROM raster_sources AS source
JOIN organisations AS organisation ON organisation.id = source.organisation_id
LEFT JOIN users AS supplier ON supplier.id = source.supplier_id
WHERE source.access_modifier = 0;
COMMENT ON VIEW public_raster_sources IS 'The raster sources that everyone may see, with the names of their organisation and supplier.';
DO $$
DECLARE field record;
BEGIN -- the columns of the view are explained as in the tables that they come from
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
DO $$
BEGIN
    GRANT SELECT ON public_raster_sources TO rastersources_reader;
EXCEPTION WHEN undefined_object THEN NULL;
END
$$;
