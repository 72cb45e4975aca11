-- name: set_run
SELECT set_config('rastersources.run', :run, false);

-- name: create_listed
CREATE TEMPORARY TABLE listed (
    position bigint GENERATED ALWAYS AS IDENTITY, uri text, size bigint, fingerprint text, modified_ns bigint,
    sidecars text[], stated jsonb
);

-- name: copy_listed
COPY listed (uri, size, fingerprint, modified_ns, sidecars, stated) FROM STDIN;

-- name: index_listed
ALTER TABLE listed ADD PRIMARY KEY (uri);

-- name: analyze_listed
ANALYZE listed;

-- name: any_outdated
SELECT EXISTS (
    SELECT FROM raster_sources WHERE definition = :definition AND definition_hash IS DISTINCT FROM :hash);

-- name: compare
-- All files except the unchanged ones: registered with this fingerprint and these reading rules, in a source that has
-- the present fields of its definition.
CREATE TEMPORARY TABLE changed AS
SELECT listed.*, NULL::text AS moved_from, rejected.code, rejected.message, CASE
    WHEN file.fingerprint = listed.fingerprint AND file.reading_hash = :reading_hash AND file.state = 'present'
        THEN 'outdated'
    WHEN rejected.fingerprint = listed.fingerprint AND rejected.reading_hash = :reading_hash
        AND rejected.code <> ALL (:unseen) THEN 'rejected'
    WHEN tombstone.uri IS NOT NULL THEN 'withheld'
    WHEN abs(:now - listed.modified_ns) <= :settle THEN 'settling' -- clocks differ
    WHEN file.uri IS NOT NULL THEN 'update'
    ELSE 'add'
END AS verdict
FROM listed
LEFT JOIN raster_files AS file ON file.definition = :definition AND file.uri = listed.uri
LEFT JOIN rejected_files AS rejected ON rejected.definition = :definition AND rejected.uri = listed.uri
LEFT JOIN tombstones AS tombstone ON tombstone.definition = :definition AND tombstone.uri = listed.uri
    AND tombstone.fingerprint = listed.fingerprint
WHERE (file.fingerprint = listed.fingerprint AND file.reading_hash = :reading_hash AND file.state = 'present')
    IS NOT TRUE
OR (:outdated AND EXISTS (
    SELECT FROM raster_sources AS source WHERE source.id = file.source_id AND source.definition = :definition
    AND source.definition_hash IS DISTINCT FROM :hash));

-- name: index_changed
ALTER TABLE changed ADD PRIMARY KEY (position);

-- name: find_absent
-- Files below a folder that could not be listed do not count as absent.
CREATE TEMPORARY TABLE absent AS
SELECT known.uri, known.fingerprint, known.state FROM raster_files AS known
WHERE :complete AND known.definition = :definition
  AND NOT EXISTS (SELECT FROM listed WHERE listed.uri = known.uri)
  AND NOT EXISTS (SELECT FROM unnest(CAST(:unlisted AS text[])) AS unlisted (uri)
                  WHERE known.uri = unlisted.uri OR starts_with(known.uri, rtrim(unlisted.uri, '/') || '/'));

-- name: find_cleared
-- Rejections of files that no longer exist, or that could not be read and again equal the registered files.
CREATE TEMPORARY TABLE cleared AS
SELECT known.id FROM rejected_files AS known WHERE known.definition = :definition AND (
    NOT EXISTS (SELECT FROM listed WHERE listed.uri = known.uri)
    AND NOT EXISTS (SELECT FROM unnest(CAST(:unlisted AS text[])) AS unlisted (uri)
                    WHERE known.uri = unlisted.uri OR starts_with(known.uri, rtrim(unlisted.uri, '/') || '/'))
    OR EXISTS (
        SELECT FROM listed JOIN raster_files AS file USING (uri, fingerprint)
        WHERE file.definition = :definition AND file.uri = known.uri AND file.state = 'present'
        AND file.reading_hash = :reading_hash));

-- name: find_moved
-- New files with the fingerprint of exactly one file that was present at the last run and is absent now. A fingerprint
-- that two new files share does not count.
WITH gone AS (
    SELECT fingerprint, min(uri) AS uri FROM absent GROUP BY fingerprint
    HAVING count(*) = 1 AND min(state) = 'present'
), new AS (
    SELECT fingerprint, min(position) AS position FROM changed WHERE verdict = 'add'
    GROUP BY fingerprint HAVING count(*) = 1
), moved AS (
    UPDATE changed SET verdict = 'moved', moved_from = gone.uri
    FROM gone JOIN new USING (fingerprint) WHERE changed.position = new.position
    RETURNING gone.uri
)
DELETE FROM absent USING moved WHERE absent.uri = moved.uri;

-- name: get_moved
SELECT position, moved_from, uri FROM changed WHERE verdict = 'moved';

-- name: split_moves
-- Turns moves back into an added and a missing file.
WITH split AS (
    INSERT INTO absent
    SELECT known.uri, known.fingerprint, known.state FROM changed
    JOIN raster_files AS known ON known.definition = :definition AND known.uri = changed.moved_from
    WHERE changed.position = ANY (:positions)
)
UPDATE changed SET verdict = 'add', moved_from = NULL WHERE position = ANY (:positions);

-- name: add_left_behind
-- A moved file that was read and rejected, or withheld, at its new URI is missing at the old one. If it could not be
-- read, the next run finds the move again.
INSERT INTO absent
SELECT known.uri, known.fingerprint, known.state FROM changed
JOIN raster_files AS known ON known.definition = :definition AND known.uri = changed.moved_from
WHERE changed.verdict = 'moved' AND NOT EXISTS (
    SELECT FROM rejected_files AS rejected WHERE rejected.definition = :definition AND rejected.uri = changed.uri
    AND rejected.code = ANY (:unseen));

-- name: get_batch
SELECT verdict, moved_from, code, message, position, uri, size, fingerprint, modified_ns, sidecars, stated
FROM changed WHERE position > :position AND verdict = ANY (:verdicts) ORDER BY position LIMIT :size;

-- name: count_verdicts
SELECT verdict, count(*) AS files FROM changed GROUP BY verdict;

-- name: count_missing
-- The files that were present at the last run, and those of them that are absent.
SELECT (SELECT count(*) FROM raster_files WHERE definition = :definition AND state = 'present'),
       (SELECT count(*) FROM absent WHERE state = 'present');

-- name: get_absent
SELECT uri FROM absent WHERE :marked OR state = 'present' ORDER BY uri COLLATE "C";

-- name: get_replaced
SELECT uri FROM raster_files WHERE definition = :definition AND uri = ANY (:uris);

-- name: count_cleared
SELECT count(*) FROM cleared;

-- name: touch_rejections
UPDATE rejected_files AS rejected
SET last_seen = now(), organisation_id = coalesce(:organisation_id, rejected.organisation_id) FROM changed
WHERE rejected.definition = :definition AND rejected.uri = changed.uri AND changed.verdict = 'rejected';

-- name: delete_cleared
DELETE FROM rejected_files USING cleared WHERE rejected_files.id = cleared.id;

-- name: lock
SELECT pg_try_advisory_lock(hashtextextended(:definition, 0));

-- name: share_lock
SELECT pg_advisory_lock_shared(hashtextextended(:definition, 0));

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended(:definition, 0));

-- name: unlock_all
SELECT pg_advisory_unlock_all();

-- name: holds_lock
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
