-- Uploaded files, each recorded before its first byte is written, and the identity that marks the storage of uploads.

CREATE TABLE catalogue_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    uuid     uuid NOT NULL DEFAULT gen_random_uuid()
);
COMMENT ON TABLE catalogue_identity IS 'Which catalogue this is; its row is made before the storage of uploads is marked with it.';
COMMENT ON COLUMN catalogue_identity.only_row IS 'True; there is one row at most.';
COMMENT ON COLUMN catalogue_identity.uuid IS 'Stands in the file or object .catalogue of the storage of uploads too.';

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
COMMENT ON TABLE upload_files IS 'Files in the storage of uploads: recorded before they are written; only what stands here is ever deleted there, and then its row.';
COMMENT ON COLUMN upload_files.uri IS 'Where the file is, or may be.';
COMMENT ON COLUMN upload_files.source_id IS 'The raster source that it was sent to; null when that is gone.';
COMMENT ON COLUMN upload_files.receiver IS 'The server that is receiving it, which holds an advisory lock of this number; null once it was received or given up.';
COMMENT ON COLUMN upload_files.reserved IS 'Bytes that are kept free for it while it is received.';
COMMENT ON COLUMN upload_files.changed IS 'When it began to be received, was received, or was given up.';

-- Uploads that were received before this table was there.
INSERT INTO upload_files (uri, source_id, changed)
SELECT uri, source_id, updated_at FROM uploads WHERE uri IS NOT NULL;
