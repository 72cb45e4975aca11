-- Extensions, and the functions that several tables share.

-- Ordinary roles may not create extensions. pipeline/database/privileges.py checks this first.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE FUNCTION touch_last_modified() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_modified := OLD.last_modified;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.last_modified := greatest(clock_timestamp(), OLD.last_modified + interval '1 microsecond');
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION touch_last_modified IS 'Sets last_modified when anything else in the row changed, and only then.';

CREATE FUNCTION current_run() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('rastersources.run', true), '')::integer
$$;
COMMENT ON FUNCTION current_run IS 'The run of ingestion that this transaction belongs to, as a number of sync_runs; null: none.';
