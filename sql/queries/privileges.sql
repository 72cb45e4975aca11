-- name: describe_database
SELECT current_setting('server_version_num')::integer / 10000 AS version, current_setting('server_encoding') AS encoding,
       current_database() AS database, current_user AS role, current_schema() AS schema,
       current_schema() IS NOT NULL AND has_schema_privilege(current_schema(), 'CREATE') AS may_create,
       has_database_privilege(current_database(), 'TEMPORARY') AS may_create_temporary;

-- name: list_extensions
SELECT extname AS name, nspname AS schema, nspname = ANY (current_schemas(true)) AS is_in_path
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = ANY (:names);

-- name: find_other_owner
-- Row-level security applies to every role except the owner of a table and its members.
SELECT pg_get_userbyid(relowner) AS owner, current_user AS role FROM pg_class
WHERE oid = to_regclass('raster_sources') AND row_security_active(oid);
