-- What the API needs beside the catalogue: browser sessions, a limit on sign-ins, and a second wall for readers by SQL.

-- Browser sessions -----------------------------------------------------------------------------------------------

CREATE TABLE sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created    timestamptz NOT NULL DEFAULT now(),
    expires    timestamptz NOT NULL,
    CHECK (expires > created)
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires);
COMMENT ON TABLE sessions IS 'Who is signed in to the pages; a row ends with the session.';
COMMENT ON COLUMN sessions.id IS 'Internal number.';
COMMENT ON COLUMN sessions.user_id IS 'Who signed in.';
COMMENT ON COLUMN sessions.token_hash IS 'SHA-256 of the cookie, which holds 256 random bits.';
COMMENT ON COLUMN sessions.created IS 'When they signed in.';
COMMENT ON COLUMN sessions.expires IS 'Until when the session lasts.';

CREATE TABLE sign_in_failures (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username text NOT NULL,
    address  text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failures_username ON sign_in_failures (username, at);
CREATE INDEX sign_in_failures_address ON sign_in_failures (address, at);
COMMENT ON TABLE sign_in_failures IS 'Failed sign-ins of the last while, by which further ones are limited.';
COMMENT ON COLUMN sign_in_failures.id IS 'Internal number.';
COMMENT ON COLUMN sign_in_failures.username IS 'The name that was tried, known or not.';
COMMENT ON COLUMN sign_in_failures.address IS 'Where it came from.';
COMMENT ON COLUMN sign_in_failures.at IS 'When.';

-- Bounds of nothing ------------------------------------------------------------------------------------------------

-- As before, but a union of nothing is nothing (it was the whole turn).
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
        SELECT before AS starts, low AS ends, low - before AS width, 1 AS rank FROM reached WHERE low > before
        UNION ALL SELECT max(high), min(low), min(low) + 360 - max(high), 0 FROM pieces HAVING count(*) > 0
    )
    SELECT CASE WHEN width > 0 THEN ends ELSE -180 END, CASE WHEN width > 0 THEN starts ELSE 180 END
    FROM gaps ORDER BY width DESC, rank LIMIT 1
$$;

-- A second wall for readers by SQL ---------------------------------------------------------------------------------

-- Those with the role rastersources_reader see Public rows only, whatever they are granted; the owner of the tables,
-- as whom our programs connect, is not bound by this.
ALTER TABLE raster_sources ENABLE ROW LEVEL SECURITY;
ALTER TABLE raster_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE layers ENABLE ROW LEVEL SECURITY;
ALTER TABLE label_types ENABLE ROW LEVEL SECURITY;
ALTER TABLE scenarios ENABLE ROW LEVEL SECURITY;
CREATE POLICY public_rows ON raster_sources FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON layers FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON label_types FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON scenarios FOR SELECT USING (access_modifier = 0);
CREATE POLICY public_rows ON raster_files FOR SELECT USING (EXISTS (
    SELECT FROM raster_sources AS source WHERE source.id = source_id AND source.access_modifier = 0
));
ALTER VIEW public_raster_sources SET (security_invoker = true);
DO $$
BEGIN
    GRANT SELECT ON raster_sources, layers, label_types, scenarios, organisations TO rastersources_reader;
    -- once more: a role that another database of the cluster made at the same moment was not yet seen by 0001
    GRANT SELECT ON public_raster_sources TO rastersources_reader;
    GRANT SELECT (id, username) ON users TO rastersources_reader;
EXCEPTION WHEN undefined_object THEN NULL; -- the role could not be made
END
$$;
