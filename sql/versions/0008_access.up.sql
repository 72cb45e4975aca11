-- Who sees what, and since when: sessions, scenarios, names of files, readers by SQL.

-- Sessions end with the key that opened them; of those that are open it is not known: sign in again.
DELETE FROM sessions;
ALTER TABLE sessions ADD key_id bigint REFERENCES api_keys ON DELETE CASCADE;
CREATE INDEX sessions_key ON sessions (key_id);
COMMENT ON COLUMN sessions.key_id IS 'The key that served as the password; the session ends when that is revoked.';

-- What a scenario uses stands in another table: whoever changes that sets last_modified, to whatever time.
CREATE FUNCTION move_last_modified() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_modified := greatest(clock_timestamp(), OLD.last_modified + interval '1 microsecond');
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION move_last_modified IS 'Sets last_modified to now; for rows that differ, be it by a last_modified that was set.';
DROP TRIGGER scenarios_touch ON scenarios;
CREATE TRIGGER scenarios_touch BEFORE UPDATE ON scenarios
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION move_last_modified();

CREATE FUNCTION file_name(uri text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    name text := substring(uri FROM '[^/]*$');
BEGIN
    IF strpos(name, '%') = 0 THEN
        RETURN name;
    END IF;
    RETURN (
        SELECT convert_from(string_agg(CASE WHEN part[1] ~ '^%[0-9A-Fa-f]{2}$' THEN decode(substr(part[1], 2), 'hex')
                                            ELSE convert_to(part[1], 'UTF8') END, '' ORDER BY place), 'UTF8')
        FROM regexp_matches(name, '%[0-9A-Fa-f]{2}|%|[^%]+', 'g') WITH ORDINALITY AS parts (part, place)
    );
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN name;
END
$$;
COMMENT ON FUNCTION file_name IS 'The name of the file at the end of a URI without percent-encoding; with it where that is no text.';

-- Readers by SQL learn of organisations what everyone does, and of users the names of those who supply Public sources.
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY public_rows ON users FOR SELECT USING (EXISTS (
    SELECT FROM raster_sources AS source WHERE source.supplier_id = users.id AND source.access_modifier = 0
));
DO $$
BEGIN
    REVOKE SELECT ON organisations FROM rastersources_reader;
    GRANT SELECT (id, uuid, name) ON organisations TO rastersources_reader;
EXCEPTION WHEN undefined_object THEN NULL; -- the role could not be made
END
$$;
