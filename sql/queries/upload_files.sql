-- name: hold_receiver
-- The settings keep the database from ending the idle transaction, and tell it of a server that is gone.
SELECT set_config('idle_in_transaction_session_timeout', '0', true),
       set_config('tcp_keepalives_idle', '30', true), set_config('tcp_keepalives_interval', '10', true),
       pg_advisory_xact_lock_shared(:lock, :receiver);

-- name: select_unneeded
-- Recorded files that no raster source has, no open upload waits with, and no server receives.
SELECT uri FROM upload_files AS kept
WHERE receiver IS NULL AND (CAST(:uris AS text[]) IS NULL OR uri = ANY (CAST(:uris AS text[])))
  AND NOT EXISTS (SELECT FROM raster_files AS file WHERE file.uri = kept.uri)
  AND NOT EXISTS (SELECT FROM uploads AS upload WHERE upload.uri = kept.uri AND upload.state = ANY (:open_states));
