DROP TRIGGER uploads_revoke ON uploads;
DROP FUNCTION revoke_task;
DROP INDEX uploads_uri;
ALTER TABLE uploads DROP COLUMN attempts;
