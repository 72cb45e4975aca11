-- name: find_organisation
SELECT id FROM organisations WHERE name = :name;

-- name: add_organisation
INSERT INTO organisations (name) VALUES (:name) ON CONFLICT DO NOTHING RETURNING uuid;

-- name: find_user
SELECT id FROM users WHERE username = :name;

-- name: add_user
INSERT INTO users (username) VALUES (:name) ON CONFLICT DO NOTHING;

-- name: list_organisations
SELECT uuid, name,
       (SELECT coalesce(sum(amount), 0)::bigint FROM source_counts WHERE organisation_id = organisation.id) AS sources,
       (SELECT count(DISTINCT user_id) FROM roles WHERE organisation_id = organisation.id) AS users
FROM organisations AS organisation ORDER BY name;
