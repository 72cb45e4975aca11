-- The sources.toml files whose schedules an operator serves: a run of a deployment may name no other file.

CREATE TABLE served_configs (
    path       text PRIMARY KEY CHECK (path LIKE '/%'),
    may_create boolean NOT NULL,
    served     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE served_configs IS 'The sources.toml files whose schedules an operator serves or deployed; the runs of deployments may read no other.';
COMMENT ON COLUMN served_configs.path IS 'Absolute path of the sources.toml.';
COMMENT ON COLUMN served_configs.may_create IS 'Whether its runs add organisations and suppliers that are not there yet (--create).';
COMMENT ON COLUMN served_configs.served IS 'When it was last served or deployed.';
