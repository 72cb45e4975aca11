-- Plan and sync: which run registered a file, what people deleted on purpose, where definitions stand, what runs did.

-- Definitions --------------------------------------------------------------------------------------------------

CREATE TABLE definitions (
    id     text PRIMARY KEY,
    config text NOT NULL,
    synced timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE definitions IS 'The source definitions that were synced, and where they stood; those that left their file are orphaned.';
COMMENT ON COLUMN definitions.id IS 'The id in sources.toml.';
COMMENT ON COLUMN definitions.config IS 'Absolute path of the sources.toml of the last sync.';
COMMENT ON COLUMN definitions.synced IS 'When it was last synced.';

-- A file is known by the definition that brought it, also in a source of another definition or of none.
ALTER TABLE raster_files ADD COLUMN definition text;
COMMENT ON COLUMN raster_files.definition IS 'Id of the definition that registered it; null for files that clients sent.';
UPDATE raster_files AS file SET definition = source.definition
FROM raster_sources AS source WHERE source.id = file.source_id AND file.reading_hash IS NOT NULL;
CREATE UNIQUE INDEX raster_files_definition ON raster_files (definition, uri) WHERE definition IS NOT NULL;

-- Deleted on purpose -------------------------------------------------------------------------------------------

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

-- Refused ------------------------------------------------------------------------------------------------------

ALTER TABLE rejected_files ADD COLUMN reading_hash text, ADD COLUMN group_key text, ADD COLUMN grid text;
COMMENT ON COLUMN rejected_files.reading_hash IS 'Hash of what the definition said about reading when it was refused; another one means that it is read again.';
COMMENT ON COLUMN rejected_files.group_key IS 'Which group of files it would belong to; null when that is not known.';
COMMENT ON COLUMN rejected_files.grid IS 'Its projection, pixel size and dtype as grid_class gives them, when these kept it out of its source.';

-- Files of one class fit each other. Pixel sizes count to six digits, a little less than what fits.
CREATE FUNCTION grid_class(projection text, wkt text, pixelsize_x double precision, pixelsize_y double precision, dtype text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT concat_ws(' ', coalesce(projection, md5(wkt)), to_char(pixelsize_x, '9.99999EEEE'), to_char(pixelsize_y, '9.99999EEEE'), dtype)
$$;
COMMENT ON FUNCTION grid_class IS 'Projection, pixel size and dtype as one text: files of one raster source agree in it.';

-- Runs ---------------------------------------------------------------------------------------------------------

ALTER TABLE sync_runs
    ADD COLUMN moved bigint NOT NULL DEFAULT 0 CHECK (moved >= 0),
    ADD COLUMN missing bigint NOT NULL DEFAULT 0 CHECK (missing >= 0),
    ADD COLUMN withheld bigint NOT NULL DEFAULT 0 CHECK (withheld >= 0),
    ADD COLUMN settling bigint NOT NULL DEFAULT 0 CHECK (settling >= 0),
    ADD COLUMN reasons jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(reasons) = 'object'),
    ADD COLUMN seconds double precision GENERATED ALWAYS AS (extract(epoch FROM finished - started)) STORED,
    ADD COLUMN files_per_second double precision
        GENERATED ALWAYS AS (listed / nullif(extract(epoch FROM finished - started), 0)) STORED,
    DROP CONSTRAINT sync_runs_state_check,
    ADD CONSTRAINT sync_runs_state_check CHECK (state IN ('running', 'completed', 'rejections', 'failed', 'overlapping'));
CREATE INDEX sync_runs_definition ON sync_runs (definition, started DESC);
COMMENT ON COLUMN sync_runs.state IS 'running, completed, rejections (some files were refused), failed, or overlapping (another run was at work).';
COMMENT ON COLUMN sync_runs.moved IS 'Of the registered files, those that were known at another URI.';
COMMENT ON COLUMN sync_runs.missing IS 'Files that were known and not found, now marked as missing or removed.';
COMMENT ON COLUMN sync_runs.withheld IS 'Files that people deleted from the catalogue, which were not brought back.';
COMMENT ON COLUMN sync_runs.settling IS 'Files that were too young to be read.';
COMMENT ON COLUMN sync_runs.seconds IS 'How long it took; null while it runs.';
COMMENT ON COLUMN sync_runs.files_per_second IS 'Files found, by the time that it took.';
COMMENT ON COLUMN sync_runs.reasons IS 'Reason code -> how many files were refused for it.';

-- Derivation ---------------------------------------------------------------------------------------------------

-- As before, but the first file of a source is the first by URI, not the first that came: so the derived fields follow
-- from the files alone, whatever the order in which they were registered.
CREATE OR REPLACE FUNCTION derive_sources(source_ids bigint[]) RETURNS SETOF bigint LANGUAGE sql AS $$
    WITH steps AS (
        SELECT source_id, step, step - lag(step) OVER (PARTITION BY source_id ORDER BY step) AS gap
        FROM (SELECT DISTINCT source_id, unnest(times) AS step FROM raster_files WHERE source_id = ANY (source_ids)) AS distinct_steps
    ), temporal_extent AS (
        SELECT source_id, min(step) AS first, max(step) AS last,
               CASE WHEN count(*) >= 3 AND min(gap) = max(gap) THEN min(gap) END AS equidistant,
               array_agg(DISTINCT extract(epoch FROM gap)) FILTER (WHERE gap IS NOT NULL) AS gaps
        FROM steps GROUP BY source_id
    ), files AS (
        SELECT source_id, count(*)::integer AS file_count, sum(size)::bigint AS size,
               array_agg(raster_files.west) AS wests, array_agg(raster_files.east) AS easts,
               min(south) AS south, max(north) AS north,
               min(origin_x) AS origin_x, min(origin_y) AS origin_y,
               max(upper_bound_x) AS upper_bound_x, max(upper_bound_y) AS upper_bound_y,
               min(uri COLLATE "C") AS first_uri,
               count(DISTINCT coalesce(fill_value, '')) > 1 AS nodata_differs
        FROM raster_files WHERE source_id = ANY (source_ids) GROUP BY source_id
    ), derived AS (
        SELECT source.id, coalesce(files.file_count, 0) AS file_count,
               coalesce(source.declared_interval, temporal_extent.equidistant) AS "interval",
               CASE WHEN temporal_extent.first IS NOT NULL THEN temporal_extent.first
                    WHEN files.file_count > 0 AND NOT source.temporal THEN timestamptz 'epoch' END AS first_value_timestamp,
               CASE WHEN temporal_extent.last IS NOT NULL THEN temporal_extent.last
                    WHEN files.file_count > 0 AND NOT source.temporal THEN timestamptz 'epoch' END AS last_value_timestamp,
               longitudes.west, files.south, longitudes.east, files.north,
               system.projection, files.origin_x, files.origin_y, files.upper_bound_x, files.upper_bound_y,
               first_file.pixelsize_x, first_file.pixelsize_y, files.size, first_file.dtype, first_file.fill_value,
               CASE WHEN files.nodata_differs THEN jsonb_build_array(jsonb_build_object(
                   'code', 'nodata_differs', 'message', 'The files of this source declare different nodata values; that of the first by name is shown.'))
                   ELSE '[]' END
               || CASE WHEN EXISTS (
                   SELECT FROM unnest(temporal_extent.gaps) AS gap
                   WHERE mod(gap, extract(epoch FROM source.declared_interval)) <> 0
               ) THEN jsonb_build_array(jsonb_build_object(
                   'code', 'interval_contradicted', 'message', 'The times of the files are no multiples of the declared interval apart.'))
                   ELSE '[]' END AS notices
        FROM raster_sources AS source
        LEFT JOIN files ON files.source_id = source.id
        LEFT JOIN temporal_extent ON temporal_extent.source_id = source.id
        LEFT JOIN raster_files AS first_file ON first_file.source_id = files.source_id AND first_file.uri = files.first_uri
        LEFT JOIN coordinate_systems AS system ON system.id = first_file.coordinate_system_id
        LEFT JOIN LATERAL union_longitudes(files.wests, files.easts) AS longitudes ON true
        WHERE source.id = ANY (source_ids)
    )
    UPDATE raster_sources AS source
    SET (file_count, "interval", first_value_timestamp, last_value_timestamp, west, south, east, north, projection,
         origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype, fill_value, notices)
      = (derived.file_count, derived."interval", derived.first_value_timestamp, derived.last_value_timestamp,
         derived.west, derived.south, derived.east, derived.north, derived.projection,
         derived.origin_x, derived.origin_y, derived.upper_bound_x, derived.upper_bound_y,
         derived.pixelsize_x, derived.pixelsize_y, derived.size, derived.dtype, derived.fill_value, derived.notices)
    FROM derived
    WHERE source.id = derived.id
      AND (source.file_count, source."interval", source.first_value_timestamp, source.last_value_timestamp,
           source.west, source.south, source.east, source.north, source.projection,
           source.origin_x, source.origin_y, source.upper_bound_x, source.upper_bound_y,
           source.pixelsize_x, source.pixelsize_y, source.size, source.dtype, source.fill_value, source.notices)
          IS DISTINCT FROM
          (derived.file_count, derived."interval", derived.first_value_timestamp, derived.last_value_timestamp,
           derived.west, derived.south, derived.east, derived.north, derived.projection,
           derived.origin_x, derived.origin_y, derived.upper_bound_x, derived.upper_bound_y,
           derived.pixelsize_x, derived.pixelsize_y, derived.size, derived.dtype, derived.fill_value, derived.notices)
    RETURNING source.id
$$;
