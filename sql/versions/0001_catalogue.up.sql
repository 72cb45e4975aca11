-- The catalogue: who may see what, the raster sources, the files behind them, and what depends on them.
-- Plain SQL, run by Alembic. pipeline/database/tables.py says the same in SQLAlchemy; a test compares both.

-- Extensions -----------------------------------------------------------------------------------------------

-- An ordinary role may not make them: pipeline/database/privileges.py has said so before it comes to this.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- People -----------------------------------------------------------------------------------------------------

-- The owners of everything in the catalogue.
CREATE TABLE organisations (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid    uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name    text NOT NULL UNIQUE CHECK (length(name) <= 255 AND name ~ '\S'),
    raster_storage_capacity bigint CHECK (raster_storage_capacity >= 0),
    created timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE organisations IS 'The owners of raster sources, layers, label types and scenarios.';
COMMENT ON COLUMN organisations.id IS 'Internal number.';
COMMENT ON COLUMN organisations.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN organisations.name IS 'Unique name.';
COMMENT ON COLUMN organisations.raster_storage_capacity IS 'Quota of uploaded rasters in bytes; null means no limit.';
COMMENT ON COLUMN organisations.created IS 'When the organisation was added.';

-- Those who log in, and those who supply.
CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text NOT NULL UNIQUE CHECK (length(username) <= 150 AND username ~ '\S'),
    first_name    text NOT NULL DEFAULT '',
    last_name     text NOT NULL DEFAULT '',
    email         text NOT NULL DEFAULT '',
    password_hash text,
    active        boolean NOT NULL DEFAULT true,
    created       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE users IS 'People and programs that log in or supply rasters.';
COMMENT ON COLUMN users.id IS 'Internal number; also the id in the API.';
COMMENT ON COLUMN users.username IS 'Unique name; the supplier of a raster source is shown by it.';
COMMENT ON COLUMN users.first_name IS 'Given name, may be empty.';
COMMENT ON COLUMN users.last_name IS 'Family name, may be empty.';
COMMENT ON COLUMN users.email IS 'Address, may be empty.';
COMMENT ON COLUMN users.password_hash IS 'Slow hash of the password of the login page; null means that only keys log in.';
COMMENT ON COLUMN users.active IS 'False for those who may no longer log in.';
COMMENT ON COLUMN users.created IS 'When the user was added.';

-- What a user may do in an organisation.
CREATE TABLE roles (
    user_id         bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    organisation_id bigint NOT NULL REFERENCES organisations ON DELETE CASCADE,
    role            text NOT NULL CHECK (role IN ('user', 'supplier', 'admin', 'manager')),
    PRIMARY KEY (user_id, organisation_id, role)
);
CREATE INDEX roles_organisation ON roles (organisation_id, role);
COMMENT ON TABLE roles IS 'What a user may do in an organisation: one row for each role.';
COMMENT ON COLUMN roles.user_id IS 'The user.';
COMMENT ON COLUMN roles.organisation_id IS 'The organisation.';
COMMENT ON COLUMN roles.role IS 'user reads, supplier writes its own, admin writes all, manager grants roles and sees no data by it.';

-- Credentials of programs.
CREATE TABLE api_keys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    prefix      text NOT NULL UNIQUE CHECK (prefix ~ '^[0-9A-Za-z]{8}$'),
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    created     timestamptz NOT NULL DEFAULT now(),
    revoked     timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);
COMMENT ON TABLE api_keys IS 'API keys; the secret itself is shown once and never stored.';
COMMENT ON COLUMN api_keys.id IS 'Internal number.';
COMMENT ON COLUMN api_keys.user_id IS 'Whom the key logs in.';
COMMENT ON COLUMN api_keys.prefix IS 'The part of the key before the dot, by which it is found and revoked.';
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of the secret, which holds 256 random bits.';
COMMENT ON COLUMN api_keys.created IS 'When the key was made.';
COMMENT ON COLUMN api_keys.revoked IS 'When the key was revoked; null while it is valid.';

-- Raster sources ---------------------------------------------------------------------------------------------

-- A box in degrees as geometry; west > east crosses the antimeridian and gives two boxes.
CREATE FUNCTION bounds_geometry(west double precision, south double precision, east double precision, north double precision)
RETURNS geometry(MultiPolygon, 4326) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN west <= east THEN ST_Multi(ST_MakeEnvelope(west, south, east, north, 4326))
        ELSE ST_Collect(ST_MakeEnvelope(west, south, 180, north, 4326), ST_MakeEnvelope(-180, south, east, north, 4326))
    END
$$;
COMMENT ON FUNCTION bounds_geometry IS 'A box in WGS 84 degrees as a MultiPolygon: one box, or two where west > east.';

-- One record of the catalogue: 0..n raster files that share a projection, a pixel size and a dtype.
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
    -- where it comes from
    definition            text,
    group_key             text,
    definition_hash       text,
    -- derived from its files by derive_sources(), never edited
    file_count            integer NOT NULL DEFAULT 0 CHECK (file_count >= 0),
    "interval"            interval CHECK ("interval" > interval '0'),
    first_value_timestamp timestamptz,
    last_value_timestamp  timestamptz,
    west                  double precision CHECK (west BETWEEN -180 AND 180),
    south                 double precision CHECK (south BETWEEN -90 AND 90),
    east                  double precision CHECK (east BETWEEN -180 AND 180),
    north                 double precision CHECK (north BETWEEN -90 AND 90),
    extent                geometry(MultiPolygon, 4326) GENERATED ALWAYS AS (bounds_geometry(west, south, east, north)) STORED,
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
    notices               jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(notices) = 'array'),
    -- moved by a trigger, only when something else in the row changed
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
-- One index or two for each filter and order of the contract.
CREATE INDEX raster_sources_extent ON raster_sources USING gist (extent);
CREATE INDEX raster_sources_name ON raster_sources (name, id);
CREATE INDEX raster_sources_name_trigram ON raster_sources USING gin (name gin_trgm_ops);
CREATE INDEX raster_sources_name_upper ON raster_sources (upper(name));
CREATE INDEX raster_sources_name_upper_trigram ON raster_sources USING gin (upper(name) gin_trgm_ops);
CREATE INDEX raster_sources_supplier_code ON raster_sources (supplier_code, id);
CREATE INDEX raster_sources_supplier_code_down ON raster_sources (supplier_code DESC NULLS LAST, id);
CREATE INDEX raster_sources_supplier_code_upper ON raster_sources (upper(supplier_code));
CREATE INDEX raster_sources_supplier_code_trigram ON raster_sources USING gin (supplier_code gin_trgm_ops);
CREATE INDEX raster_sources_supplier_code_upper_trigram ON raster_sources USING gin (upper(supplier_code) gin_trgm_ops);
CREATE INDEX raster_sources_organisation ON raster_sources (organisation_id, access_modifier, id);
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
COMMENT ON COLUMN raster_sources.name IS 'Name, need not be unique.';
COMMENT ON COLUMN raster_sources.description IS 'Free text; null and the empty text differ.';
COMMENT ON COLUMN raster_sources.organisation_id IS 'The owner.';
COMMENT ON COLUMN raster_sources.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN raster_sources.supplier_id IS 'The user who supplies the data.';
COMMENT ON COLUMN raster_sources.supplier_code IS 'The name that the supplier gives it.';
COMMENT ON COLUMN raster_sources.temporal IS 'Whether the files are time steps; declared by people or definitions.';
COMMENT ON COLUMN raster_sources.declared_interval IS 'The time between steps that somebody declared; null where nobody did.';
COMMENT ON COLUMN raster_sources.definition IS 'Id of the source definition that made it; null when made by hand.';
COMMENT ON COLUMN raster_sources.group_key IS 'Which group of files of its definition this is.';
COMMENT ON COLUMN raster_sources.definition_hash IS 'Hash of the fields of the definition as they were last applied.';
COMMENT ON COLUMN raster_sources.file_count IS 'How many raster files it consists of. Derived.';
COMMENT ON COLUMN raster_sources."interval" IS 'The declared interval, or the one between three or more equidistant steps. Derived.';
COMMENT ON COLUMN raster_sources.first_value_timestamp IS 'First time of its files; 1970-01-01 for a static source whose files have no time. Derived.';
COMMENT ON COLUMN raster_sources.last_value_timestamp IS 'Last time of its files; 1970-01-01 for a static source whose files have no time. Derived.';
COMMENT ON COLUMN raster_sources.west IS 'Western bound, WGS 84 degrees; west > east crosses the antimeridian. Derived.';
COMMENT ON COLUMN raster_sources.south IS 'Southern bound, WGS 84 degrees. Derived.';
COMMENT ON COLUMN raster_sources.east IS 'Eastern bound, WGS 84 degrees. Derived.';
COMMENT ON COLUMN raster_sources.north IS 'Northern bound, WGS 84 degrees. Derived.';
COMMENT ON COLUMN raster_sources.extent IS 'The bounds as geometry (longitude, latitude): one box, or two across the antimeridian. Query this one.';
COMMENT ON COLUMN raster_sources.projection IS 'EPSG:n of the files; null when their CRS has no code. Derived.';
COMMENT ON COLUMN raster_sources.origin_x IS 'Lowest x of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.origin_y IS 'Lowest y of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.upper_bound_x IS 'Highest x of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.upper_bound_y IS 'Highest y of the grid, in its own CRS. Derived.';
COMMENT ON COLUMN raster_sources.pixelsize_x IS 'Width of a pixel in units of the CRS. Derived.';
COMMENT ON COLUMN raster_sources.pixelsize_y IS 'Height of a pixel in units of the CRS, negative for a north-up raster. Derived.';
COMMENT ON COLUMN raster_sources.size IS 'Bytes of its TIFF files, without sidecars. Derived.';
COMMENT ON COLUMN raster_sources.dtype IS 'numpy code of the pixels, such as f4. Derived.';
COMMENT ON COLUMN raster_sources.fill_value IS 'Nodata as text, formatted by dtype. Derived.';
COMMENT ON COLUMN raster_sources.notices IS 'What a person should know: [{"code", "message"}]. Derived.';
COMMENT ON COLUMN raster_sources.created IS 'When the record was made.';
COMMENT ON COLUMN raster_sources.last_modified IS 'When the record last changed.';

-- Sets last_modified when anything else in the row changed, and only then.
CREATE FUNCTION touch_last_modified() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_modified := OLD.last_modified;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.last_modified := greatest(clock_timestamp(), OLD.last_modified + interval '1 microsecond');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION touch_last_modified IS 'Sets last_modified when anything else in the row changed, and only then.';

-- The same for raster_sources, whose generated column is not yet made when the trigger runs.
CREATE FUNCTION touch_raster_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_modified := OLD.last_modified;
    NEW.extent := OLD.extent;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.last_modified := greatest(clock_timestamp(), OLD.last_modified + interval '1 microsecond');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION touch_raster_source IS 'As touch_last_modified, for raster_sources, whose extent is generated after the trigger ran.';

-- CRSs are few and their WKT is long: each is stored once.
CREATE TABLE coordinate_systems (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wkt        text NOT NULL,
    wkt_md5    text GENERATED ALWAYS AS (md5(wkt)) STORED UNIQUE,
    projection text CHECK (projection ~ '^[A-Z]+:[0-9]+$')
);
COMMENT ON TABLE coordinate_systems IS 'The CRSs of raster files, each stored once.';
COMMENT ON COLUMN coordinate_systems.id IS 'Internal number.';
COMMENT ON COLUMN coordinate_systems.wkt IS 'WKT 2 (2019) of the horizontal CRS.';
COMMENT ON COLUMN coordinate_systems.wkt_md5 IS 'Hash by which a WKT is found.';
COMMENT ON COLUMN coordinate_systems.projection IS 'EPSG:n; null when the CRS has no code.';

-- One GeoTIFF at a URI, with its fingerprint and the facts of its header.
CREATE TABLE raster_files (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id            bigint NOT NULL REFERENCES raster_sources ON DELETE CASCADE,
    uri                  text NOT NULL,
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
    notices              jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(notices) = 'array'),
    provenance           jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(provenance) = 'object'),
    registered           timestamptz NOT NULL DEFAULT now(),
    CHECK (south <= north),
    CHECK (upper_bound_x > origin_x),
    CHECK (upper_bound_y > origin_y),
    UNIQUE (source_id, uri)
);
CREATE INDEX raster_files_uri ON raster_files (uri);
CREATE INDEX raster_files_footprint ON raster_files USING gist (footprint);
CREATE INDEX raster_files_coordinate_system ON raster_files (coordinate_system_id);
COMMENT ON TABLE raster_files IS 'One GeoTIFF at a URI, with its fingerprint and the facts of its header.';
COMMENT ON COLUMN raster_files.id IS 'Internal number.';
COMMENT ON COLUMN raster_files.source_id IS 'The raster source that it is part of.';
COMMENT ON COLUMN raster_files.uri IS 'Where the file is: file:// or s3://.';
COMMENT ON COLUMN raster_files.fingerprint IS 'Size and time of a local file, ETag and size of an object; sidecars included. Unchanged means not read again.';
COMMENT ON COLUMN raster_files.reading_hash IS 'Hash of what the definition says about reading; another one means that the file is read again.';
COMMENT ON COLUMN raster_files.state IS 'present, or missing when the last run did not find it.';
COMMENT ON COLUMN raster_files.sidecars IS 'Names of the files beside it that were used.';
COMMENT ON COLUMN raster_files.size IS 'Bytes of the TIFF, without sidecars.';
COMMENT ON COLUMN raster_files.width IS 'Pixels in a row.';
COMMENT ON COLUMN raster_files.height IS 'Rows.';
COMMENT ON COLUMN raster_files.band_count IS 'Bands.';
COMMENT ON COLUMN raster_files.transform IS 'Affine order a, b, c, d, e, f: x = a*column + b*row + c, y = d*column + e*row + f, for pixel corners.';
COMMENT ON COLUMN raster_files.coordinate_system_id IS 'The CRS of the grid.';
COMMENT ON COLUMN raster_files.rotated IS 'True when the axes of the grid are not those of its CRS.';
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
COMMENT ON COLUMN raster_files.operation_code IS 'Authority and code of the coordinate operation to WGS 84; null when it has none.';
COMMENT ON COLUMN raster_files.operation_name IS 'Name of the coordinate operation to WGS 84.';
COMMENT ON COLUMN raster_files.operation_accuracy IS 'Accuracy of the coordinate operation in metres; null when unknown.';
COMMENT ON COLUMN raster_files.proj_version IS 'Version of PROJ that placed the file.';
COMMENT ON COLUMN raster_files.dtype IS 'numpy code of the pixels, such as f4.';
COMMENT ON COLUMN raster_files.fill_value IS 'Nodata of the first band as text, formatted by dtype.';
COMMENT ON COLUMN raster_files.bands IS 'Per band: dtype, nodata, description, time.';
COMMENT ON COLUMN raster_files.times IS 'Times of its steps, UTC, ascending; empty when nothing says a time.';
COMMENT ON COLUMN raster_files.datetime IS 'TIFFTAG_DATETIME, often the time of writing.';
COMMENT ON COLUMN raster_files.area_or_point IS 'Area or Point: what the file says that a pixel stands for.';
COMMENT ON COLUMN raster_files.layout IS 'Compression, block size, overviews, mask, COG or why not.';
COMMENT ON COLUMN raster_files.notices IS 'What a person should know: [{"code", "message"}].';
COMMENT ON COLUMN raster_files.provenance IS 'Field -> where its value came from.';
COMMENT ON COLUMN raster_files.registered IS 'When these facts were written.';

-- What depends on raster sources ---------------------------------------------------------------------------------

-- Every raster source that a graph names, also deep inside it.
CREATE FUNCTION graph_sources(graph jsonb) RETURNS SETOF uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT DISTINCT lower(block ->> 1)::uuid
    FROM jsonb_path_query(graph, 'strict $.** ? (@.type() == "array" && @[0] == "lizard_nxt.blocks.LizardRasterSource")') AS block
    WHERE block ->> 1 ~* '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
$$;
COMMENT ON FUNCTION graph_sources IS 'Every raster source that a graph names, also deep inside it.';

-- How a raster source is shown.
CREATE TABLE layers (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid             uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name             text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    description      text,
    organisation_id  bigint NOT NULL REFERENCES organisations,
    access_modifier  smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id      bigint REFERENCES users,
    supplier_code    text CHECK (length(supplier_code) <= 255),
    temporal         boolean,
    shared_with      jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(shared_with) = 'array'),
    observation_type jsonb,
    aggregation_type text,
    options          jsonb NOT NULL DEFAULT '{}',
    colormap         jsonb,
    rescalable       boolean NOT NULL DEFAULT false,
    source           jsonb CHECK (jsonb_typeof(source) = 'object'),
    wms_info         jsonb,
    layer_collections jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(layer_collections) = 'array'),
    weight           double precision,
    created          timestamptz NOT NULL DEFAULT now(),
    last_modified    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX layers_name ON layers (name, id);
CREATE INDEX layers_name_trigram ON layers USING gin (name gin_trgm_ops);
CREATE INDEX layers_name_upper_trigram ON layers USING gin (upper(name) gin_trgm_ops);
CREATE INDEX layers_organisation ON layers (organisation_id, access_modifier, id);
CREATE INDEX layers_supplier ON layers (supplier_id);
COMMENT ON TABLE layers IS 'How raster sources are shown; rasters/ in the API.';
COMMENT ON COLUMN layers.id IS 'Stable, ascending number.';
COMMENT ON COLUMN layers.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN layers.name IS 'Name, need not be unique.';
COMMENT ON COLUMN layers.description IS 'Free text; null and the empty text differ.';
COMMENT ON COLUMN layers.organisation_id IS 'The owner.';
COMMENT ON COLUMN layers.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN layers.supplier_id IS 'The user who supplies it.';
COMMENT ON COLUMN layers.supplier_code IS 'The name that the supplier gives it.';
COMMENT ON COLUMN layers.temporal IS 'Declared; null means as its sources.';
COMMENT ON COLUMN layers.shared_with IS 'Organisations that it is shared with; stored and given back.';
COMMENT ON COLUMN layers.observation_type IS 'What is observed; stored and given back as an object.';
COMMENT ON COLUMN layers.aggregation_type IS 'Stored and given back.';
COMMENT ON COLUMN layers.options IS 'Stored and given back.';
COMMENT ON COLUMN layers.colormap IS 'Stored and given back.';
COMMENT ON COLUMN layers.rescalable IS 'Stored and given back.';
COMMENT ON COLUMN layers.source IS 'The graph: {"graph": {name: [block, arguments...]}, "name": name}.';
COMMENT ON COLUMN layers.wms_info IS 'Stored and given back.';
COMMENT ON COLUMN layers.layer_collections IS 'Stored and given back.';
COMMENT ON COLUMN layers.weight IS 'Stored and given back.';
COMMENT ON COLUMN layers.created IS 'When the layer was made.';
COMMENT ON COLUMN layers.last_modified IS 'When the layer last changed.';

-- What the cells of a map are labelled with.
CREATE TABLE label_types (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid            uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name            text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    description     text,
    organisation_id bigint NOT NULL REFERENCES organisations,
    access_modifier smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id     bigint REFERENCES users,
    object_type     text,
    source          jsonb CHECK (jsonb_typeof(source) = 'object'),
    created         timestamptz NOT NULL DEFAULT now(),
    last_modified   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX label_types_organisation ON label_types (organisation_id, access_modifier, id);
CREATE INDEX label_types_supplier ON label_types (supplier_id);
COMMENT ON TABLE label_types IS 'Labels computed from raster sources; labeltypes/ in the API.';
COMMENT ON COLUMN label_types.id IS 'Stable, ascending number.';
COMMENT ON COLUMN label_types.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN label_types.name IS 'Name, need not be unique.';
COMMENT ON COLUMN label_types.description IS 'Free text; null and the empty text differ.';
COMMENT ON COLUMN label_types.organisation_id IS 'The owner.';
COMMENT ON COLUMN label_types.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN label_types.supplier_id IS 'The user who supplies it.';
COMMENT ON COLUMN label_types.object_type IS 'What is labelled, such as buildings.';
COMMENT ON COLUMN label_types.source IS 'The graph: {"graph": {name: [block, arguments...]}, "name": name}.';
COMMENT ON COLUMN label_types.created IS 'When the label type was made.';
COMMENT ON COLUMN label_types.last_modified IS 'When the label type last changed.';

-- Results of simulations that use raster sources.
CREATE TABLE scenarios (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid            uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name            text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    organisation_id bigint NOT NULL REFERENCES organisations,
    access_modifier smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id     bigint REFERENCES users,
    created         timestamptz NOT NULL DEFAULT now(),
    last_modified   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scenarios_organisation ON scenarios (organisation_id, access_modifier, id);
CREATE INDEX scenarios_supplier ON scenarios (supplier_id);
COMMENT ON TABLE scenarios IS 'Results of simulations that use raster sources.';
COMMENT ON COLUMN scenarios.id IS 'Stable, ascending number.';
COMMENT ON COLUMN scenarios.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN scenarios.name IS 'Name, need not be unique.';
COMMENT ON COLUMN scenarios.organisation_id IS 'The owner.';
COMMENT ON COLUMN scenarios.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN scenarios.supplier_id IS 'The user who supplies it.';
COMMENT ON COLUMN scenarios.created IS 'When the scenario was made.';
COMMENT ON COLUMN scenarios.last_modified IS 'When the scenario last changed.';

-- Which sources a layer, a label type or a scenario uses. By uuid and without a foreign key: a source that was
-- deleted by force stays named here, so that its dependents can say what they miss.
CREATE TABLE layer_sources (
    layer_id    bigint NOT NULL REFERENCES layers ON DELETE CASCADE,
    source_uuid uuid NOT NULL,
    PRIMARY KEY (layer_id, source_uuid)
);
CREATE INDEX layer_sources_source ON layer_sources (source_uuid, layer_id);
COMMENT ON TABLE layer_sources IS 'Which raster sources the graph of a layer names; kept by a trigger.';
COMMENT ON COLUMN layer_sources.layer_id IS 'The layer.';
COMMENT ON COLUMN layer_sources.source_uuid IS 'The raster source, which may have been deleted by force.';

CREATE TABLE label_type_sources (
    label_type_id bigint NOT NULL REFERENCES label_types ON DELETE CASCADE,
    source_uuid   uuid NOT NULL,
    PRIMARY KEY (label_type_id, source_uuid)
);
CREATE INDEX label_type_sources_source ON label_type_sources (source_uuid, label_type_id);
COMMENT ON TABLE label_type_sources IS 'Which raster sources the graph of a label type names; kept by a trigger.';
COMMENT ON COLUMN label_type_sources.label_type_id IS 'The label type.';
COMMENT ON COLUMN label_type_sources.source_uuid IS 'The raster source, which may have been deleted by force.';

CREATE TABLE scenario_sources (
    scenario_id bigint NOT NULL REFERENCES scenarios ON DELETE CASCADE,
    source_uuid uuid NOT NULL,
    PRIMARY KEY (scenario_id, source_uuid)
);
CREATE INDEX scenario_sources_source ON scenario_sources (source_uuid, scenario_id);
COMMENT ON TABLE scenario_sources IS 'Which raster sources a scenario uses.';
COMMENT ON COLUMN scenario_sources.scenario_id IS 'The scenario.';
COMMENT ON COLUMN scenario_sources.source_uuid IS 'The raster source, which may have been deleted by force.';

CREATE FUNCTION keep_layer_sources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM layer_sources WHERE layer_id = NEW.id;
    INSERT INTO layer_sources SELECT NEW.id, graph_sources(NEW.source);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION keep_layer_sources IS 'Writes the raster sources of the graph of a layer to layer_sources.';

CREATE FUNCTION keep_label_type_sources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM label_type_sources WHERE label_type_id = NEW.id;
    INSERT INTO label_type_sources SELECT NEW.id, graph_sources(NEW.source);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION keep_label_type_sources IS 'Writes the raster sources of the graph of a label type to label_type_sources.';

CREATE TRIGGER layers_sources AFTER INSERT OR UPDATE OF source ON layers
    FOR EACH ROW EXECUTE FUNCTION keep_layer_sources();
CREATE TRIGGER label_types_sources AFTER INSERT OR UPDATE OF source ON label_types
    FOR EACH ROW EXECUTE FUNCTION keep_label_type_sources();
CREATE TRIGGER raster_sources_touch BEFORE UPDATE ON raster_sources
    FOR EACH ROW EXECUTE FUNCTION touch_raster_source();
CREATE TRIGGER layers_touch BEFORE UPDATE ON layers FOR EACH ROW EXECUTE FUNCTION touch_last_modified();
CREATE TRIGGER label_types_touch BEFORE UPDATE ON label_types FOR EACH ROW EXECUTE FUNCTION touch_last_modified();
CREATE TRIGGER scenarios_touch BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION touch_last_modified();

-- Work ---------------------------------------------------------------------------------------------------------

-- Asynchronous work that a client waits for.
CREATE TABLE tasks (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid    uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    status  text NOT NULL DEFAULT 'PENDING'
            CHECK (status IN ('PENDING', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED')),
    result  jsonb,
    detail  text,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tasks IS 'Asynchronous work that a client waits for; readable by whoever knows the uuid.';
COMMENT ON COLUMN tasks.id IS 'Internal number.';
COMMENT ON COLUMN tasks.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN tasks.status IS 'PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED.';
COMMENT ON COLUMN tasks.result IS 'What came of it.';
COMMENT ON COLUMN tasks.detail IS 'One sentence, for example why it failed.';
COMMENT ON COLUMN tasks.created IS 'When the task was made.';
COMMENT ON COLUMN tasks.updated IS 'When its status last changed.';

-- Files that clients sent.
CREATE TABLE uploads (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id      bigint NOT NULL REFERENCES raster_sources ON DELETE CASCADE,
    task_id        bigint REFERENCES tasks,
    user_id        bigint REFERENCES users ON DELETE SET NULL,
    filename       text NOT NULL,
    uri            text,
    size           bigint CHECK (size >= 0),
    "timestamp"    timestamptz,
    state          text NOT NULL DEFAULT 'requested'
                   CHECK (state IN ('requested', 'received', 'processing', 'committed', 'rejected', 'retry')),
    state_detail   text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX uploads_source ON uploads (source_id, id DESC);
CREATE INDEX uploads_open ON uploads (id) WHERE state IN ('received', 'processing', 'retry');
CREATE INDEX uploads_task ON uploads (task_id);
CREATE INDEX uploads_user ON uploads (user_id);
COMMENT ON TABLE uploads IS 'Files that clients sent to a raster source, and what became of them.';
COMMENT ON COLUMN uploads.id IS 'Stable, ascending number.';
COMMENT ON COLUMN uploads.source_id IS 'The raster source that it was sent to.';
COMMENT ON COLUMN uploads.task_id IS 'The task that the client watches.';
COMMENT ON COLUMN uploads.user_id IS 'Who sent it.';
COMMENT ON COLUMN uploads.filename IS 'The name that the client gave.';
COMMENT ON COLUMN uploads.uri IS 'Where the bytes are in our own storage.';
COMMENT ON COLUMN uploads.size IS 'Bytes received.';
COMMENT ON COLUMN uploads."timestamp" IS 'The time that the client gave for the file.';
COMMENT ON COLUMN uploads.state IS 'requested, received, processing, committed, rejected or retry.';
COMMENT ON COLUMN uploads.state_detail IS 'One sentence on the state, for example why it was rejected.';
COMMENT ON COLUMN uploads.created_at IS 'When the upload began.';
COMMENT ON COLUMN uploads.updated_at IS 'When its state last changed.';

-- Files that a run could not register.
CREATE TABLE rejected_files (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition      text NOT NULL,
    uri             text NOT NULL,
    organisation_id bigint REFERENCES organisations ON DELETE CASCADE,
    fingerprint     text,
    code            text NOT NULL,
    message         text NOT NULL,
    first_seen      timestamptz NOT NULL DEFAULT now(),
    last_seen       timestamptz NOT NULL DEFAULT now(),
    attempts        integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
    UNIQUE (definition, uri)
);
CREATE INDEX rejected_files_organisation ON rejected_files (organisation_id, id);
COMMENT ON TABLE rejected_files IS 'Files that a run could not register, kept with the reason until they are mended or gone.';
COMMENT ON COLUMN rejected_files.id IS 'Internal number.';
COMMENT ON COLUMN rejected_files.definition IS 'Id of the source definition whose run refused it.';
COMMENT ON COLUMN rejected_files.uri IS 'Where the file is.';
COMMENT ON COLUMN rejected_files.organisation_id IS 'Whose run refused it.';
COMMENT ON COLUMN rejected_files.fingerprint IS 'As it was when refused; read again only when it changed. Null when the file could not be looked at.';
COMMENT ON COLUMN rejected_files.code IS 'Stable reason code, such as missing_crs.';
COMMENT ON COLUMN rejected_files.message IS 'One sentence that says what to do.';
COMMENT ON COLUMN rejected_files.first_seen IS 'When it was refused for the first time.';
COMMENT ON COLUMN rejected_files.last_seen IS 'When it was refused for the last time.';
COMMENT ON COLUMN rejected_files.attempts IS 'How often it was read and refused.';

-- What each run did.
CREATE TABLE sync_runs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid       uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    definition text,
    state      text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'completed', 'rejections', 'failed')),
    started    timestamptz NOT NULL DEFAULT now(),
    finished   timestamptz,
    listed     bigint NOT NULL DEFAULT 0 CHECK (listed >= 0),
    registered bigint NOT NULL DEFAULT 0 CHECK (registered >= 0),
    unchanged  bigint NOT NULL DEFAULT 0 CHECK (unchanged >= 0),
    rejected   bigint NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    bytes      bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    detail     text,
    CHECK (finished >= started),
    CHECK ((state = 'running') = (finished IS NULL))
);
CREATE INDEX sync_runs_started ON sync_runs (started DESC);
COMMENT ON TABLE sync_runs IS 'What each ingestion run did.';
COMMENT ON COLUMN sync_runs.id IS 'Internal number.';
COMMENT ON COLUMN sync_runs.uuid IS 'Public identity.';
COMMENT ON COLUMN sync_runs.definition IS 'Id of the source definition; null when the run had several.';
COMMENT ON COLUMN sync_runs.state IS 'running, completed, rejections (some files were refused) or failed.';
COMMENT ON COLUMN sync_runs.started IS 'When the run began.';
COMMENT ON COLUMN sync_runs.finished IS 'When the run ended; null while it runs, or when it was killed.';
COMMENT ON COLUMN sync_runs.listed IS 'Files found.';
COMMENT ON COLUMN sync_runs.registered IS 'Files read and written.';
COMMENT ON COLUMN sync_runs.unchanged IS 'Files whose fingerprint was known, which were not opened.';
COMMENT ON COLUMN sync_runs.rejected IS 'Files refused.';
COMMENT ON COLUMN sync_runs.bytes IS 'Size of the registered files together.';
COMMENT ON COLUMN sync_runs.detail IS 'Why it failed.';

-- Derivation -----------------------------------------------------------------------------------------------------

-- The smallest interval of longitudes that holds all given ones: the complement of the widest gap on the circle.
CREATE FUNCTION union_longitudes(wests double precision[], easts double precision[],
                                 OUT west double precision, OUT east double precision)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    WITH pieces AS ( -- cut at the antimeridian, so that each runs from a lower to a higher longitude
        SELECT w AS low, e AS high FROM unnest(wests, easts) AS box (w, e) WHERE w <= e
        UNION ALL SELECT w, 180 FROM unnest(wests, easts) AS box (w, e) WHERE w > e
        UNION ALL SELECT -180, e FROM unnest(wests, easts) AS box (w, e) WHERE w > e
    ), reached AS (
        SELECT low, max(high) OVER (ORDER BY low, high ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM pieces
    ), gaps AS ( -- between the pieces, and the one that holds the antimeridian
        SELECT before AS starts, low AS ends, low - before AS width, 1 AS rank FROM reached WHERE low > before
        UNION ALL SELECT max(high), min(low), min(low) + 360 - max(high), 0 FROM pieces
    )
    SELECT CASE WHEN width > 0 THEN ends ELSE -180 END, CASE WHEN width > 0 THEN starts ELSE 180 END
    FROM gaps ORDER BY width DESC, rank LIMIT 1
$$;
COMMENT ON FUNCTION union_longitudes IS 'The smallest interval of longitudes that holds all given ones; west > east crosses the antimeridian.';

-- The one place where the derived fields of raster sources are made, from the raster files that they consist of.
-- Writes only rows that change; returns the ids of those.
CREATE FUNCTION derive_sources(source_ids bigint[]) RETURNS SETOF bigint LANGUAGE sql AS $$
    WITH steps AS (
        SELECT source_id, step, step - lag(step) OVER (PARTITION BY source_id ORDER BY step) AS gap
        FROM (SELECT DISTINCT source_id, unnest(times) AS step FROM raster_files WHERE source_id = ANY (source_ids)) AS distinct_steps
    ), temporal_extent AS (
        SELECT source_id, min(step) AS first, max(step) AS last,
               CASE WHEN count(*) >= 3 AND min(gap) = max(gap) THEN min(gap) END AS equidistant,
               array_agg(DISTINCT extract(epoch FROM gap)) FILTER (WHERE gap IS NOT NULL) AS gaps
        FROM steps GROUP BY source_id
    ), files AS (
        SELECT source_id, count(*)::integer AS file_count, sum(size)::bigint AS size,
               array_agg(raster_files.west) AS wests, array_agg(raster_files.east) AS easts,
               min(south) AS south, max(north) AS north,
               min(origin_x) AS origin_x, min(origin_y) AS origin_y,
               max(upper_bound_x) AS upper_bound_x, max(upper_bound_y) AS upper_bound_y,
               (array_agg(raster_files.id ORDER BY raster_files.id))[1] AS first_file,
               count(DISTINCT coalesce(fill_value, '')) > 1 AS nodata_differs
        FROM raster_files WHERE source_id = ANY (source_ids) GROUP BY source_id
    ), derived AS (
        SELECT source.id, coalesce(files.file_count, 0) AS file_count,
               coalesce(source.declared_interval, temporal_extent.equidistant) AS "interval",
               CASE WHEN temporal_extent.first IS NOT NULL THEN temporal_extent.first
                    WHEN files.file_count > 0 AND NOT source.temporal THEN timestamptz 'epoch' END AS first_value_timestamp,
               CASE WHEN temporal_extent.last IS NOT NULL THEN temporal_extent.last
                    WHEN files.file_count > 0 AND NOT source.temporal THEN timestamptz 'epoch' END AS last_value_timestamp,
               longitudes.west, files.south, longitudes.east, files.north,
               system.projection, files.origin_x, files.origin_y, files.upper_bound_x, files.upper_bound_y,
               first_file.pixelsize_x, first_file.pixelsize_y, files.size, first_file.dtype, first_file.fill_value,
               CASE WHEN files.nodata_differs THEN jsonb_build_array(jsonb_build_object(
                   'code', 'nodata_differs', 'message', 'The files of this source declare different nodata values; the first one''s is shown.'))
                   ELSE '[]' END
               || CASE WHEN EXISTS (
                   SELECT FROM unnest(temporal_extent.gaps) AS gap
                   WHERE mod(gap, extract(epoch FROM source.declared_interval)) <> 0
               ) THEN jsonb_build_array(jsonb_build_object(
                   'code', 'interval_contradicted', 'message', 'The times of the files are no multiples of the declared interval apart.'))
                   ELSE '[]' END AS notices
        FROM raster_sources AS source
        LEFT JOIN files ON files.source_id = source.id
        LEFT JOIN temporal_extent ON temporal_extent.source_id = source.id
        LEFT JOIN raster_files AS first_file ON first_file.id = files.first_file
        LEFT JOIN coordinate_systems AS system ON system.id = first_file.coordinate_system_id
        LEFT JOIN LATERAL union_longitudes(files.wests, files.easts) AS longitudes ON true
        WHERE source.id = ANY (source_ids)
    )
    UPDATE raster_sources AS source
    SET (file_count, "interval", first_value_timestamp, last_value_timestamp, west, south, east, north, projection,
         origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype, fill_value, notices)
      = (derived.file_count, derived."interval", derived.first_value_timestamp, derived.last_value_timestamp,
         derived.west, derived.south, derived.east, derived.north, derived.projection,
         derived.origin_x, derived.origin_y, derived.upper_bound_x, derived.upper_bound_y,
         derived.pixelsize_x, derived.pixelsize_y, derived.size, derived.dtype, derived.fill_value, derived.notices)
    FROM derived
    WHERE source.id = derived.id
      AND (source.file_count, source."interval", source.first_value_timestamp, source.last_value_timestamp,
           source.west, source.south, source.east, source.north, source.projection,
           source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
           source.pixelsize_x, source.pixelsize_y, source.size, source.dtype, source.fill_value, source.notices)
          IS DISTINCT FROM
          (derived.file_count, derived."interval", derived.first_value_timestamp, derived.last_value_timestamp,
           derived.west, derived.south, derived.east, derived.north, derived.projection,
           derived.origin_x, derived.origin_y, derived.upper_bound_x, derived.upper_bound_y,
           derived.pixelsize_x, derived.pixelsize_y, derived.size, derived.dtype, derived.fill_value, derived.notices)
    RETURNING source.id
$$;
COMMENT ON FUNCTION derive_sources IS 'Makes the derived fields of these raster sources from their raster files; returns the ids of those that changed.';

-- For people who query by SQL --------------------------------------------------------------------------------

CREATE VIEW public_raster_sources AS
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

-- To the role of those who only read (`rastersources db reader`), where there is one.
DO $$
BEGIN
    GRANT SELECT ON public_raster_sources TO rastersources_reader;
EXCEPTION WHEN undefined_object THEN NULL;
END
$$;
