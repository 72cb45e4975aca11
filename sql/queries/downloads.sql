-- name: create
WITH task AS (
    INSERT INTO tasks DEFAULT VALUES RETURNING id, uuid
), file AS (
    INSERT INTO upload_files (uri, receiver) VALUES (:uri, :receiver)
), download AS (
    INSERT INTO downloads (task_id, uri, filename) SELECT id, :uri, :filename FROM task
)
SELECT uuid FROM task;

-- name: start
UPDATE tasks SET status = 'STARTED', updated = now()
WHERE id = (SELECT task_id FROM downloads WHERE uri = :uri) AND status = 'PENDING';

-- name: finish
-- Returns no row if the file was abandoned in the meantime.
WITH written AS (
    UPDATE upload_files SET receiver = NULL, reserved = 0, changed = now()
    WHERE uri = :uri AND receiver = :receiver RETURNING uri
), download AS (
    UPDATE downloads SET expires = now() + :seconds * interval '1 second'
    WHERE uri IN (SELECT uri FROM written) RETURNING task_id, uuid
)
UPDATE tasks SET status = 'SUCCESS', result = 'downloads/' || download.uuid, updated = now()
FROM download WHERE tasks.id = download.task_id RETURNING tasks.id;

-- name: fail
-- The file is no longer being written, and is not needed.
WITH written AS (
    UPDATE upload_files SET receiver = NULL, reserved = 0, changed = now()
    WHERE uri = :uri AND receiver = :receiver RETURNING uri
), download AS (
    DELETE FROM downloads WHERE uri IN (SELECT uri FROM written) RETURNING task_id
)
UPDATE tasks SET status = 'FAILURE', detail = :detail, updated = now()
FROM download WHERE tasks.id = download.task_id;

-- name: sweep
-- Marks the tasks of files as failed if their server has stopped, and deletes the rows of expired files.
WITH ended AS (
    DELETE FROM downloads AS download
    WHERE download.expires <= now()
       OR (download.expires IS NULL
           AND NOT EXISTS (SELECT FROM upload_files AS file WHERE file.uri = download.uri AND file.receiver IS NOT NULL))
    RETURNING task_id
)
UPDATE tasks SET status = 'FAILURE', detail = 'The server stopped while it wrote the file; ask again.', updated = now()
FROM ended WHERE tasks.id = ended.task_id AND tasks.status IN ('PENDING', 'STARTED');

-- name: find
SELECT uri, filename FROM downloads WHERE uuid = :uuid AND expires > now();
