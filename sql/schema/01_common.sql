-- Extensions, and the trigger function that several tables share.

-- An ordinary role may not create extensions. pipeline/database/privileges.py checks that before this runs.
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
