-- name: find_organisation
SELECT id FROM organisations WHERE name = :name;

-- name: add_organisation
INSERT INTO organisations (name) VALUES (:name) ON CONFLICT DO NOTHING RETURNING uuid;

-- name: find_user
SELECT id FROM users WHERE username = :name;

-- name: add_user
INSERT INTO users (username) VALUES (:name) ON CONFLICT DO NOTHING;
