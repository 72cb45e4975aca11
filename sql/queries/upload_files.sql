-- name: hold_receiver
-- The settings stop the database from ending the idle transaction, and let it notice a server that has stopped.
SELECT set_config('idle_in_transaction_session_timeout', '0', true),
       set_config('tcp_keepalives_idle', '30', true), set_config('tcp_keepalives_interval', '10', true),
       pg_advisory_xact_lock_shared(:lock, :receiver);

-- name: select_unneeded
-- Recorded files that belong to no raster source, open upload or download, and that no server is receiving.
SELECT uri FROM upload_files AS kept
WHERE receiver IS NULL AND (CAST(:uris AS text[]) IS NULL OR uri = ANY (CAST(:uris AS text[])))
  AND NOT EXISTS (SELECT FROM raster_files AS file WHERE file.uri = kept.uri)
  AND NOT EXISTS (SELECT FROM downloads AS download WHERE download.uri = kept.uri AND download.expires > now())
  AND NOT EXISTS (SELECT FROM uploads AS upload WHERE upload.uri = kept.uri AND upload.state = ANY (:open_states));

-- name: limit_lock_wait
-- The longest time that statements of the transaction wait for a lock.
SELECT set_config('lock_timeout', :limit, true);

-- name: lock_source
-- Locks a raster source so that it cannot be deleted until the transaction ends; no row if it does not exist.
SELECT id FROM raster_sources WHERE id = :source FOR KEY SHARE;

-- name: lock_file
-- The row of a file that a server receives; no row if it was abandoned.
SELECT uri FROM upload_files WHERE uri = :uri AND receiver = :receiver FOR UPDATE;

-- name: lock_reservations
-- Waits until no other reservation is being made, and blocks others until the transaction ends. It must be the last lock
-- that a transaction takes: a transaction that waits for a row while holding it stops all uploads. Number 0 is not the
-- number of a server.
SELECT pg_advisory_xact_lock(:lock, 0);

-- name: begin_receiving
-- Records a file before it is written, and reserves bytes for it. Its source must be locked.
INSERT INTO upload_files (uri, source_id, receiver, reserved) VALUES (:uri, :source, :receiver, :reserved);

-- name: update_reservation
-- The row must be locked.
UPDATE upload_files SET reserved = :reserved WHERE uri = :uri AND receiver = :receiver;

-- name: end_receiving
-- The file is no longer being written; no row if it was abandoned before.
UPDATE upload_files SET receiver = NULL, reserved = 0, changed = now()
WHERE uri = :uri AND receiver = :receiver RETURNING uri;

-- name: select_receiving
SELECT uri, reserved FROM received_files;

-- name: mark_abandoned
-- Files whose server has stopped are no longer being written.
UPDATE upload_files AS file SET receiver = NULL, reserved = 0, changed = now()
WHERE receiver IS NOT NULL AND NOT EXISTS (SELECT FROM received_files AS received WHERE received.uri = file.uri);

-- name: forget
-- Deletes the rows of deleted files. A file is deleted again at each sweep until it is ten minutes old, because a bucket
-- may complete it late.
DELETE FROM upload_files
WHERE uri = ANY (:uris) AND receiver IS NULL AND changed < now() - interval '10 minutes';

-- name: find_recorded
SELECT uri FROM upload_files WHERE uri = ANY (:uris);

-- name: get_identity
SELECT uuid FROM catalogue_identity;

-- name: create_identity
INSERT INTO catalogue_identity DEFAULT VALUES ON CONFLICT DO NOTHING;
