-- Uploads: how often they were taken up, found by their file, and never a task that nobody will end.

ALTER TABLE uploads ADD COLUMN attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0);
COMMENT ON COLUMN uploads.attempts IS 'How often it was taken up to be read.';
CREATE UNIQUE INDEX uploads_uri ON uploads (uri);

-- The task of an upload that goes, because its raster source does, before it was processed.
CREATE FUNCTION revoke_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tasks SET status = 'REVOKED', detail = 'The raster source was deleted.', updated = now()
    WHERE id = OLD.task_id AND status IN ('PENDING', 'STARTED', 'RETRY');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION revoke_task IS 'Revokes the task of an upload that is deleted before it was processed.';
CREATE TRIGGER uploads_revoke AFTER DELETE ON uploads FOR EACH ROW EXECUTE FUNCTION revoke_task();
