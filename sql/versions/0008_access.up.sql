-- Who sees what, and since when: sessions, scenarios, names of files, readers by SQL.

-- Sessions end with the key that opened them; of those that are open it is not known: sign in again.
DELETE FROM sessions;
ALTER TABLE sessions ADD key_id bigint REFERENCES api_keys ON DELETE CASCADE;
CREATE INDEX sessions_key ON sessions (key_id);
COMMENT ON COLUMN sessions.key_id IS 'The key that served as the password; the session ends when that is revoked.';
