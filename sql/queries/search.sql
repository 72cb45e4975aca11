-- name: list_roles
SELECT organisation_id, role FROM roles WHERE user_id = :user_id;
