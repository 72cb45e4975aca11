-- Drop folders: what a run wrote down that it is going to move, so that the next one can finish it.

CREATE TABLE moves (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    definition  text NOT NULL,
    uri         text NOT NULL,
    target      text NOT NULL UNIQUE,
    fingerprint text NOT NULL,
    sidecars    text[] NOT NULL DEFAULT '{}',
    UNIQUE (definition, uri),
    CHECK (uri <> target)
);
COMMENT ON TABLE moves IS 'Dropped files whose outcome is recorded under the place that they are being moved to; a row goes when its file is there.';
COMMENT ON COLUMN moves.id IS 'Internal number.';
COMMENT ON COLUMN moves.definition IS 'Id of the drop folder.';
COMMENT ON COLUMN moves.uri IS 'Where the file was dropped.';
COMMENT ON COLUMN moves.target IS 'Where it is being moved to, with its sidecars beside it.';
COMMENT ON COLUMN moves.fingerprint IS 'The file as it was read; another one in its place is not moved.';
COMMENT ON COLUMN moves.sidecars IS 'Names of its sidecars, percent-encoded.';
