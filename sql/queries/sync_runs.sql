-- name: begin
INSERT INTO sync_runs (definition, flow_run) VALUES (:definition, :flow_run) RETURNING id;

-- name: mark_killed
UPDATE sync_runs SET state = 'failed', finished = active,
    detail = 'it was killed before it ended; the next run completed the work'
WHERE definition = :definition AND state = 'running' AND id < :id;

-- name: add_organisations
UPDATE sync_runs SET organisation_ids = ARRAY(SELECT DISTINCT unnest(organisation_ids || CAST(:ids AS bigint[])) ORDER BY 1)
WHERE id = :id;

-- name: advance
-- Adds the counts of a batch, in the transaction that writes it. When the progress has 200 points, every second one is
-- dropped.
UPDATE sync_runs SET active = clock_timestamp(), listed = listed + :files, registered = registered + :registered,
    rejected = rejected + :rejected, bytes = bytes + :bytes, progress = CASE
        WHEN cardinality(progress) < 400 THEN progress
        ELSE ARRAY(SELECT progress[place] FROM generate_subscripts(progress, 1) AS place
                   WHERE mod(place, 4) IN (0, 3) ORDER BY place)
    END || ARRAY[extract(epoch FROM clock_timestamp() - started)::double precision, listed + :files]
WHERE id = current_run();

-- name: finish
-- A run of a definition that ended before its organisation was found gets the organisations of the previous run. A run
-- that failed keeps the counts of its batches, because Ctrl-C can stop the program before it counts the last one.
UPDATE sync_runs SET organisation_ids = CASE
        WHEN organisation_ids <> '{}' OR definition = :by_hand THEN organisation_ids
        ELSE coalesce((SELECT last.organisation_ids FROM sync_runs AS last
                       WHERE last.definition = sync_runs.definition AND last.id < :id
                       ORDER BY last.started DESC LIMIT 1), '{}')
    END,
    state = :state, detail = :detail, finished = clock_timestamp(),
    listed = greatest(:listed, CASE WHEN :state = 'failed' THEN listed END),
    registered = greatest(:registered, CASE WHEN :state = 'failed' THEN registered END),
    rejected = greatest(:rejected, CASE WHEN :state = 'failed' THEN rejected END),
    bytes = greatest(:bytes, CASE WHEN :state = 'failed' THEN bytes END),
    moved = :moved, unchanged = :unchanged, missing = :missing, withheld = :withheld, settling = :settling,
    reasons = :reasons, warnings = :warnings
WHERE id = :id;

-- name: list_runs
-- The last runs; a null leaves the condition out.
SELECT id AS run, definition, started, CASE WHEN undone IS NULL THEN state ELSE 'undone' END AS state,
       round(seconds::numeric, 1)::double precision AS seconds, listed AS files, registered, rejected, detail
FROM sync_runs
WHERE CAST(:definition AS text) IS NULL OR definition = :definition
ORDER BY id DESC LIMIT :most;

-- name: count_files
SELECT count(*) AS files FROM raster_files WHERE registered_by = :run;

-- name: forget_old
DELETE FROM sync_runs WHERE started < now() - :days * interval '1 day' AND state <> 'running';
