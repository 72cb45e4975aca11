-- Defines when the files of a raster source fit each other: they share a CRS, a pixel size and a dtype. Registering,
-- syncing and uploading all use this definition.
CREATE TYPE grid AS (crs text, pixelsize_x double precision, pixelsize_y double precision, dtype text);
COMMENT ON TYPE grid IS 'The grid that the files of a raster source share. crs is EPSG:n, or the hash of a WKT without a code.';

CREATE FUNCTION grid_of(file raster_files) RETURNS grid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT ROW(coalesce(system.projection, system.wkt_md5), file.pixelsize_x, file.pixelsize_y, file.dtype)::grid
    FROM coordinate_systems AS system WHERE system.id = file.coordinate_system_id
$$;
COMMENT ON FUNCTION grid_of IS 'The grid of a raster file.';

CREATE FUNCTION grid_mismatch(own grid, model grid) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN own.crs <> model.crs THEN 'projection_mismatch'
        WHEN abs(own.pixelsize_x - model.pixelsize_x) > 1e-6 * abs(model.pixelsize_x)
          OR abs(own.pixelsize_y - model.pixelsize_y) > 1e-6 * abs(model.pixelsize_y) THEN 'pixelsize_mismatch'
        WHEN own.dtype <> model.dtype THEN 'dtype_mismatch'
    END
$$;
COMMENT ON FUNCTION grid_mismatch IS 'The reason code why a file does not fit the others of its raster source; null when it fits.';

CREATE FUNCTION grid_message(own grid, model grid) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT format('it does not fit the other files of its source: it has %s, they have %s; register it as another source',
                  concat_ws(' ', CASE WHEN own.crs LIKE '%:%' THEN own.crs ELSE 'a CRS without code' END,
                            own.pixelsize_x, own.pixelsize_y, own.dtype),
                  concat_ws(' ', CASE WHEN model.crs LIKE '%:%' THEN model.crs ELSE 'a CRS without code' END,
                            model.pixelsize_x, model.pixelsize_y, model.dtype))
$$;
COMMENT ON FUNCTION grid_message IS 'The message about a file that does not fit the others of its raster source.';
