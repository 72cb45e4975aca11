-- Organisations, users and their roles, API keys and sessions.

CREATE TABLE organisations (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid    uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name    text NOT NULL UNIQUE CHECK (length(name) <= 255 AND name ~ '\S'),
    raster_storage_capacity bigint CHECK (raster_storage_capacity >= 0),
    created timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE organisations IS 'The owners of raster sources, layers, label types and scenarios.';
COMMENT ON COLUMN organisations.id IS 'Internal number.';
COMMENT ON COLUMN organisations.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN organisations.name IS 'Unique name.';
COMMENT ON COLUMN organisations.raster_storage_capacity IS 'Quota of uploaded rasters in bytes; null means no limit.';
COMMENT ON COLUMN organisations.created IS 'When the organisation was added.';

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text NOT NULL UNIQUE CHECK (length(username) <= 150 AND username ~ '\S'),
    first_name    text NOT NULL DEFAULT '',
    last_name     text NOT NULL DEFAULT '',
    email         text NOT NULL DEFAULT '',
    password_hash text,
    active        boolean NOT NULL DEFAULT true,
    created       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE users IS 'People and programs that log in or supply rasters.';
COMMENT ON COLUMN users.id IS 'Internal number; also the id in the API.';
COMMENT ON COLUMN users.username IS 'Unique name; it is shown as the supplier of a raster source.';
COMMENT ON COLUMN users.first_name IS 'Given name; may be empty.';
COMMENT ON COLUMN users.last_name IS 'Family name; may be empty.';
COMMENT ON COLUMN users.email IS 'E-mail address; may be empty.';
COMMENT ON COLUMN users.password_hash IS 'Slow hash (scrypt) of the password; null: the user logs in with keys only.';
COMMENT ON COLUMN users.active IS 'Whether the user may log in.';
COMMENT ON COLUMN users.created IS 'When the user was added.';

CREATE TABLE roles (
    user_id         bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    organisation_id bigint NOT NULL REFERENCES organisations ON DELETE CASCADE,
    role            text NOT NULL CHECK (role IN ('user', 'supplier', 'admin', 'manager')),
    PRIMARY KEY (user_id, organisation_id, role)
);
CREATE INDEX roles_organisation ON roles (organisation_id, role);
COMMENT ON TABLE roles IS 'The roles of users in organisations: one row for each role.';
COMMENT ON COLUMN roles.user_id IS 'The user.';
COMMENT ON COLUMN roles.organisation_id IS 'The organisation.';
COMMENT ON COLUMN roles.role IS 'user reads; supplier writes what they supply; admin writes everything; manager grants roles and reads nothing.';

CREATE TABLE api_keys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    prefix      text NOT NULL UNIQUE CHECK (prefix ~ '^[0-9A-Za-z]{8}$'),
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    created     timestamptz NOT NULL DEFAULT now(),
    revoked     timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);
COMMENT ON TABLE api_keys IS 'API keys; the secret itself is shown once and never stored.';
COMMENT ON COLUMN api_keys.id IS 'Internal number.';
COMMENT ON COLUMN api_keys.user_id IS 'The user that the key logs in.';
COMMENT ON COLUMN api_keys.prefix IS 'The part of the key before the dot; the key is found and revoked by it.';
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of the secret, which holds 256 random bits.';
COMMENT ON COLUMN api_keys.created IS 'When the key was created.';
COMMENT ON COLUMN api_keys.revoked IS 'When the key was revoked; null while it is valid.';

CREATE TABLE sessions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    key_id     bigint REFERENCES api_keys ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created    timestamptz NOT NULL DEFAULT now(),
    expires    timestamptz NOT NULL,
    CHECK (expires > created)
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_key ON sessions (key_id);
CREATE INDEX sessions_expires ON sessions (expires);
COMMENT ON TABLE sessions IS 'Sessions of users who are signed in to the pages.';
COMMENT ON COLUMN sessions.id IS 'Internal number.';
COMMENT ON COLUMN sessions.user_id IS 'The user who signed in.';
COMMENT ON COLUMN sessions.key_id IS 'The key that was used as the password; the session ends when the key is revoked.';
COMMENT ON COLUMN sessions.token_hash IS 'SHA-256 of the cookie, which holds 256 random bits.';
COMMENT ON COLUMN sessions.created IS 'When the user signed in.';
COMMENT ON COLUMN sessions.expires IS 'When the session ends.';

CREATE TABLE sign_in_failures (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username text NOT NULL,
    address  text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failures_username ON sign_in_failures (username, at);
CREATE INDEX sign_in_failures_address ON sign_in_failures (address, at);
COMMENT ON TABLE sign_in_failures IS 'Recent failed sign-ins; further attempts are limited by them.';
COMMENT ON COLUMN sign_in_failures.id IS 'Internal number.';
COMMENT ON COLUMN sign_in_failures.username IS 'The username that was tried; it may not exist.';
COMMENT ON COLUMN sign_in_failures.address IS 'Network address of the client.';
COMMENT ON COLUMN sign_in_failures.at IS 'When the sign-in failed.';
