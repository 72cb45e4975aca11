ALTER TABLE scenarios DROP COLUMN total_size, DROP COLUMN model_name;
ALTER TABLE tasks DROP CONSTRAINT tasks_result_check;
ALTER TABLE tasks ALTER COLUMN result TYPE jsonb
    USING CASE WHEN result LIKE 'rastersources/%' THEN jsonb_build_object('raster_source', substr(result, 15)) END;
COMMENT ON COLUMN tasks.result IS 'What came of it.';
