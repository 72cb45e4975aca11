-- Rounding is no gap between tiles, and files of one class of grids fit each other.

-- As before, but tiles that end and begin within 1e-9 degrees of each other meet: edges are sums of pixels, and round.
CREATE OR REPLACE FUNCTION union_longitudes(wests double precision[], easts double precision[],
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
        SELECT before AS starts, low AS ends, low - before AS width, 1 AS rank FROM reached WHERE low - before > 1e-9
        UNION ALL SELECT max(high), min(low), min(low) + 360 - max(high), 0 FROM pieces HAVING count(*) > 0
    )
    SELECT CASE WHEN width > 0 THEN ends ELSE -180 END, CASE WHEN width > 0 THEN starts ELSE 180 END
    FROM gaps ORDER BY width DESC, rank LIMIT 1
$$;

SET CONSTRAINTS commits_finish DEFERRED; -- an earlier migration of the same transaction may have made it immediate
SELECT derive_sources(array_agg(id)) FROM raster_sources WHERE west > east AND west - east < 1e-9;
SET CONSTRAINTS commits_finish IMMEDIATE; -- later ones may alter the table

-- As before, but of seven digits: a class is no wider than the millionth part within which pixel sizes fit.
CREATE OR REPLACE FUNCTION grid_class(projection text, wkt text, pixelsize_x double precision,
                                      pixelsize_y double precision, dtype text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT concat_ws(' ', coalesce(projection, md5(wkt)), to_char(pixelsize_x, '9.999999EEEE'), to_char(pixelsize_y, '9.999999EEEE'), dtype)
$$;

-- Classes are kept with refusals: the next run reads these files again, as if their retry had been asked for.
UPDATE rejected_files SET fingerprint = NULL WHERE grid IS NOT NULL;
