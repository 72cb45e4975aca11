-- Raster files: the GeoTIFFs that raster sources consist of.

-- There are few CRSs, and their WKT is long.
CREATE TABLE coordinate_systems (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wkt        text NOT NULL,
    wkt_md5    text GENERATED ALWAYS AS (md5(wkt)) STORED UNIQUE,
    projection text CHECK (projection ~ '^[A-Z]+:[0-9]+$')
);
COMMENT ON TABLE coordinate_systems IS 'The CRSs of raster files, each stored once.';
COMMENT ON COLUMN coordinate_systems.id IS 'Internal number.';
COMMENT ON COLUMN coordinate_systems.wkt IS 'WKT 2 (2019) of the horizontal CRS.';
COMMENT ON COLUMN coordinate_systems.wkt_md5 IS 'Hash of wkt, which an index can hold.';
COMMENT ON COLUMN coordinate_systems.projection IS 'EPSG:n; null when the CRS has no code.';

CREATE TABLE raster_files (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id            bigint NOT NULL REFERENCES raster_sources ON DELETE CASCADE,
    uri                  text NOT NULL,
    definition           text,
    fingerprint          text NOT NULL,
    reading_hash         text,
    state                text NOT NULL DEFAULT 'present' CHECK (state IN ('present', 'missing')),
    sidecars             text[] NOT NULL DEFAULT '{}',
    size                 bigint NOT NULL CHECK (size >= 0),
    width                bigint NOT NULL CHECK (width > 0),
    height               bigint NOT NULL CHECK (height > 0),
    band_count           integer NOT NULL CHECK (band_count > 0),
    transform            double precision[] NOT NULL CHECK (cardinality(transform) = 6),
    coordinate_system_id bigint NOT NULL REFERENCES coordinate_systems,
    rotated              boolean NOT NULL,
    origin_x             double precision NOT NULL,
    origin_y             double precision NOT NULL,
    upper_bound_x        double precision NOT NULL,
    upper_bound_y        double precision NOT NULL,
    pixelsize_x          double precision NOT NULL CHECK (pixelsize_x <> 0),
    pixelsize_y          double precision NOT NULL CHECK (pixelsize_y <> 0),
    west                 double precision NOT NULL CHECK (west BETWEEN -180 AND 180),
    south                double precision NOT NULL CHECK (south BETWEEN -90 AND 90),
    east                 double precision NOT NULL CHECK (east BETWEEN -180 AND 180),
    north                double precision NOT NULL CHECK (north BETWEEN -90 AND 90),
    footprint            geometry(MultiPolygon, 4326) NOT NULL,
    operation_code       text,
    operation_name       text NOT NULL,
    operation_accuracy   double precision CHECK (operation_accuracy >= 0),
    proj_version         text NOT NULL,
    dtype                text NOT NULL CHECK (dtype ~ '^[iufcb][0-9]+$'),
    fill_value           text,
    bands                jsonb NOT NULL CHECK (jsonb_typeof(bands) = 'array'),
    times                timestamptz[] NOT NULL DEFAULT '{}',
    datetime             timestamptz,
    area_or_point        text NOT NULL,
    layout               jsonb NOT NULL CHECK (jsonb_typeof(layout) = 'object'),
    warnings              jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(warnings) = 'array'),
    provenance           jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(provenance) = 'object'),
    registered           timestamptz NOT NULL DEFAULT now(),
    added_by             integer DEFAULT current_run(),
    registered_by        integer DEFAULT current_run(),
    CHECK (south <= north),
    CHECK (upper_bound_x > origin_x),
    CHECK (upper_bound_y > origin_y),
    UNIQUE (uri, source_id)
);
-- Two of the indexes hold URIs, which are long. The index for a definition has the order in which files are registered.
CREATE INDEX raster_files_source ON raster_files (source_id, id);
CREATE UNIQUE INDEX raster_files_definition ON raster_files (definition, uri) WHERE definition IS NOT NULL;
CREATE INDEX raster_files_footprint ON raster_files USING gist (footprint); -- for people who query by SQL
-- Finds the step at a time; see sql/queries/pixel_files.sql.
CREATE INDEX raster_files_step ON raster_files (source_id, (cardinality(times) > 1), (times[1])) WHERE times <> '{}';
CREATE INDEX raster_files_warned ON raster_files (registered_by) WHERE warnings <> '[]'; -- for the pages of warnings
COMMENT ON TABLE raster_files IS 'GeoTIFFs, each with its URI, its fingerprint and the facts from its header.';
COMMENT ON COLUMN raster_files.id IS 'Internal number.';
COMMENT ON COLUMN raster_files.source_id IS 'The raster source that it is part of.';
COMMENT ON COLUMN raster_files.uri IS 'URI of the file: file://, s3://, http:// or https://.';
COMMENT ON COLUMN raster_files.definition IS 'Id of the definition that registered it; null: a client uploaded it.';
COMMENT ON COLUMN raster_files.fingerprint IS 'Size and time of a local file, ETag and size of an object; sidecars included. The file is read again when it changes.';
COMMENT ON COLUMN raster_files.reading_hash IS 'Hash of the fields of the definition that reading depends on. The file is read again when it changes.';
COMMENT ON COLUMN raster_files.state IS 'present, or missing: the last run did not find the file.';
COMMENT ON COLUMN raster_files.sidecars IS 'Names of the sidecars that were used.';
COMMENT ON COLUMN raster_files.size IS 'Bytes of the TIFF, without sidecars.';
COMMENT ON COLUMN raster_files.width IS 'Number of columns.';
COMMENT ON COLUMN raster_files.height IS 'Number of rows.';
COMMENT ON COLUMN raster_files.band_count IS 'Number of bands.';
COMMENT ON COLUMN raster_files.transform IS 'Affine coefficients a, b, c, d, e, f: x = a*column + b*row + c, y = d*column + e*row + f, for pixel corners.';
COMMENT ON COLUMN raster_files.coordinate_system_id IS 'The CRS of the grid.';
COMMENT ON COLUMN raster_files.rotated IS 'Whether the axes of the grid differ from the axes of its CRS.';
COMMENT ON COLUMN raster_files.origin_x IS 'Lowest x of the grid, in its own CRS.';
COMMENT ON COLUMN raster_files.origin_y IS 'Lowest y of the grid, in its own CRS.';
COMMENT ON COLUMN raster_files.upper_bound_x IS 'Highest x of the grid, in its own CRS.';
COMMENT ON COLUMN raster_files.upper_bound_y IS 'Highest y of the grid, in its own CRS.';
COMMENT ON COLUMN raster_files.pixelsize_x IS 'Width of a pixel in units of the CRS.';
COMMENT ON COLUMN raster_files.pixelsize_y IS 'Height of a pixel in units of the CRS, negative for a north-up raster.';
COMMENT ON COLUMN raster_files.west IS 'Western bound, WGS 84 degrees; west > east crosses the antimeridian.';
COMMENT ON COLUMN raster_files.south IS 'Southern bound, WGS 84 degrees.';
COMMENT ON COLUMN raster_files.east IS 'Eastern bound, WGS 84 degrees.';
COMMENT ON COLUMN raster_files.north IS 'Northern bound, WGS 84 degrees.';
COMMENT ON COLUMN raster_files.footprint IS 'Outline of the pixel grid (longitude, latitude), densified, cut at the antimeridian.';
COMMENT ON COLUMN raster_files.operation_code IS 'Authority and code of the coordinate operation to WGS 84; null: it has none.';
COMMENT ON COLUMN raster_files.operation_name IS 'Name of the coordinate operation to WGS 84.';
COMMENT ON COLUMN raster_files.operation_accuracy IS 'Accuracy of the coordinate operation in metres; null: unknown.';
COMMENT ON COLUMN raster_files.proj_version IS 'Version of PROJ that placed the file.';
COMMENT ON COLUMN raster_files.dtype IS 'numpy code of the pixels, such as f4.';
COMMENT ON COLUMN raster_files.fill_value IS 'Nodata of the first band as text, formatted by dtype.';
COMMENT ON COLUMN raster_files.bands IS 'For each band: dtype, nodata, description, time.';
COMMENT ON COLUMN raster_files.times IS 'Times of its steps, UTC, ascending; empty: no time is known.';
COMMENT ON COLUMN raster_files.datetime IS 'TIFFTAG_DATETIME; often the time when the file was written.';
COMMENT ON COLUMN raster_files.area_or_point IS 'AREA_OR_POINT of the file: whether a pixel value is for its area or its centre.';
COMMENT ON COLUMN raster_files.layout IS 'Compression, block size, overviews, mask, and whether it is a COG, with the reason if not.';
COMMENT ON COLUMN raster_files.warnings IS 'Warnings: [{"code", "message"}].';
COMMENT ON COLUMN raster_files.provenance IS 'Field -> origin of its value.';
COMMENT ON COLUMN raster_files.registered IS 'When the file was last registered.';
COMMENT ON COLUMN raster_files.added_by IS 'The run that added it, as a number of sync_runs; null: no run did.';
COMMENT ON COLUMN raster_files.registered_by IS 'The run that last registered it, as a number of sync_runs; null: no run did.';

CREATE FUNCTION file_name(uri text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    name text := split_part(uri, '/', -1);
BEGIN
    IF strpos(name, '%') = 0 THEN
        RETURN name;
    END IF;
    BEGIN -- a block that catches errors takes longer than the rest of the function
        RETURN (
            SELECT convert_from(string_agg(CASE WHEN part[1] ~ '^%[0-9A-Fa-f]{2}$' THEN decode(substr(part[1], 2), 'hex')
                                                ELSE convert_to(part[1], 'UTF8') END, '' ORDER BY place), 'UTF8')
            FROM regexp_matches(name, '%[0-9A-Fa-f]{2}|%|[^%]+', 'g') WITH ORDINALITY AS parts (part, place)
        );
    EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
        RETURN name;
    END;
END
$$;
COMMENT ON FUNCTION file_name IS 'The name of the file at the end of a URI, percent-decoded if that is valid UTF-8.';
