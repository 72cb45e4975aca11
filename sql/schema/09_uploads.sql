-- Uploads: files that clients sent, and the storage in which they are kept.

CREATE TABLE tasks (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid    uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    status  text NOT NULL DEFAULT 'PENDING'
            CHECK (status IN ('PENDING', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE', 'REVOKED')),
    result  text CHECK (result ~ '^[a-z]+(/[A-Za-z0-9._-]+)+$'),
    detail  text,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tasks IS 'Asynchronous work that a client waits for; everyone who has the uuid may read it.';
COMMENT ON COLUMN tasks.id IS 'Internal number.';
COMMENT ON COLUMN tasks.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN tasks.status IS 'PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED.';
COMMENT ON COLUMN tasks.result IS 'Path of the result below /api/v4/, such as rastersources/UUID; null: there is none.';
COMMENT ON COLUMN tasks.detail IS 'One sentence, for example the reason of a failure.';
COMMENT ON COLUMN tasks.created IS 'When the task was created.';
COMMENT ON COLUMN tasks.updated IS 'When its status last changed.';

CREATE TABLE uploads (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id      bigint NOT NULL REFERENCES raster_sources ON DELETE CASCADE,
    task_id        bigint REFERENCES tasks,
    user_id        bigint REFERENCES users ON DELETE SET NULL,
    filename       text NOT NULL,
    uri            text,
    size           bigint CHECK (size >= 0),
    "timestamp"    timestamptz,
    crs            text CHECK (crs ~ '^[A-Z][A-Z0-9_.]*:[A-Z0-9_.-]+$'),
    nodata         text CHECK (nodata ~ '^(-?([0-9]+([.][0-9]*)?|[.][0-9]+)(e[+-]?[0-9]+)?|-?inf|nan)$'),
    state          text NOT NULL DEFAULT 'requested'
                   CHECK (state IN ('requested', 'received', 'processing', 'committed', 'rejected', 'retry')),
    state_detail   text,
    attempts       integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX uploads_uri ON uploads (uri);
CREATE INDEX uploads_source ON uploads (source_id, id DESC);
CREATE INDEX uploads_open ON uploads (id) WHERE state IN ('received', 'processing', 'retry');
CREATE INDEX uploads_task ON uploads (task_id);
CREATE INDEX uploads_user ON uploads (user_id);
COMMENT ON TABLE uploads IS 'Files that clients sent to a raster source, and their state.';
COMMENT ON COLUMN uploads.id IS 'Stable, ascending number.';
COMMENT ON COLUMN uploads.source_id IS 'The raster source that it was sent to.';
COMMENT ON COLUMN uploads.task_id IS 'The task that the client can watch.';
COMMENT ON COLUMN uploads.user_id IS 'The user who sent it.';
COMMENT ON COLUMN uploads.filename IS 'File name that the client gave.';
COMMENT ON COLUMN uploads.uri IS 'URI of the file in the storage of uploads.';
COMMENT ON COLUMN uploads.size IS 'Number of bytes received.';
COMMENT ON COLUMN uploads."timestamp" IS 'Time that the client gave for the file.';
COMMENT ON COLUMN uploads.crs IS 'CRS that the client gave for a file without one, as AUTHORITY:CODE; null: not given.';
COMMENT ON COLUMN uploads.nodata IS 'Nodata value that the client gave for a file without one: a number, inf, -inf or nan; null: not given.';
COMMENT ON COLUMN uploads.state IS 'requested, received, processing, committed, rejected or retry.';
COMMENT ON COLUMN uploads.state_detail IS 'One sentence on the state, for example the reason of a rejection.';
COMMENT ON COLUMN uploads.attempts IS 'Number of attempts to read it.';
COMMENT ON COLUMN uploads.created_at IS 'When the upload began.';
COMMENT ON COLUMN uploads.updated_at IS 'When its state last changed.';

CREATE FUNCTION revoke_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tasks SET status = 'REVOKED', detail = 'The raster source was deleted.', updated = now()
    WHERE id = OLD.task_id AND status IN ('PENDING', 'STARTED', 'RETRY');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION revoke_task IS 'Revokes the task of an upload that is deleted, with its raster source, before it was processed.';
CREATE TRIGGER uploads_revoke AFTER DELETE ON uploads FOR EACH ROW EXECUTE FUNCTION revoke_task();

CREATE TABLE catalogue_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    uuid     uuid NOT NULL DEFAULT gen_random_uuid()
);
COMMENT ON TABLE catalogue_identity IS 'The identity of this catalogue; it is committed before the storage of uploads is marked with it.';
COMMENT ON COLUMN catalogue_identity.only_row IS 'Always true: there is at most one row.';
COMMENT ON COLUMN catalogue_identity.uuid IS 'The same uuid is in the file or object .catalogue of the storage of uploads.';

CREATE TABLE upload_files (
    uri       text PRIMARY KEY,
    source_id bigint REFERENCES raster_sources ON DELETE SET NULL,
    receiver  integer CHECK (receiver > 0),
    reserved  bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    changed   timestamptz NOT NULL DEFAULT now(),
    CHECK (receiver IS NOT NULL OR reserved = 0)
);
CREATE INDEX upload_files_source ON upload_files (source_id);
CREATE INDEX upload_files_receiver ON upload_files (receiver) WHERE receiver IS NOT NULL;
COMMENT ON TABLE upload_files IS 'Files in the storage of uploads. Each is recorded before its first byte is written; only recorded files are ever deleted.';
COMMENT ON COLUMN upload_files.uri IS 'URI of the file, which may not exist yet.';
COMMENT ON COLUMN upload_files.source_id IS 'The raster source that it was sent to; null: the source was deleted.';
COMMENT ON COLUMN upload_files.receiver IS 'Number of the server that receives it, which is its advisory lock; null: received or abandoned.';
COMMENT ON COLUMN upload_files.reserved IS 'Bytes of quota and disk that are reserved for it while it is received.';
COMMENT ON COLUMN upload_files.changed IS 'When receiving it began, was finished or was abandoned.';

CREATE VIEW received_files AS
SELECT uri, source_id, reserved FROM upload_files WHERE receiver IS NOT NULL AND EXISTS (
    SELECT FROM pg_locks AS held
    WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND held.classid = x'52435644'::integer::oid AND held.objid = upload_files.receiver::oid);
COMMENT ON VIEW received_files IS 'Files whose server is alive: it holds the advisory lock (x''52435644'', receiver), "RCVD" in ASCII.';
COMMENT ON COLUMN received_files.uri IS 'URI of the file.';
COMMENT ON COLUMN received_files.source_id IS 'The raster source that it is being sent to.';
COMMENT ON COLUMN received_files.reserved IS 'Bytes of quota and disk that are reserved for it.';

CREATE TABLE downloads (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid      uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    task_id   bigint NOT NULL UNIQUE REFERENCES tasks ON DELETE CASCADE,
    uri       text NOT NULL UNIQUE,
    filename  text NOT NULL,
    expires   timestamptz
);
CREATE INDEX downloads_expires ON downloads (expires);
COMMENT ON TABLE downloads IS 'Files that were written for clients, each of a task; everyone who has the uuid may read one until it expires.';
COMMENT ON COLUMN downloads.id IS 'Internal number.';
COMMENT ON COLUMN downloads.uuid IS 'In the URL of the file; random, so that it cannot be guessed.';
COMMENT ON COLUMN downloads.task_id IS 'The task that the client watches.';
COMMENT ON COLUMN downloads.uri IS 'URI of the file in the storage of uploads; upload_files has it too.';
COMMENT ON COLUMN downloads.filename IS 'File name that browsers suggest.';
COMMENT ON COLUMN downloads.expires IS 'When the file may be deleted; null while it is being written.';
