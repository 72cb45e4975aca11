-- Raster sources: the records of the catalogue.

CREATE FUNCTION bounds_geometry(west double precision, south double precision, east double precision, north double precision)
RETURNS geometry(MultiPolygon, 4326) LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE -- names in this kind of body are resolved now, because pg_restore computes generated columns without search_path
    WHEN west <= east THEN ST_Multi(ST_MakeEnvelope(west, south, east, north, 4326))
    ELSE ST_Collect(ST_MakeEnvelope(west, south, 180, north, 4326), ST_MakeEnvelope(-180, south, east, north, 4326))
END;
COMMENT ON FUNCTION bounds_geometry IS 'A box in WGS 84 degrees as a MultiPolygon: one box, or two where west > east.';

CREATE FUNCTION map_column(west double precision, east double precision)
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT floor((west + east + CASE WHEN west > east THEN 360 ELSE 0 END + 360) / 720 * 536870912)::integer & 536870911
$$;
COMMENT ON FUNCTION map_column IS 'The column of the centre between two longitudes, of 2^29 columns around the earth from 180 degrees west.';

CREATE FUNCTION map_row(south double precision, north double precision)
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT greatest(0, least(536870911, floor(
        (0.5 - ln(tan(radians(greatest(-85.0511, least(85.0511, (south + north) / 2)) / 2 + 45))) / (2 * pi())) * 536870912
    )::integer))
$$;
COMMENT ON FUNCTION map_row IS 'The row of the centre between two latitudes, of 2^29 rows of web mercator from the north.';

CREATE TABLE raster_sources (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid                  uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name                  text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    description           text,
    organisation_id       bigint NOT NULL REFERENCES organisations,
    access_modifier       smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id           bigint REFERENCES users,
    supplier_code         text CHECK (length(supplier_code) <= 255),
    temporal              boolean NOT NULL DEFAULT false,
    declared_interval     interval CHECK (declared_interval > interval '0'),
    -- origin
    definition            text,
    group_key             text,
    definition_hash       text,
    created_by            integer DEFAULT current_run(),
    described_by          integer DEFAULT current_run(),
    -- derived by derive_sources(), never edited
    file_count            integer NOT NULL DEFAULT 0 CHECK (file_count >= 0),
    "interval"            interval CHECK ("interval" > interval '0'),
    first_value_timestamp timestamptz,
    last_value_timestamp  timestamptz,
    west                  double precision CHECK (west BETWEEN -180 AND 180),
    south                 double precision CHECK (south BETWEEN -90 AND 90),
    east                  double precision CHECK (east BETWEEN -180 AND 180),
    north                 double precision CHECK (north BETWEEN -90 AND 90),
    extent                geometry(MultiPolygon, 4326) GENERATED ALWAYS AS (bounds_geometry(west, south, east, north)) STORED,
    map_column            integer GENERATED ALWAYS AS (map_column(west, east)) STORED,
    map_row               integer GENERATED ALWAYS AS (map_row(south, north)) STORED,
    projection            text CHECK (projection ~ '^[A-Z]+:[0-9]+$'),
    origin_x              double precision,
    origin_y              double precision,
    upper_bound_x         double precision,
    upper_bound_y         double precision,
    pixelsize_x           double precision CHECK (pixelsize_x <> 0),
    pixelsize_y           double precision CHECK (pixelsize_y <> 0),
    size                  bigint CHECK (size >= 0),
    dtype                 text CHECK (dtype ~ '^[iufcb][0-9]+$'),
    fill_value            text,
    warnings               jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(warnings) = 'array'),
    -- last_modified is set by a trigger
    created               timestamptz NOT NULL DEFAULT now(),
    last_modified         timestamptz NOT NULL DEFAULT now(),
    CHECK (south <= north),
    CHECK (upper_bound_x > origin_x),
    CHECK (upper_bound_y > origin_y),
    CHECK (first_value_timestamp <= last_value_timestamp),
    CHECK (num_nulls(first_value_timestamp, last_value_timestamp) IN (0, 2)),
    CHECK (num_nulls(west, south, east, north, origin_x, origin_y, upper_bound_x, upper_bound_y,
                     pixelsize_x, pixelsize_y, size, dtype) IN (0, 12)),
    CHECK ((file_count = 0) = (size IS NULL)),
    CHECK ((definition IS NULL) = (group_key IS NULL)),
    UNIQUE (definition, group_key)
);
-- Each filter and order of the API has an index of its own.
-- SP-GiST, because boxes of all sizes overlap in the pages of a GiST index: a search for a small box reads three times as many pages.
CREATE INDEX raster_sources_extent ON raster_sources USING spgist (extent);
-- Has all columns for counting on a map, so that PostgreSQL reads no rows.
CREATE INDEX raster_sources_map ON raster_sources (map_column, map_row, access_modifier, organisation_id, supplier_id);
CREATE INDEX raster_sources_name ON raster_sources (name, id);
CREATE INDEX raster_sources_name_trigram ON raster_sources USING gin (name gin_trgm_ops);
CREATE INDEX raster_sources_supplier_code ON raster_sources (supplier_code, id);
CREATE INDEX raster_sources_supplier_code_down ON raster_sources (supplier_code DESC NULLS LAST, id);
CREATE INDEX raster_sources_supplier_code_upper ON raster_sources USING hash (upper(supplier_code));
CREATE INDEX raster_sources_supplier_code_trigram ON raster_sources USING gin (supplier_code gin_trgm_ops);
CREATE INDEX raster_sources_supplier_code_upper_trigram ON raster_sources USING gin (upper(supplier_code) gin_trgm_ops);
CREATE INDEX raster_sources_organisation ON raster_sources (organisation_id, access_modifier, id);
CREATE INDEX raster_sources_organisation_modified ON raster_sources (organisation_id, last_modified, id);
CREATE INDEX raster_sources_access ON raster_sources (access_modifier, id);
CREATE INDEX raster_sources_supplier ON raster_sources (supplier_id, id);
CREATE INDEX raster_sources_temporal ON raster_sources (temporal, id);
CREATE INDEX raster_sources_first ON raster_sources (first_value_timestamp, id);
CREATE INDEX raster_sources_first_down ON raster_sources (first_value_timestamp DESC NULLS LAST, id);
CREATE INDEX raster_sources_last ON raster_sources (last_value_timestamp, id);
CREATE INDEX raster_sources_last_down ON raster_sources (last_value_timestamp DESC NULLS LAST, id);
CREATE INDEX raster_sources_created ON raster_sources (created, id);
CREATE INDEX raster_sources_last_modified ON raster_sources (last_modified, id);
CREATE INDEX raster_sources_size ON raster_sources (size, id);
CREATE INDEX raster_sources_size_down ON raster_sources (size DESC NULLS LAST, id);
COMMENT ON TABLE raster_sources IS 'One record of the catalogue: 0..n raster files that share a projection, a pixel size and a dtype.';
COMMENT ON COLUMN raster_sources.id IS 'Stable, ascending number; the default order.';
COMMENT ON COLUMN raster_sources.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN raster_sources.name IS 'Name; need not be unique.';
COMMENT ON COLUMN raster_sources.description IS 'Free text; null and the empty text differ.';
COMMENT ON COLUMN raster_sources.organisation_id IS 'The owner.';
COMMENT ON COLUMN raster_sources.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN raster_sources.supplier_id IS 'The user who supplies the data.';
COMMENT ON COLUMN raster_sources.supplier_code IS 'The name that the supplier gives it.';
COMMENT ON COLUMN raster_sources.temporal IS 'Whether the files are steps of a series in time; declared by users or definitions.';
COMMENT ON COLUMN raster_sources.declared_interval IS 'The declared time between steps; null: not declared.';
COMMENT ON COLUMN raster_sources.definition IS 'Id of the source definition that created it; null: a user created it.';
COMMENT ON COLUMN raster_sources.group_key IS 'The group of files of its definition that it consists of.';
COMMENT ON COLUMN raster_sources.definition_hash IS 'Hash of the fields of the definition as they were last applied.';
COMMENT ON COLUMN raster_sources.created_by IS 'The run that created it, as a number of sync_runs; null: no run did.';
COMMENT ON COLUMN raster_sources.described_by IS 'The run that last set its name, owner or another field that is not derived; null: people did.';
COMMENT ON COLUMN raster_sources.file_count IS 'Number of raster files. Derived.';
COMMENT ON COLUMN raster_sources."interval" IS 'The declared interval, or the interval between three or more equidistant steps. Derived.';
COMMENT ON COLUMN raster_sources.first_value_timestamp IS 'First time of its files; 1970-01-01 for a static source whose files have no time. Derived.';
COMMENT ON COLUMN raster_sources.last_value_timestamp IS 'Last time of its files; 1970-01-01 for a static source whose files have no time. Derived.';
COMMENT ON COLUMN raster_sources.west IS 'Western bound, WGS 84 degrees; west > east crosses the antimeridian. Derived.';
COMMENT ON COLUMN raster_sources.south IS 'Southern bound, WGS 84 degrees. Derived.';
COMMENT ON COLUMN raster_sources.east IS 'Eastern bound, WGS 84 degrees. Derived.';
COMMENT ON COLUMN raster_sources.north IS 'Northern bound, WGS 84 degrees. Derived.';
COMMENT ON COLUMN raster_sources.extent IS 'The bounds as geometry (longitude, latitude): one box, or two across the antimeridian. Use this column in spatial queries.';
COMMENT ON COLUMN raster_sources.map_column IS 'Where its centre is on a map, of 2^29 columns from west to east.';
COMMENT ON COLUMN raster_sources.map_row IS 'Where its centre is on a map, of 2^29 rows of web mercator from north to south.';
COMMENT ON COLUMN raster_sources.projection IS 'CRS of the files as EPSG:n; null: their CRS has no code. Derived.';
COMMENT ON COLUMN raster_sources.origin_x IS 'Lowest x of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.origin_y IS 'Lowest y of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.upper_bound_x IS 'Highest x of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.upper_bound_y IS 'Highest y of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.pixelsize_x IS 'Width of a pixel in units of the CRS. Derived.';
COMMENT ON COLUMN raster_sources.pixelsize_y IS 'Height of a pixel in units of the CRS, negative for a north-up raster. Derived.';
COMMENT ON COLUMN raster_sources.size IS 'Bytes of its TIFF files, without sidecars. Derived.';
COMMENT ON COLUMN raster_sources.dtype IS 'numpy code of the pixels, such as f4. Derived.';
COMMENT ON COLUMN raster_sources.fill_value IS 'Nodata as text, formatted by dtype. Derived.';
COMMENT ON COLUMN raster_sources.warnings IS 'Warnings: [{"code", "message"}]. Derived.';
COMMENT ON COLUMN raster_sources.created IS 'When the raster source was created.';
COMMENT ON COLUMN raster_sources.last_modified IS 'When the raster source last changed.';

-- PostgreSQL computes generated columns after the trigger, so their old values are compared with themselves.
CREATE FUNCTION touch_raster_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_modified := OLD.last_modified;
    NEW.extent := OLD.extent;
    NEW.map_column := OLD.map_column;
    NEW.map_row := OLD.map_row;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.last_modified := greatest(clock_timestamp(), OLD.last_modified + interval '1 microsecond');
    END IF;
    IF (NEW.name, NEW.description, NEW.organisation_id, NEW.access_modifier, NEW.supplier_id, NEW.supplier_code,
        NEW.temporal, NEW.declared_interval)
       IS DISTINCT FROM
       (OLD.name, OLD.description, OLD.organisation_id, OLD.access_modifier, OLD.supplier_id, OLD.supplier_code,
        OLD.temporal, OLD.declared_interval) THEN
        NEW.described_by := current_run();
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION touch_raster_source IS 'Sets last_modified of a changed raster source, as touch_last_modified does, but ignores generated columns; sets described_by.';
CREATE TRIGGER raster_sources_touch BEFORE UPDATE ON raster_sources
    FOR EACH ROW EXECUTE FUNCTION touch_raster_source();
