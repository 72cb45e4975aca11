-- name: list_definitions
-- The definitions of the runs that the caller may see, each with its last run. A loop over the index finds the ids,
-- because each may have many runs.
WITH RECURSIVE known AS (
    (SELECT definition AS id FROM sync_runs ORDER BY definition LIMIT 1)
    UNION ALL
    SELECT (SELECT definition FROM sync_runs WHERE definition > known.id ORDER BY definition LIMIT 1)
    FROM known WHERE known.id IS NOT NULL
)
SELECT known.id, last.*,
       (SELECT count(*) FROM rejected_files WHERE rejected_files.definition = known.id
        AND organisation_id = ANY (CAST(:reads AS bigint[]))) AS rejected_now
FROM known CROSS JOIN LATERAL (
    SELECT run.id AS run, run.state, run.started, run.finished, run.seconds, run.listed, run.registered, run.rejected
    FROM sync_runs AS run
    WHERE run.definition = known.id AND run.organisation_ids && CAST(:reads AS bigint[])
    ORDER BY run.started DESC LIMIT 1
) AS last
ORDER BY known.id;

-- name: list_runs
-- A page of runs, the newest first; a null leaves a condition out.
SELECT id, definition, state, started, finished, seconds, files_per_second, listed, registered, rejected, missing,
       bytes, undone
FROM sync_runs
WHERE organisation_ids && CAST(:reads AS bigint[]) AND (CAST(:before AS integer) IS NULL OR id < :before)
  AND (CAST(:definition AS text) IS NULL OR definition = :definition)
  AND (CAST(:state AS text) IS NULL OR state = :state)
ORDER BY id DESC LIMIT :most;

-- name: get_run
-- One run; `full_detail` is whether the caller may see paths.
SELECT *, organisation_ids && CAST(:writes AS bigint[]) AS full_detail, CASE WHEN finished IS NULL THEN
       extract(epoch FROM clock_timestamp() - started)::double precision ELSE seconds END AS elapsed
FROM sync_runs WHERE id = :run AND organisation_ids && CAST(:reads AS bigint[]);

-- name: list_last_speeds
-- Files per second of the last runs of a definition before this one, the oldest first.
SELECT id, files_per_second, listed, seconds, state FROM (
    SELECT * FROM sync_runs
    WHERE definition = :definition AND id <= :run AND finished IS NOT NULL AND organisation_ids && CAST(:reads AS bigint[])
    ORDER BY started DESC LIMIT 30
) AS last ORDER BY started;

-- name: count_rejected
-- Rejected files by reason; a null leaves a condition out.
SELECT code, count(*) AS files, count(*) FILTER (WHERE organisation_id = ANY (CAST(:writes AS bigint[]))) AS own,
       count(*) FILTER (WHERE fingerprint IS NULL) AS waiting, max(last_seen) AS last_seen
FROM rejected_files
WHERE organisation_id = ANY (CAST(:reads AS bigint[]))
  AND (CAST(:code AS text) IS NULL OR code = :code)
  AND (CAST(:definition AS text) IS NULL OR definition = :definition)
  AND (CAST(:run AS integer) IS NULL OR rejected_by = :run)
GROUP BY code ORDER BY count(*) DESC, code;

-- name: list_rejected
-- The latest rejected files of each reason.
SELECT id, code, definition, message, full_uri, uri, name, first_seen, last_seen, attempts, rejected_by, waiting FROM (
    SELECT id, code, definition, message, uri AS full_uri, first_seen, last_seen, attempts, rejected_by,
           CASE WHEN organisation_id = ANY (CAST(:writes AS bigint[])) THEN uri END AS uri, file_name(uri) AS name,
           fingerprint IS NULL AS waiting, row_number() OVER (PARTITION BY code ORDER BY last_seen DESC, id DESC) AS place
    FROM rejected_files
    WHERE organisation_id = ANY (CAST(:reads AS bigint[]))
      AND (CAST(:code AS text) IS NULL OR code = :code)
      AND (CAST(:definition AS text) IS NULL OR definition = :definition)
      AND (CAST(:run AS integer) IS NULL OR rejected_by = :run)
) AS ranked WHERE place <= :most ORDER BY place;

-- name: retry
-- Does the same as rejected_files.retry, for files that the caller may write.
UPDATE rejected_files SET fingerprint = NULL
WHERE organisation_id = ANY (CAST(:writes AS bigint[]))
  AND (CAST(:id AS bigint) IS NULL OR id = :id)
  AND (CAST(:code AS text) IS NULL OR code = :code)
  AND (CAST(:definition AS text) IS NULL OR definition = :definition)
  AND (CAST(:run AS integer) IS NULL OR rejected_by = :run)
RETURNING id;
