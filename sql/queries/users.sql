-- name: list_users
SELECT username, first_name, last_name, email, active, created, password_hash IS NOT NULL AS password,
       (SELECT count(*) FROM api_keys WHERE user_id = users.id AND revoked IS NULL) AS valid_keys,
       ARRAY(SELECT concat(roles.role, ' of ', organisation.name)
             FROM roles JOIN organisations AS organisation ON organisation.id = roles.organisation_id
             WHERE roles.user_id = users.id ORDER BY organisation.name, roles.role) AS roles
FROM users ORDER BY username;

-- name: list_keys
SELECT owner.username, key.prefix, key.created, key.revoked, key.revoked IS NULL AND owner.active AS works
FROM api_keys AS key JOIN users AS owner ON owner.id = key.user_id
WHERE CAST(:user_id AS bigint) IS NULL OR owner.id = :user_id
ORDER BY owner.username, key.id;

-- name: find_caller_by_key
SELECT caller.id, caller.username, caller.first_name,
       ARRAY(SELECT concat(organisation_id, ' ', role) FROM roles WHERE user_id = caller.id) AS roles,
       key.secret_hash, key.id AS key_id
FROM api_keys AS key JOIN users AS caller ON caller.id = key.user_id
WHERE key.prefix = :prefix AND key.revoked IS NULL AND caller.active;

-- name: find_caller_by_session
-- The key that opened the session must still be valid.
SELECT caller.id, caller.username, caller.first_name,
       ARRAY(SELECT concat(organisation_id, ' ', role) FROM roles WHERE user_id = caller.id) AS roles
FROM sessions AS session
JOIN users AS caller ON caller.id = session.user_id
LEFT JOIN api_keys AS key ON key.id = session.key_id
WHERE session.token_hash = :token_hash AND session.expires > now() AND caller.active AND key.revoked IS NULL;

-- name: count_failures
-- The number of failures before an attempt, for the name at the address and for all names at the address, and the
-- seconds since the last failure of both kinds.
WITH earlier AS (
    SELECT at, username = :username AS named FROM sign_in_failures
    WHERE at > now() - :minutes * interval '1 minute' AND address = :address AND id < :attempt
), summary AS (
    SELECT count(*) FILTER (WHERE named) AS by_name, max(at) FILTER (WHERE named) AS last_by_name,
           count(*) AS by_address, max(at) AS last_by_address
    FROM earlier
)
SELECT by_name, coalesce(extract(epoch FROM clock_timestamp() - last_by_name), 0)::float8 AS since_name,
       by_address, coalesce(extract(epoch FROM clock_timestamp() - last_by_address), 0)::float8 AS since_address
FROM summary;

-- name: prune_failures
-- Deletes failures that are too old to count, and all except the newest.
DELETE FROM sign_in_failures
WHERE at < now() - :minutes * interval '1 minute'
   OR id <= (SELECT id FROM sign_in_failures ORDER BY id DESC OFFSET :most LIMIT 1);

-- name: find_active_user
SELECT id, password_hash FROM users WHERE username = :username AND active;

-- name: close_session
-- Also deletes all expired sessions.
DELETE FROM sessions WHERE token_hash = :token_hash OR expires <= now();

-- name: record_failure
INSERT INTO sign_in_failures (username, address) VALUES (:username, :address) RETURNING id;

-- name: delete_failure
-- The sign-in succeeded, or was not attempted.
DELETE FROM sign_in_failures WHERE id = :id;

-- name: clear_failures
DELETE FROM sign_in_failures WHERE username = :username AND address = :address;
