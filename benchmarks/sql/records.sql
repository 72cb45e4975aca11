-- A made-up catalogue of the Netherlands: :rows records, each made from its number alone, so that a small catalogue is
-- the beginning of a large one. Most rasters are tiles of 0.005 to 0.05 degrees; the first 100,000 records hold some
-- 3,000 of 0.1 to 0.5 degrees and some 50 of the whole country. Their number grows with the logarithm of :rows, because
-- catalogues grow by tiles. Organisations are of very different sizes; 70 % of the records are public.
SET client_min_messages = warning;
CREATE SCHEMA made;

CREATE FUNCTION made.draw(number bigint, what text) RETURNS double precision IMMUTABLE PARALLEL SAFE LANGUAGE sql
RETURN ((hashtextextended(what, number) >> 12) & 1048575) / 1048576.0;

CREATE FUNCTION made.pick(number bigint, what text, words text[]) RETURNS text IMMUTABLE PARALLEL SAFE LANGUAGE sql
RETURN words[1 + CAST(floor(made.draw(number, what) * cardinality(words)) AS integer)];

CREATE UNLOGGED TABLE made.organisations AS
SELECT n AS id, CAST(md5('organisation' || n) AS uuid) AS uuid,
    (ARRAY['Waterschap', 'Gemeente', 'Provincie', 'Instituut'])[1 + n % 4] || ' ' || n AS name
FROM generate_series(1, 50) AS n;

CREATE UNLOGGED TABLE made.records AS
SELECT n AS id, CAST(md5('raster source' || n) AS uuid) AS uuid,
    made.pick(n, 'theme', ARRAY['Waterdiepte', 'AHN DTM', 'Neerslag', 'Hittestress PET', 'Landgebruik', 'Bodemdaling',
        'Grondwater GHG', 'Overstroming', 'NDVI', 'Verdamping'])
    || ' ' || made.pick(n, 'town', ARRAY['Utrecht', 'Rotterdam', 'Amersfoort', 'Zwolle', 'Groningen', 'Maastricht',
        'Eindhoven', 'Breda', 'Almere', 'Leiden', 'Delft', 'Arnhem', 'Nijmegen', 'Tilburg', 'Haarlem', 'Apeldoorn',
        'Enschede', 'Dordrecht', 'Zoetermeer', 'Leeuwarden', 'Den Haag', 'Deventer', 'Gouda', 'Assen', 'Lelystad',
        'Vlissingen', 'Roermond', 'Hoorn', 'Texel', 'Terneuzen'])
    || ' ' || made.pick(n, 'scenario', ARRAY['huidig', 'toekomst', 'scenario', 'referentie'])
    || ' #' || floor(made.draw(n, 'project') * 9000) || ' - bui' || lpad(CAST(floor(made.draw(n, 'rain') * 40) AS text), 2, '0')
        AS name,
    CASE WHEN made.draw(n, 'description') < 0.5 THEN 'Record ' || n || ' of a made-up catalogue.' END AS description,
    1 + CAST(floor(power(made.draw(n, 'organisation'), 2) * 50) AS integer) AS organisation_id,
    CAST(CASE WHEN made.draw(n, 'access') < 0.7 THEN 0 WHEN made.draw(n, 'access') < 0.85 THEN 100 ELSE 200 END AS smallint)
        AS access_modifier,
    CASE WHEN made.draw(n, 'supplier') < 0.6 THEN 'supplier' || floor(made.draw(n, 'who') * 200) END AS supplier,
    CASE WHEN made.draw(n, 'supplier') < 0.3 THEN 'code-' || n END AS supplier_code,
    temporal, CASE WHEN temporal THEN interval '5 minutes' END AS step, first AS first_value_timestamp,
    CASE WHEN temporal THEN first + interval '1 day' * floor(made.draw(n, 'last') * 700) ELSE first END AS last_value_timestamp,
    west, south, west + width AS east, south + height AS north, 'EPSG:28992' AS projection,
    origin_x, origin_y, origin_x + 1000 * pixel AS upper_bound_x, origin_y + 800 * pixel AS upper_bound_y,
    pixel AS pixelsize_x, -pixel AS pixelsize_y, created,
    created + interval '1 second' * (made.draw(n, 'modified') * 2e7) AS last_modified,
    CASE WHEN made.draw(n, 'layer') < 0.5 THEN ARRAY[CAST(md5('layer' || n) AS uuid)] ELSE '{}' END AS layers,
    CAST(floor(exp(10 + made.draw(n, 'size') * 12)) AS bigint) AS size,
    (ARRAY['f4', 'u1', 'i2'])[1 + n % 3] AS dtype, (ARRAY['-9999.0', '255', '-32768'])[1 + n % 3] AS fill_value
FROM generate_series(1, CAST(:rows AS bigint)) AS n
CROSS JOIN LATERAL (SELECT made.draw(n, 'kind') / least(1.0, 1e5 / n) AS kind) AS kinds
CROSS JOIN LATERAL (SELECT
    CASE WHEN kind < 0.0005 THEN 2.5 WHEN kind < 0.03 THEN 0.1 ELSE 0.005 END AS least,
    CASE WHEN kind < 0.0005 THEN 1.0 WHEN kind < 0.03 THEN 0.4 ELSE 0.045 END AS more) AS sizes
CROSS JOIN LATERAL (SELECT least + more * made.draw(n, 'width') AS width, least + more * made.draw(n, 'height') AS height,
    least > 1 AS national) AS boxes
CROSS JOIN LATERAL (SELECT
    CASE WHEN national THEN 3.4 ELSE 3.35 + made.draw(n, 'west') * 3.75 END AS west,
    CASE WHEN national THEN 50.75 ELSE 50.75 + made.draw(n, 'south') * 2.7 END AS south) AS corners
CROSS JOIN LATERAL (SELECT floor(13600 + made.draw(n, 'x') * 240000) AS origin_x,
    floor(306900 + made.draw(n, 'y') * 300000) AS origin_y,
    (ARRAY[0.5, 1, 5, 25])[1 + CAST(floor(made.draw(n, 'pixel') * 4) AS integer)]::double precision AS pixel) AS grids
CROSS JOIN LATERAL (SELECT made.draw(n, 'temporal') < 0.2 AS temporal,
    timestamptz '2010-01-01Z' + interval '1 minute' * floor(made.draw(n, 'first') * 7e6) AS first,
    timestamptz '2018-01-01Z' + interval '1 second' * (made.draw(n, 'created') * 2.2e8) AS created) AS moments;

ANALYZE made.records;
