COMMENT ON COLUMN definitions.synced IS 'When it was last synced.';
ALTER TABLE definitions DROP COLUMN uuid;
