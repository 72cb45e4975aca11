-- Ingestion: definitions, rejected files, tombstones, runs, and files that are being moved.

CREATE TABLE definitions (
    id     text PRIMARY KEY,
    config text NOT NULL,
    uuid   uuid,
    synced timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE definitions IS 'The source definitions that were synced, each with the sources.toml that holds it.';
COMMENT ON COLUMN definitions.id IS 'Id in sources.toml.';
COMMENT ON COLUMN definitions.config IS 'Absolute path of the sources.toml of the last sync.';
COMMENT ON COLUMN definitions.uuid IS 'The raster source that it names by uuid, which is not removed with it; null: it names none.';
COMMENT ON COLUMN definitions.synced IS 'When its last sync began to register files.';

CREATE TABLE rejected_files (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition      text NOT NULL,
    uri             text NOT NULL,
    organisation_id bigint REFERENCES organisations ON DELETE CASCADE,
    fingerprint     text,
    reading_hash    text,
    group_key       text,
    facts           jsonb, -- A migration that changes raster_files must set fingerprint = NULL where facts IS NOT NULL.
    code            text NOT NULL,
    message         text NOT NULL,
    first_seen      timestamptz NOT NULL DEFAULT now(),
    last_seen       timestamptz NOT NULL DEFAULT now(),
    attempts        integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
    rejected_by     integer DEFAULT current_run(),
    UNIQUE (definition, uri)
);
CREATE INDEX rejected_files_organisation ON rejected_files (organisation_id, id);
COMMENT ON TABLE rejected_files IS 'Files that a run did not register, each with the reason, until they are repaired or deleted.';
COMMENT ON COLUMN rejected_files.id IS 'Internal number.';
COMMENT ON COLUMN rejected_files.definition IS 'Id of the source definition whose run rejected it.';
COMMENT ON COLUMN rejected_files.uri IS 'URI of the file.';
COMMENT ON COLUMN rejected_files.organisation_id IS 'The organisation of that definition.';
COMMENT ON COLUMN rejected_files.fingerprint IS 'Fingerprint when it was rejected; the file is read again when it changes. Null: it could not be determined.';
COMMENT ON COLUMN rejected_files.reading_hash IS 'Hash of the fields of the definition that reading depends on. The file is read again when it changes.';
COMMENT ON COLUMN rejected_files.group_key IS 'The group of files that it would belong to; null: not known.';
COMMENT ON COLUMN rejected_files.facts IS 'The facts that were read from it, as a row of raster_files, if it was rejected because it does not fit its raster source.';
COMMENT ON COLUMN rejected_files.code IS 'Stable reason code, such as missing_crs.';
COMMENT ON COLUMN rejected_files.message IS 'One sentence that says what is wrong and what to do.';
COMMENT ON COLUMN rejected_files.first_seen IS 'When it was rejected for the first time.';
COMMENT ON COLUMN rejected_files.last_seen IS 'When it was rejected for the last time.';
COMMENT ON COLUMN rejected_files.attempts IS 'Number of times that it was read and rejected.';
COMMENT ON COLUMN rejected_files.rejected_by IS 'The run that last read and rejected it, as a number of sync_runs.';

CREATE TABLE tombstones (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition      text NOT NULL,
    source_uuid     uuid NOT NULL,
    name            text NOT NULL,
    organisation_id bigint NOT NULL REFERENCES organisations ON DELETE CASCADE,
    group_key       text,
    uri             text,
    fingerprint     text,
    created         timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(group_key, uri) = 1),
    CHECK ((uri IS NULL) = (fingerprint IS NULL))
);
CREATE UNIQUE INDEX tombstones_group ON tombstones (definition, group_key) WHERE uri IS NULL;
CREATE UNIQUE INDEX tombstones_uri ON tombstones (definition, uri) WHERE uri IS NOT NULL;
CREATE INDEX tombstones_source ON tombstones (source_uuid);
CREATE INDEX tombstones_organisation ON tombstones (organisation_id);
COMMENT ON TABLE tombstones IS 'Raster sources and raster files that users deleted; a sync does not register them again.';
COMMENT ON COLUMN tombstones.id IS 'Internal number.';
COMMENT ON COLUMN tombstones.definition IS 'Id of the definition that would register it again.';
COMMENT ON COLUMN tombstones.source_uuid IS 'The raster source that was deleted, or that the file was part of.';
COMMENT ON COLUMN tombstones.name IS 'Name of that raster source.';
COMMENT ON COLUMN tombstones.organisation_id IS 'The owner of that raster source.';
COMMENT ON COLUMN tombstones.group_key IS 'The group of files that was deleted as a whole; null: one file was deleted.';
COMMENT ON COLUMN tombstones.uri IS 'URI of the file that was deleted; null: a group was deleted.';
COMMENT ON COLUMN tombstones.fingerprint IS 'Fingerprint of the deleted file; a file with another one is new data and is registered.';
COMMENT ON COLUMN tombstones.created IS 'When it was deleted.';

CREATE TABLE sync_runs (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition text NOT NULL,
    organisation_ids bigint[] NOT NULL DEFAULT '{}',
    flow_run   uuid,
    state      text NOT NULL DEFAULT 'running'
               CHECK (state IN ('running', 'completed', 'rejections', 'failed', 'overlapping')),
    started    timestamptz NOT NULL DEFAULT now(),
    finished   timestamptz,
    active     timestamptz NOT NULL DEFAULT now(),
    undone     timestamptz,
    listed     bigint NOT NULL DEFAULT 0 CHECK (listed >= 0),
    registered bigint NOT NULL DEFAULT 0 CHECK (registered >= 0),
    moved      bigint NOT NULL DEFAULT 0 CHECK (moved >= 0),
    unchanged  bigint NOT NULL DEFAULT 0 CHECK (unchanged >= 0),
    rejected   bigint NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    missing    bigint NOT NULL DEFAULT 0 CHECK (missing >= 0),
    withheld   bigint NOT NULL DEFAULT 0 CHECK (withheld >= 0),
    settling   bigint NOT NULL DEFAULT 0 CHECK (settling >= 0),
    reasons    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(reasons) = 'object'),
    warnings   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(warnings) = 'object'),
    bytes      bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    progress   double precision[] NOT NULL DEFAULT '{}',
    detail     text,
    seconds    double precision GENERATED ALWAYS AS (extract(epoch FROM finished - started)) STORED,
    files_per_second double precision
               GENERATED ALWAYS AS (listed / nullif(extract(epoch FROM finished - started), 0)) STORED,
    CHECK (finished >= started),
    CHECK ((state = 'running') = (finished IS NULL))
);
CREATE INDEX sync_runs_definition ON sync_runs (definition, started DESC);
CREATE INDEX sync_runs_started ON sync_runs (started DESC);
COMMENT ON TABLE sync_runs IS 'Runs of ingestion, each with its counts.';
COMMENT ON COLUMN sync_runs.id IS 'The number of the run, as commands print it.';
COMMENT ON COLUMN sync_runs.definition IS 'Id of the source definition, or "register".';
COMMENT ON COLUMN sync_runs.organisation_ids IS 'The organisations whose files it processed; no foreign key, because they may be deleted.';
COMMENT ON COLUMN sync_runs.flow_run IS 'Id of the run of Prefect that it was part of; null: Prefect did not run it.';
COMMENT ON COLUMN sync_runs.state IS 'running, completed, rejections (some files were rejected), failed, or overlapping (another run was running).';
COMMENT ON COLUMN sync_runs.started IS 'When the run began.';
COMMENT ON COLUMN sync_runs.finished IS 'When the run ended; null: it is running, or it was killed and no other run has recorded this yet.';
COMMENT ON COLUMN sync_runs.active IS 'When it last wrote a batch; a killed run ended then.';
COMMENT ON COLUMN sync_runs.undone IS 'When the run was undone; null: it was not undone.';
COMMENT ON COLUMN sync_runs.listed IS 'Number of files found.';
COMMENT ON COLUMN sync_runs.registered IS 'Number of files read and written.';
COMMENT ON COLUMN sync_runs.moved IS 'Number of registered files that were known at another URI.';
COMMENT ON COLUMN sync_runs.unchanged IS 'Number of files with a known fingerprint, which were not opened.';
COMMENT ON COLUMN sync_runs.rejected IS 'Number of files rejected.';
COMMENT ON COLUMN sync_runs.missing IS 'Number of known files that were not found; they are marked as missing or removed.';
COMMENT ON COLUMN sync_runs.withheld IS 'Number of files that users deleted from the catalogue, which were not registered again.';
COMMENT ON COLUMN sync_runs.settling IS 'Number of files that were too new to be read.';
COMMENT ON COLUMN sync_runs.reasons IS 'Reason code -> number of files rejected for it.';
COMMENT ON COLUMN sync_runs.warnings IS 'Warning code -> number of files that it registered with the warning.';
COMMENT ON COLUMN sync_runs.bytes IS 'Total size of the registered files in bytes.';
COMMENT ON COLUMN sync_runs.progress IS 'Seconds since the start, and files read until then, for at most 200 of its batches.';
COMMENT ON COLUMN sync_runs.detail IS 'The reason of a failure.';
COMMENT ON COLUMN sync_runs.seconds IS 'Duration of the run; null: it is running.';
COMMENT ON COLUMN sync_runs.files_per_second IS 'Number of files found per second.';

-- A run of a drop folder records each move before it begins, so that the next run can finish it.
CREATE TABLE moves (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition  text NOT NULL,
    uri         text NOT NULL,
    target      text NOT NULL UNIQUE,
    fingerprint text NOT NULL,
    sidecars    text[] NOT NULL DEFAULT '{}',
    UNIQUE (definition, uri),
    CHECK (uri <> target)
);
COMMENT ON TABLE moves IS 'Dropped files that are registered or rejected under the URI that they are being moved to. A row is deleted after the move.';
COMMENT ON COLUMN moves.id IS 'Internal number.';
COMMENT ON COLUMN moves.definition IS 'Id of the drop folder.';
COMMENT ON COLUMN moves.uri IS 'URI where the file was dropped.';
COMMENT ON COLUMN moves.target IS 'URI that it is being moved to, with its sidecars.';
COMMENT ON COLUMN moves.fingerprint IS 'Fingerprint when the file was read; a file with another one is not moved.';
COMMENT ON COLUMN moves.sidecars IS 'Names of its sidecars, percent-encoded.';

CREATE TABLE served_configs (
    path       text PRIMARY KEY CHECK (path LIKE '/%'),
    may_create boolean NOT NULL,
    served     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE served_configs IS 'The sources.toml files whose schedules an operator served or deployed; runs of deployments may read no others.';
COMMENT ON COLUMN served_configs.path IS 'Absolute path of the sources.toml.';
COMMENT ON COLUMN served_configs.may_create IS 'Whether its runs create missing organisations and suppliers (--create).';
COMMENT ON COLUMN served_configs.served IS 'When it was last served or deployed.';
