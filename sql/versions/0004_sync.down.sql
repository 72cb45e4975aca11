ALTER TABLE sync_runs
    DROP CONSTRAINT sync_runs_state_check,
    DROP COLUMN moved, DROP COLUMN missing, DROP COLUMN withheld, DROP COLUMN settling, DROP COLUMN reasons,
    DROP COLUMN seconds, DROP COLUMN files_per_second;
DROP INDEX sync_runs_definition;
UPDATE sync_runs SET state = 'failed' WHERE state = 'overlapping';
ALTER TABLE sync_runs ADD CONSTRAINT sync_runs_state_check CHECK (state IN ('running', 'completed', 'rejections', 'failed'));
DROP FUNCTION grid_class;
ALTER TABLE rejected_files DROP COLUMN reading_hash, DROP COLUMN group_key, DROP COLUMN grid;
DROP TABLE tombstones, definitions;
DROP INDEX raster_files_definition;
ALTER TABLE raster_files DROP COLUMN definition;
-- derive_sources stays as it is: it does the same for files that came in the order of their URIs.
