-- The shapes that clients of the API read: what a task leads to, and what is known of a scenario.

-- What was told of an upload in `result` is told in `detail` from now on, where it is not told already.
UPDATE tasks SET detail = 'Files replaced: ' || (result ->> 'replaced') || '.'
WHERE detail IS NULL AND result ? 'replaced';
ALTER TABLE tasks ALTER COLUMN result TYPE text
    USING CASE WHEN result ? 'raster_source' THEN 'rastersources/' || (result ->> 'raster_source') END;
ALTER TABLE tasks ADD CONSTRAINT tasks_result_check CHECK (result ~ '^[a-z]+(/[A-Za-z0-9._-]+)+$');
COMMENT ON COLUMN tasks.result IS 'Path below /api/v4/ of what can be fetched, such as rastersources/UUID; null when there is nothing.';

ALTER TABLE scenarios ADD COLUMN model_name text CHECK (length(model_name) <= 255);
ALTER TABLE scenarios ADD COLUMN total_size bigint CHECK (total_size >= 0);
COMMENT ON COLUMN scenarios.model_name IS 'The model that was run; null when nobody said.';
COMMENT ON COLUMN scenarios.total_size IS 'Bytes of its results, as whoever wrote it says; null when nobody said.';
