-- STAC: raster sources as collections and raster files as items. PostgreSQL writes the JSON with which the API answers.
--
-- Each function that writes a document is one expression, so that PostgreSQL inserts its body into the query that calls
-- it. It does not insert an IMMUTABLE function that calls a STABLE function such as to_json. `root` is the URL of the
-- STAC API and `api` is the URL of the Lizard API. If they are null, documents have no links.

CREATE FUNCTION first_step(times timestamptz[]) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(times[1], timestamptz '0001-01-01 00:00:00+00')
$$;
COMMENT ON FUNCTION first_step IS 'The first time of a file; the year 1 if no time is known, so that searches for any time find it.';

CREATE FUNCTION last_step(times timestamptz[]) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(times[cardinality(times)], timestamptz '9999-12-31 23:59:59+00')
$$;
COMMENT ON FUNCTION last_step IS 'The last time of a file; the end of the year 9999 if no time is known.';

-- For searches by time, in all files or in the files of a raster source.
CREATE INDEX raster_files_times ON raster_files (first_step(times), last_step(times));
CREATE INDEX raster_files_source_times ON raster_files (source_id, first_step(times), last_step(times));

-- For searches by title and by words.
CREATE INDEX raster_files_name_trigram ON raster_files USING gin (split_part(file_name(uri), '/', -1) gin_trgm_ops);

-- For filters and orders by size, which CQL2 compares as floating-point numbers.
CREATE INDEX raster_files_size ON raster_files (CAST(size AS double precision));

CREATE FUNCTION only_step(times timestamptz[]) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN cardinality(times) = 1 THEN times[1] END
$$;
COMMENT ON FUNCTION only_step IS 'The time of a file that has exactly one time; null for others.';

CREATE FUNCTION iso_time(value timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT replace(to_char(timezone('UTC', value), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')
$$;
COMMENT ON FUNCTION iso_time IS 'A time in UTC as the API writes it.';

CREATE FUNCTION remainder(a double precision, b double precision) RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT a - b * trunc(a / nullif(b, 0))
$$;
COMMENT ON FUNCTION remainder IS 'The remainder of a division, with the sign of the dividend; null for a division by zero.';

CREATE FUNCTION without_folders(message text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(message, '(?:\m[a-z][a-z0-9+.-]*://|(?<![\w.</)])/)(?:[^\s/''"<>]+/)*(?=[^\s/])', '', 'gi')
$$;
COMMENT ON FUNCTION without_folders IS 'A message without the folders of files; pipeline/catalogue/hide_paths.py does the same.';

CREATE FUNCTION stac_warnings(warnings jsonb) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT json_agg(json_build_object('code', warning ->> 'code', 'message', without_folders(warning ->> 'message')) ORDER BY place)
    FROM jsonb_array_elements(warnings) WITH ORDINALITY AS listed (warning, place)
$$;
COMMENT ON FUNCTION stac_warnings IS 'Warnings that everyone may see, without folders; null if there are none.';

CREATE FUNCTION stac_provenance(provenance jsonb) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT json_object_agg(field, without_folders(origin)) FROM jsonb_each_text(provenance) AS listed (field, origin)
$$;
COMMENT ON FUNCTION stac_provenance IS 'The origins of the facts about a file that everyone may see, without folders.';

CREATE FUNCTION stac_data_type(dtype text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE dtype WHEN 'u1' THEN 'uint8' WHEN 'u2' THEN 'uint16' WHEN 'u4' THEN 'uint32' WHEN 'u8' THEN 'uint64'
                      WHEN 'i1' THEN 'int8' WHEN 'i2' THEN 'int16' WHEN 'i4' THEN 'int32' WHEN 'i8' THEN 'int64'
                      WHEN 'f2' THEN 'float16' WHEN 'f4' THEN 'float32' WHEN 'f8' THEN 'float64'
                      WHEN 'c8' THEN 'cfloat32' WHEN 'c16' THEN 'cfloat64' ELSE 'other' END
$$;
COMMENT ON FUNCTION stac_data_type IS 'The name that STAC gives to a numpy code.';

CREATE FUNCTION stac_nodata(nodata text) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN nodata IN ('nan', 'inf', '-inf') THEN to_json(nodata)
                WHEN nodata ~ '^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$' THEN nodata::json END
$$;
COMMENT ON FUNCTION stac_nodata IS 'A nodata value as STAC writes it: a number, or nan, inf or -inf as a text.';

CREATE FUNCTION stac_band(band jsonb, place bigint) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat('{"name":"b', place, '"', ',"description":' || to_json(nullif(band ->> 'description', ''))::text,
        ',"data_type":"', stac_data_type(band ->> 'dtype'), '"', ',"nodata":' || stac_nodata(band ->> 'nodata')::text,
        ',"datetime":' || to_json(band ->> 'time')::text, '}')
$$;
COMMENT ON FUNCTION stac_band IS 'A band of a file as STAC 1.1 writes it.';

CREATE FUNCTION stac_many_bands(bands jsonb) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat('[', string_agg(stac_band(band, place), ',' ORDER BY place), ']')
    FROM jsonb_array_elements(bands) WITH ORDINALITY AS listed (band, place)
$$;
COMMENT ON FUNCTION stac_many_bands IS 'Any number of bands as JSON.';

CREATE FUNCTION stac_bands(bands jsonb) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_array_length(bands) = 1 THEN concat('[', stac_band(bands -> 0, 1), ']') -- without a subquery
                ELSE stac_many_bands(bands) END
$$;
COMMENT ON FUNCTION stac_bands IS 'The bands of a file as JSON, named b1, b2, ...';

CREATE FUNCTION stac_properties(file raster_files, coordinates coordinate_systems, title text, with_bands boolean)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat('{"datetime":', coalesce('"' || iso_time(only_step(file.times)) || '"', 'null'),
        ',"start_datetime":"', iso_time(first_step(file.times)), '","end_datetime":"', iso_time(last_step(file.times)),
        '","updated":"', iso_time(file.registered), '","title":', to_json(title),
        ',"proj:code":"' || coordinates.projection || '"',
        CASE WHEN coordinates.projection IS NULL THEN concat(',"proj:wkt2":', to_json(coordinates.wkt)) END,
        ',"proj:shape":[', file.height, ',', file.width, '],"proj:transform":', to_json(file.transform),
        ',"proj:bbox":', to_json(ARRAY[file.origin_x, file.origin_y, file.upper_bound_x, file.upper_bound_y]),
        CASE WHEN with_bands THEN concat(',"rastersources:bands":', stac_bands(file.bands)) END,
        CASE WHEN cardinality(file.times) = 0 THEN ',"rastersources:time_unknown":true' END,
        ',"rastersources:state":"', file.state, '","rastersources:size":', file.size,
        ',"rastersources:dtype":"', file.dtype, '"', ',"rastersources:nodata":' || to_json(file.fill_value)::text,
        ',"rastersources:operation":', to_json(coalesce(file.operation_code, file.operation_name)),
        ',"rastersources:accuracy":' || to_json(file.operation_accuracy)::text, ',"rastersources:provenance":',
        CASE WHEN strpos(file.provenance::text, '/') > 0 THEN stac_provenance(file.provenance)::text ELSE file.provenance::text END,
        CASE WHEN file.warnings <> '[]' THEN concat(',"rastersources:warnings":', stac_warnings(file.warnings)) END, '}')
$$;
COMMENT ON FUNCTION stac_properties IS 'The properties of an item, as JSON. STAC puts bands into assets; an item without an asset has them here.';

CREATE FUNCTION stac_item(file raster_files, collection uuid, coordinates coordinate_systems, title text, href text, root text, api text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat(
        '{"type":"Feature","stac_version":"1.1.0","stac_extensions":["https://stac-extensions.github.io/projection/v2.0.0/schema.json"',
        CASE WHEN href IS NOT NULL THEN ',"https://stac-extensions.github.io/file/v2.1.0/schema.json"' END,
        '],"id":"', file.id, '","collection":"', collection, '","geometry":', ST_AsGeoJSON(ST_ForcePolygonCCW(file.footprint), 7),
        ',"bbox":', to_json(ARRAY[file.west, file.south, file.east, file.north]),
        ',"properties":', stac_properties(file, coordinates, title, href IS NULL),
        ',"links":[', CASE WHEN root IS NOT NULL THEN concat(
            '{"rel":"self","type":"application/geo+json","href":', to_json(concat(root, '/collections/', collection, '/items/', file.id)),
            '},{"rel":"parent","type":"application/json","href":', to_json(concat(root, '/collections/', collection)),
            '},{"rel":"collection","type":"application/json","href":', to_json(concat(root, '/collections/', collection)),
            '},{"rel":"root","type":"application/json","href":', to_json(root), '}') END,
        '],"assets":{', CASE WHEN href IS NOT NULL THEN concat(
            '"data":{"href":', to_json(href), ',"title":', to_json(title), ',"roles":["data"],"file:size":', file.size,
            ',"bands":', stac_bands(file.bands), ',"type":"image/tiff; application=geotiff',
            CASE WHEN (file.layout ->> 'cog')::boolean THEN '; profile=cloud-optimized' END, '"}', CASE WHEN api IS NOT NULL THEN ',' END) END,
        CASE WHEN api IS NOT NULL THEN concat(
            '"thumbnail":{"href":', to_json(concat(api, '/rastersources/', collection, '/preview.png', '?time=' || iso_time(file.times[cardinality(file.times)]))),
            ',"title":"Preview of the raster source","type":"image/png","roles":["thumbnail"]}') END,
        '}}')
$$;
COMMENT ON FUNCTION stac_item IS 'A raster file as a STAC item, as JSON. `href`: where visitors get the file; null: nowhere.';

CREATE FUNCTION stac_href(uri text, prefixes text[], urls text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT url || substr(uri, length(prefix) + 1) FROM unnest(prefixes, urls) AS published (prefix, url)
    WHERE starts_with(uri, prefix) ORDER BY length(prefix) DESC LIMIT 1
$$;
COMMENT ON FUNCTION stac_href IS 'The public URL of a file below the longest of the prefixes; null if it is below none.';

CREATE FUNCTION lacks_times(source raster_sources) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT source.first_value_timestamp = timestamptz 'epoch' AND source.last_value_timestamp = timestamptz 'epoch'
           AND NOT EXISTS (SELECT FROM raster_files AS file WHERE file.source_id = source.id AND file.times <> '{}')
$$;
COMMENT ON FUNCTION lacks_times IS 'Whether the times of a raster source are 1970-01-01 because its files have no time.';

CREATE FUNCTION stac_keywords(raster_source uuid) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT json_agg(DISTINCT label.name ORDER BY label.name)
    FROM label_type_sources AS pair JOIN label_types AS label ON label.id = pair.label_type_id
    WHERE pair.source_uuid = raster_source AND label.access_modifier = 0 AND label.name <> ''
$$;
COMMENT ON FUNCTION stac_keywords IS 'The names of Public label types that use a raster source; null if there are none.';

CREATE FUNCTION stac_collection(source raster_sources, organisation text, timeless boolean, root text, api text)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT json_strip_nulls(json_build_object(
        'type', 'Collection', 'stac_version', '1.1.0', 'stac_extensions', '[]'::json, 'id', source.uuid, 'title', source.name,
        'description', coalesce(nullif(source.description, ''), source.name), 'license', 'other',
        'keywords', stac_keywords(source.uuid), 'itemType', 'feature', 'crs', json_build_array('http://www.opengis.net/def/crs/OGC/1.3/CRS84'),
        'created', iso_time(source.created), 'updated', iso_time(source.last_modified),
        'providers', json_build_array(json_build_object('name', organisation, 'roles', json_build_array('host'))),
        'item_assets', CASE WHEN source.dtype IS NOT NULL THEN json_build_object('data', json_build_object(
            'title', 'The GeoTIFF', 'type', 'image/tiff; application=geotiff', 'roles', json_build_array('data'))) END,
        'assets', CASE WHEN source.dtype IS NOT NULL AND api IS NOT NULL THEN json_build_object('thumbnail', json_build_object(
            'href', concat(api, '/rastersources/', source.uuid, '/preview.png'), 'title', 'Preview',
            'type', 'image/png', 'roles', json_build_array('thumbnail'))) END,
        'summaries', json_build_object('proj:code', CASE WHEN source.projection IS NOT NULL THEN json_build_array(source.projection) END),
        'rastersources:temporal', source.temporal, 'rastersources:file_count', source.file_count,
        'rastersources:size', source.size, 'rastersources:dtype', source.dtype, 'rastersources:nodata', source.fill_value,
        'rastersources:interval', interval_text(source."interval"), 'rastersources:supplier_code', source.supplier_code,
        'rastersources:warnings', CASE WHEN source.warnings <> '[]' THEN stac_warnings(source.warnings) END
    ))::jsonb || jsonb_build_object(
        'extent', jsonb_build_object(
            'spatial', jsonb_build_object('bbox', jsonb_build_array(CASE WHEN source.west IS NULL THEN jsonb_build_array(-180, -90, 180, 90)
                ELSE jsonb_build_array(source.west, source.south, source.east, source.north) END)),
            'temporal', jsonb_build_object('interval', jsonb_build_array(CASE WHEN timeless THEN jsonb_build_array(null, null)
                ELSE jsonb_build_array(iso_time(source.first_value_timestamp), iso_time(source.last_value_timestamp)) END))),
        'links', CASE WHEN root IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(
            jsonb_build_object('rel', 'self', 'type', 'application/json', 'href', concat(root, '/collections/', source.uuid)),
            jsonb_build_object('rel', 'root', 'type', 'application/json', 'href', root),
            jsonb_build_object('rel', 'parent', 'type', 'application/json', 'href', root),
            jsonb_build_object('rel', 'items', 'type', 'application/geo+json', 'href', concat(root, '/collections/', source.uuid, '/items')),
            jsonb_build_object('rel', 'http://www.opengis.net/def/rel/ogc/1.0/queryables', 'type', 'application/schema+json',
                               'href', concat(root, '/collections/', source.uuid, '/queryables')),
            jsonb_build_object('rel', 'xyz', 'type', 'image/png', 'title', 'Tiles in web mercator',
                               'href', concat(api, '/rastersources/', source.uuid, '/tiles/{z}/{x}/{y}.png')),
            jsonb_build_object('rel', 'alternate', 'type', 'application/json', 'title', 'The record in the Lizard API',
                               'href', concat(api, '/rastersources/', source.uuid, '/'))) END)
$$;
COMMENT ON FUNCTION stac_collection IS 'A raster source as a STAC collection, as JSON. `timeless`: its times are not known.';

-- The views run with the permissions of their owner, because readers may not see the URIs of files. security_barrier
-- prevents that functions of readers run on rows that are not Public.
CREATE VIEW stac_collections WITH (security_barrier = true) AS
SELECT source.uuid AS id, source.name AS title, source.description, source.extent AS geometry,
       CASE WHEN NOT lacks_times(source) THEN source.first_value_timestamp END AS start_datetime,
       CASE WHEN NOT lacks_times(source) THEN source.last_value_timestamp END AS end_datetime,
       stac_collection(source, organisation.name, lacks_times(source), null, null)::jsonb AS collection
FROM raster_sources AS source
JOIN organisations AS organisation ON organisation.id = source.organisation_id
WHERE source.access_modifier = 0;
COMMENT ON VIEW stac_collections IS 'The raster sources that everyone may see, as STAC collections without links.';
COMMENT ON COLUMN stac_collections.id IS 'The uuid of the raster source.';
COMMENT ON COLUMN stac_collections.title IS 'Its name.';
COMMENT ON COLUMN stac_collections.description IS 'Free text; may be null.';
COMMENT ON COLUMN stac_collections.geometry IS 'Its bounds (longitude, latitude): one box, or two across the antimeridian.';
COMMENT ON COLUMN stac_collections.start_datetime IS 'First time of its files; null: not known.';
COMMENT ON COLUMN stac_collections.end_datetime IS 'Last time of its files; null: not known.';
COMMENT ON COLUMN stac_collections.collection IS 'The whole STAC collection.';

CREATE VIEW stac_items WITH (security_barrier = true) AS
SELECT file.id, source.uuid AS collection, file.footprint AS geometry, only_step(file.times) AS datetime,
       first_step(file.times) AS start_datetime, last_step(file.times) AS end_datetime, name.title,
       stac_properties(file, coordinates, name.title, true)::jsonb AS properties,
       stac_item(file, source.uuid, coordinates, name.title, null, null, null)::jsonb AS item
FROM raster_files AS file
JOIN raster_sources AS source ON source.id = file.source_id
JOIN coordinate_systems AS coordinates ON coordinates.id = file.coordinate_system_id
CROSS JOIN LATERAL (
    SELECT split_part(coalesce((SELECT filename FROM uploads WHERE uploads.uri = file.uri LIMIT 1), file_name(file.uri)), '/', -1) AS title
    OFFSET 0 -- finds the name once, and lets PostgreSQL insert the bodies of the functions here
) AS name
WHERE source.access_modifier = 0;
COMMENT ON VIEW stac_items IS 'The files of the raster sources that everyone may see, as STAC items without links.';
COMMENT ON COLUMN stac_items.id IS 'The item; also the id in raster_files.';
COMMENT ON COLUMN stac_items.collection IS 'The uuid of its raster source.';
COMMENT ON COLUMN stac_items.geometry IS 'Its footprint (longitude, latitude), cut at the antimeridian.';
COMMENT ON COLUMN stac_items.datetime IS 'Its time; null if it has none or several.';
COMMENT ON COLUMN stac_items.start_datetime IS 'Its first time; the year 1 if none is known.';
COMMENT ON COLUMN stac_items.end_datetime IS 'Its last time; the year 9999 if none is known.';
COMMENT ON COLUMN stac_items.title IS 'The name of the file.';
COMMENT ON COLUMN stac_items.properties IS 'The properties of the item.';
COMMENT ON COLUMN stac_items.item IS 'The whole STAC item.';
