-- Ingestion: definitions, files that were not registered, what people deleted, runs, drop folders.

CREATE TABLE definitions (
    id     text PRIMARY KEY,
    config text NOT NULL,
    uuid   uuid,
    synced timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE definitions IS 'The source definitions that were synced, and where they stood; those that left their file are orphaned.';
COMMENT ON COLUMN definitions.id IS 'The id in sources.toml.';
COMMENT ON COLUMN definitions.config IS 'Absolute path of the sources.toml of the last sync.';
COMMENT ON COLUMN definitions.uuid IS 'The raster source that it names by its uuid, and which is not removed with it; null when it names none.';
COMMENT ON COLUMN definitions.synced IS 'When the last sync of it began to bring files in.';

-- Files that a run could not register.
CREATE TABLE rejected_files (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition      text NOT NULL,
    uri             text NOT NULL,
    organisation_id bigint REFERENCES organisations ON DELETE CASCADE,
    fingerprint     text,
    reading_hash    text,
    group_key       text,
    grid            text,
    code            text NOT NULL,
    message         text NOT NULL,
    first_seen      timestamptz NOT NULL DEFAULT now(),
    last_seen       timestamptz NOT NULL DEFAULT now(),
    attempts        integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
    UNIQUE (definition, uri)
);
CREATE INDEX rejected_files_organisation ON rejected_files (organisation_id, id);
COMMENT ON TABLE rejected_files IS 'Files that a run could not register, kept with the reason until they are mended or gone.';
COMMENT ON COLUMN rejected_files.id IS 'Internal number.';
COMMENT ON COLUMN rejected_files.definition IS 'Id of the source definition whose run refused it.';
COMMENT ON COLUMN rejected_files.uri IS 'Where the file is.';
COMMENT ON COLUMN rejected_files.organisation_id IS 'Whose run refused it.';
COMMENT ON COLUMN rejected_files.fingerprint IS 'As it was when refused; read again only when it changed. Null when the file could not be looked at.';
COMMENT ON COLUMN rejected_files.reading_hash IS 'Hash of what the definition said about reading when it was refused; another one means that it is read again.';
COMMENT ON COLUMN rejected_files.group_key IS 'Which group of files it would belong to; null when that is not known.';
COMMENT ON COLUMN rejected_files.grid IS 'Its projection, pixel size and dtype as grid_class gives them, when these kept it out of its source.';
COMMENT ON COLUMN rejected_files.code IS 'Stable reason code, such as missing_crs.';
COMMENT ON COLUMN rejected_files.message IS 'One sentence that says what to do.';
COMMENT ON COLUMN rejected_files.first_seen IS 'When it was refused for the first time.';
COMMENT ON COLUMN rejected_files.last_seen IS 'When it was refused for the last time.';
COMMENT ON COLUMN rejected_files.attempts IS 'How often it was read and refused.';

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
COMMENT ON TABLE tombstones IS 'Raster sources and raster files that people deleted, which the next sync does not bring back.';
COMMENT ON COLUMN tombstones.id IS 'Internal number.';
COMMENT ON COLUMN tombstones.definition IS 'Id of the definition that would bring it back.';
COMMENT ON COLUMN tombstones.source_uuid IS 'The raster source that was deleted, or that the file was part of.';
COMMENT ON COLUMN tombstones.name IS 'Name of that raster source.';
COMMENT ON COLUMN tombstones.organisation_id IS 'The owner of that raster source.';
COMMENT ON COLUMN tombstones.group_key IS 'Which group of files of the definition was deleted as a whole; null for one file.';
COMMENT ON COLUMN tombstones.uri IS 'The file that was deleted; null for a whole group.';
COMMENT ON COLUMN tombstones.fingerprint IS 'The file as it was: another one is new data, and comes in.';
COMMENT ON COLUMN tombstones.created IS 'When it was deleted.';

-- What each run did.
CREATE TABLE sync_runs (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid       uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    definition text,
    state      text NOT NULL DEFAULT 'running'
               CHECK (state IN ('running', 'completed', 'rejections', 'failed', 'overlapping')),
    started    timestamptz NOT NULL DEFAULT now(),
    finished   timestamptz,
    listed     bigint NOT NULL DEFAULT 0 CHECK (listed >= 0),
    registered bigint NOT NULL DEFAULT 0 CHECK (registered >= 0),
    moved      bigint NOT NULL DEFAULT 0 CHECK (moved >= 0),
    unchanged  bigint NOT NULL DEFAULT 0 CHECK (unchanged >= 0),
    rejected   bigint NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    missing    bigint NOT NULL DEFAULT 0 CHECK (missing >= 0),
    withheld   bigint NOT NULL DEFAULT 0 CHECK (withheld >= 0),
    settling   bigint NOT NULL DEFAULT 0 CHECK (settling >= 0),
    reasons    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(reasons) = 'object'),
    bytes      bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    detail     text,
    seconds    double precision GENERATED ALWAYS AS (extract(epoch FROM finished - started)) STORED,
    files_per_second double precision
               GENERATED ALWAYS AS (listed / nullif(extract(epoch FROM finished - started), 0)) STORED,
    CHECK (finished >= started),
    CHECK ((state = 'running') = (finished IS NULL))
);
CREATE INDEX sync_runs_definition ON sync_runs (definition, started DESC);
CREATE INDEX sync_runs_started ON sync_runs (started DESC);
COMMENT ON TABLE sync_runs IS 'What each ingestion run did.';
COMMENT ON COLUMN sync_runs.id IS 'Internal number.';
COMMENT ON COLUMN sync_runs.uuid IS 'Public identity.';
COMMENT ON COLUMN sync_runs.definition IS 'Id of the source definition; null when the run had several.';
COMMENT ON COLUMN sync_runs.state IS 'running, completed, rejections (some files were refused), failed, or overlapping (another run was at work).';
COMMENT ON COLUMN sync_runs.started IS 'When the run began.';
COMMENT ON COLUMN sync_runs.finished IS 'When the run ended; null while it runs, or when it was killed.';
COMMENT ON COLUMN sync_runs.listed IS 'Files found.';
COMMENT ON COLUMN sync_runs.registered IS 'Files read and written.';
COMMENT ON COLUMN sync_runs.moved IS 'Of the registered files, those that were known at another URI.';
COMMENT ON COLUMN sync_runs.unchanged IS 'Files whose fingerprint was known, which were not opened.';
COMMENT ON COLUMN sync_runs.rejected IS 'Files refused.';
COMMENT ON COLUMN sync_runs.missing IS 'Files that were known and not found, now marked as missing or removed.';
COMMENT ON COLUMN sync_runs.withheld IS 'Files that people deleted from the catalogue, which were not brought back.';
COMMENT ON COLUMN sync_runs.settling IS 'Files that were too young to be read.';
COMMENT ON COLUMN sync_runs.reasons IS 'Reason code -> how many files were refused for it.';
COMMENT ON COLUMN sync_runs.bytes IS 'Size of the registered files together.';
COMMENT ON COLUMN sync_runs.detail IS 'Why it failed.';
COMMENT ON COLUMN sync_runs.seconds IS 'How long it took; null while it runs.';
COMMENT ON COLUMN sync_runs.files_per_second IS 'Files found, by the time that it took.';

-- Drop folders: what a run wrote down that it is going to move, so that the next one can finish it.
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
COMMENT ON TABLE moves IS 'Dropped files whose outcome is recorded under the place that they are being moved to; a row goes when its file is there.';
COMMENT ON COLUMN moves.id IS 'Internal number.';
COMMENT ON COLUMN moves.definition IS 'Id of the drop folder.';
COMMENT ON COLUMN moves.uri IS 'Where the file was dropped.';
COMMENT ON COLUMN moves.target IS 'Where it is being moved to, with its sidecars beside it.';
COMMENT ON COLUMN moves.fingerprint IS 'The file as it was read; another one in its place is not moved.';
COMMENT ON COLUMN moves.sidecars IS 'Names of its sidecars, percent-encoded.';

-- The sources.toml files whose schedules an operator serves: a run of a deployment may name no other file.
CREATE TABLE served_configs (
    path       text PRIMARY KEY CHECK (path LIKE '/%'),
    may_create boolean NOT NULL,
    served     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE served_configs IS 'The sources.toml files whose schedules an operator serves or deployed; the runs of deployments may read no other.';
COMMENT ON COLUMN served_configs.path IS 'Absolute path of the sources.toml.';
COMMENT ON COLUMN served_configs.may_create IS 'Whether its runs add organisations and suppliers that are not there yet (--create).';
COMMENT ON COLUMN served_configs.served IS 'When it was last served or deployed.';
