DO $$
BEGIN
    REVOKE SELECT (id, uuid, name) ON organisations FROM rastersources_reader;
    GRANT SELECT ON organisations TO rastersources_reader;
EXCEPTION WHEN undefined_object THEN NULL;
END
$$;
DROP POLICY public_rows ON users;
ALTER TABLE users DISABLE ROW LEVEL SECURITY;
DROP FUNCTION file_name;
DROP TRIGGER scenarios_touch ON scenarios;
DROP FUNCTION move_last_modified;
CREATE TRIGGER scenarios_touch BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION touch_last_modified();
ALTER TABLE sessions DROP key_id;
