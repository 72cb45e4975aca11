DROP FUNCTION file_name;
DROP TRIGGER scenarios_touch ON scenarios;
DROP FUNCTION move_last_modified;
CREATE TRIGGER scenarios_touch BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION touch_last_modified();
ALTER TABLE sessions DROP key_id;
