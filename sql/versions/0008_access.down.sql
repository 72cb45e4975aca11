ALTER TABLE sessions DROP key_id;
