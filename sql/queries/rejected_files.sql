-- name: list
-- A null leaves a condition out.
SELECT rejected.id, rejected.uri, rejected.definition, organisation.name AS organisation, rejected.code,
       rejected.message, rejected.fingerprint, rejected.first_seen, rejected.last_seen, rejected.attempts
FROM rejected_files AS rejected
LEFT JOIN organisations AS organisation ON organisation.id = rejected.organisation_id
WHERE (CAST(:code AS text) IS NULL OR rejected.code = :code)
  AND (CAST(:definition AS text) IS NULL OR rejected.definition = :definition)
ORDER BY rejected.definition, rejected.uri COLLATE "C";

-- name: retry
-- Runs leave out files whose fingerprint is that of their rejection, so a rejection without one is read again.
UPDATE rejected_files SET fingerprint = NULL
WHERE (CAST(:code AS text) IS NULL OR code = :code)
  AND (CAST(:definition AS text) IS NULL OR definition = :definition)
  AND (CAST(:uris AS text[]) IS NULL OR uri = ANY (:uris) OR id = ANY (:ids))
RETURNING id, uri;
