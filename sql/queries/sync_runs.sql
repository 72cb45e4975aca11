-- name: begin
INSERT INTO sync_runs (definition) VALUES (:definition) RETURNING id;

-- name: mark_killed
UPDATE sync_runs SET state = 'failed', finished = clock_timestamp(),
    detail = 'it was killed before it ended; the next run completed the work'
WHERE definition = :definition AND state = 'running' AND id < :id;

-- name: finish
UPDATE sync_runs SET state = :state, detail = :detail, finished = clock_timestamp(), listed = :listed,
    registered = :registered, moved = :moved, unchanged = :unchanged, rejected = :rejected, missing = :missing,
    withheld = :withheld, settling = :settling, reasons = :reasons, bytes = :bytes
WHERE id = :id;
