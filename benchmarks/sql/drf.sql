-- The tables of the Django REST Framework service, with the indexes that its filters can use.
CREATE SCHEMA IF NOT EXISTS drf;
SET search_path = drf, public;
CREATE TABLE organisation (id integer PRIMARY KEY, uuid uuid NOT NULL UNIQUE, name text NOT NULL);
CREATE TABLE raster_source (
    id bigint PRIMARY KEY, uuid uuid NOT NULL UNIQUE, name varchar(255) NOT NULL, description text,
    organisation_id integer NOT NULL REFERENCES organisation, access_modifier smallint NOT NULL, supplier varchar(150),
    supplier_code varchar(255), temporal boolean NOT NULL, "interval" interval, first_value_timestamp timestamptz,
    last_value_timestamp timestamptz, west double precision, south double precision, east double precision,
    north double precision, bounds geometry(Polygon, 4326), projection varchar(32), origin_x double precision,
    origin_y double precision, upper_bound_x double precision, upper_bound_y double precision,
    pixelsize_x double precision, pixelsize_y double precision, created timestamptz NOT NULL,
    last_modified timestamptz NOT NULL, layers uuid[] NOT NULL, labeltypes uuid[] NOT NULL, size bigint, dtype varchar(8),
    fill_value varchar(64)
);
CREATE INDEX ON raster_source USING gist (bounds);
CREATE INDEX ON raster_source (organisation_id, last_modified DESC);
CREATE INDEX ON raster_source (last_modified);
CREATE INDEX ON raster_source USING gin (upper(name) public.gin_trgm_ops);

-- The floor: the JSON of a record. PostgreSQL puts the expression in the place of each call.
CREATE FUNCTION record(r raster_source, o organisation) RETURNS json STABLE LANGUAGE sql RETURN json_build_object(
    'id', r.id, 'uuid', r.uuid, 'url', '/api/v4/rastersources/' || r.uuid || '/', 'name', r.name, 'description', r.description,
    'organisation', json_build_object('url', '/api/v4/organisations/' || o.uuid || '/', 'uuid', o.uuid, 'name', o.name),
    'access_modifier', r.access_modifier, 'supplier', r.supplier, 'supplier_code', r.supplier_code, 'temporal', r.temporal,
    'interval', r."interval", 'first_value_timestamp', r.first_value_timestamp,
    'last_value_timestamp', r.last_value_timestamp, 'spatial_bounds',
    json_build_object('west', r.west, 'east', r.east, 'north', r.north, 'south', r.south), 'projection', r.projection,
    'origin_x', r.origin_x, 'origin_y', r.origin_y, 'upper_bound_x', r.upper_bound_x, 'upper_bound_y', r.upper_bound_y,
    'pixelsize_x', r.pixelsize_x, 'pixelsize_y', r.pixelsize_y, 'created', r.created, 'last_modified', r.last_modified,
    'writable', false, 'layers', r.layers, 'labeltypes', r.labeltypes, 'size', r.size, 'dtype', r.dtype,
    'fill_value', r.fill_value);
