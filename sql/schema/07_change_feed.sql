-- The change feed: raster sources that were created, updated and deleted, in the order of the commits.
--
-- A transaction records its changes, and at its end takes a ticket from a sequence. A reader of the feed first calls
-- number_commits(), which gives positions to committed transactions without one, in the order of their tickets. So a
-- new position is always above the positions that a reader has seen. Writers do not wait for each other: if positions
-- were given at the commit, under a lock, every writer would wait for the disk writes of all others.

CREATE SEQUENCE tickets;
COMMENT ON SEQUENCE tickets IS 'Numbers that transactions take at their end: a transaction that begins to commit later gets a higher number.';

CREATE TABLE commits (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid   uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    xact   bigint,
    ticket bigint,
    seq    bigint UNIQUE,
    at     timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nulls(xact, ticket) = 1),
    CHECK (seq IS NULL OR ticket IS NOT NULL)
);
CREATE UNIQUE INDEX commits_xact ON commits (xact) WHERE xact IS NOT NULL;
CREATE INDEX commits_waiting ON commits (ticket) WHERE seq IS NULL;
ALTER SEQUENCE tickets OWNED BY commits.ticket;
COMMENT ON TABLE commits IS 'Transactions that changed raster sources; deleting old ones shortens the change feed.';
COMMENT ON COLUMN commits.id IS 'Internal number.';
COMMENT ON COLUMN commits.uuid IS 'Random, so that cursors of the API do not show how many commits lie between them.';
COMMENT ON COLUMN commits.xact IS 'Number of the transaction while it runs; null afterwards, because a restored database may use the number again.';
COMMENT ON COLUMN commits.ticket IS 'Taken from the sequence just before the commit.';
COMMENT ON COLUMN commits.seq IS 'Position in the feed, set by number_commits(); null until then.';
COMMENT ON COLUMN commits.at IS 'When it was committed.';

-- There are no foreign keys to users and organisations, because they may be deleted and a commit must not lock them.
CREATE TABLE changes (
    commit_id           bigint NOT NULL REFERENCES commits ON DELETE CASCADE,
    source_uuid         uuid NOT NULL,
    was_organisation_id bigint,
    was_access_modifier smallint,
    was_supplier_id     bigint,
    is_organisation_id  bigint,
    is_access_modifier  smallint,
    is_supplier_id      bigint,
    PRIMARY KEY (commit_id, source_uuid),
    CHECK ((was_organisation_id IS NULL) = (was_access_modifier IS NULL)),
    CHECK ((is_organisation_id IS NULL) = (is_access_modifier IS NULL))
);
CREATE INDEX changes_source ON changes (source_uuid, commit_id); -- the history of one raster source
COMMENT ON TABLE changes IS 'The raster sources that a transaction changed, and who could see each before and after.';
COMMENT ON COLUMN changes.commit_id IS 'The transaction.';
COMMENT ON COLUMN changes.source_uuid IS 'The raster source; it may not exist any more.';
COMMENT ON COLUMN changes.was_organisation_id IS 'Its owner before; null: the transaction created it.';
COMMENT ON COLUMN changes.was_access_modifier IS 'Its access_modifier before; null: the transaction created it.';
COMMENT ON COLUMN changes.was_supplier_id IS 'Its supplier before.';
COMMENT ON COLUMN changes.is_organisation_id IS 'Its owner after; null: the transaction deleted it.';
COMMENT ON COLUMN changes.is_access_modifier IS 'Its access_modifier after; null: the transaction deleted it.';
COMMENT ON COLUMN changes.is_supplier_id IS 'Its supplier after.';

CREATE FUNCTION this_commit() RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO commits (xact) VALUES (pg_current_xact_id()::text::bigint)
    ON CONFLICT (xact) WHERE xact IS NOT NULL DO UPDATE SET xact = excluded.xact
    RETURNING id
$$;
COMMENT ON FUNCTION this_commit IS 'Returns the row of the current transaction in commits; inserts it at the first call.';

-- If a transaction changes a source more than once, the first `was` and the last `is` are kept. PostgreSQL runs the
-- subquery around this_commit() once, and only if there is a row to record. A row has changed if last_modified has.
CREATE FUNCTION note_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO changes (commit_id, source_uuid, is_organisation_id, is_access_modifier, is_supplier_id)
        SELECT (SELECT this_commit()), uuid, organisation_id, access_modifier, supplier_id FROM new_rows
        ON CONFLICT (commit_id, source_uuid) DO UPDATE
        SET (is_organisation_id, is_access_modifier, is_supplier_id)
          = (excluded.is_organisation_id, excluded.is_access_modifier, excluded.is_supplier_id);
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO changes (commit_id, source_uuid, was_organisation_id, was_access_modifier, was_supplier_id,
                             is_organisation_id, is_access_modifier, is_supplier_id)
        SELECT (SELECT this_commit()), uuid, before.organisation_id, before.access_modifier, before.supplier_id,
               after.organisation_id, after.access_modifier, after.supplier_id
        FROM old_rows AS before FULL JOIN new_rows AS after USING (uuid)
        WHERE before.last_modified IS DISTINCT FROM after.last_modified
        ON CONFLICT (commit_id, source_uuid) DO UPDATE
        SET (is_organisation_id, is_access_modifier, is_supplier_id)
          = (excluded.is_organisation_id, excluded.is_access_modifier, excluded.is_supplier_id);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO changes (commit_id, source_uuid, was_organisation_id, was_access_modifier, was_supplier_id)
        SELECT (SELECT this_commit()), uuid, organisation_id, access_modifier, supplier_id FROM old_rows
        ON CONFLICT (commit_id, source_uuid) DO UPDATE
        SET (is_organisation_id, is_access_modifier, is_supplier_id) = (NULL, NULL, NULL);
    ELSE -- before TRUNCATE
        DELETE FROM raster_sources;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION note_changes IS 'Records the raster sources that a statement changed.';

CREATE FUNCTION finish_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM changes WHERE commit_id = NEW.id AND num_nonnulls(was_access_modifier, is_access_modifier) = 0;
    IF EXISTS (SELECT FROM changes WHERE commit_id = NEW.id) THEN
        UPDATE commits SET ticket = nextval('tickets'), xact = NULL, at = clock_timestamp() WHERE id = NEW.id;
    ELSE -- all its changed sources were created and deleted by itself
        DELETE FROM commits WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION finish_commit IS 'Takes the ticket of a transaction that is about to commit; deletes the changes of sources that it created and deleted itself.';
CREATE CONSTRAINT TRIGGER commits_finish AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION finish_commit();

-- The lock is held until the caller commits. The UPDATE sees what was committed while this call waited for the lock.
CREATE FUNCTION number_commits(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE numbered integer;
BEGIN
    IF NOT EXISTS (SELECT FROM commits WHERE seq IS NULL AND ticket IS NOT NULL) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(x'66656564'::bigint); -- "feed" in ASCII
    UPDATE commits SET seq = last.seq + waiting.number
    FROM (SELECT coalesce(max(seq), 0) AS seq FROM commits) AS last, (
        SELECT id, row_number() OVER (ORDER BY ticket) AS number FROM commits
        WHERE seq IS NULL AND ticket IS NOT NULL ORDER BY ticket LIMIT most
    ) AS waiting
    WHERE commits.id = waiting.id;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    RETURN numbered;
END
$$;
COMMENT ON FUNCTION number_commits IS 'Sets the positions of at most `most` committed transactions that have none; returns the number set.';

CREATE TRIGGER raster_sources_created AFTER INSERT ON raster_sources REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_changes();
CREATE TRIGGER raster_sources_updated AFTER UPDATE ON raster_sources REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_changes();
CREATE TRIGGER raster_sources_deleted AFTER DELETE ON raster_sources REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION note_changes();
CREATE TRIGGER raster_sources_truncated BEFORE TRUNCATE ON raster_sources
    FOR EACH STATEMENT EXECUTE FUNCTION note_changes();
