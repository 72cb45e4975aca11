-- The numbers of raster sources and files by owner and access, so that lists show an exact count without counting rows.
--
-- A statement that changes raster sources adds a row for each group whose numbers change. A count is the sum of the rows
-- in its snapshot, so it is exact, and writers do not wait for each other. Once in a while a writer replaces the rows of
-- a group by their sum.

CREATE TABLE source_counts (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id    bigint NOT NULL,
    access_modifier    smallint NOT NULL,
    hidden_supplier_id bigint,
    amount             bigint NOT NULL,
    files              bigint NOT NULL
);
CREATE INDEX source_counts_organisation ON source_counts (organisation_id, access_modifier);
COMMENT ON TABLE source_counts IS 'Numbers of raster sources: the number of a group is the sum of its rows.';
COMMENT ON COLUMN source_counts.id IS 'Internal number.';
COMMENT ON COLUMN source_counts.organisation_id IS 'The owner. There is no foreign key: its check would lock the owner.';
COMMENT ON COLUMN source_counts.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN source_counts.hidden_supplier_id IS 'The supplier of Hidden sources, who sees them; null for all others.';
COMMENT ON COLUMN source_counts.amount IS 'Number of sources that a statement added; negative for sources that it removed.';
COMMENT ON COLUMN source_counts.files IS 'The number of their files; negative for sources that it removed.';

-- Rows that another writer is replacing are skipped.
CREATE FUNCTION sum_source_counts() RETURNS void LANGUAGE sql AS $$
    WITH grouped AS (
        SELECT id, count(*) OVER (PARTITION BY organisation_id, access_modifier, hidden_supplier_id) AS rows FROM source_counts
    ), summed AS (
        DELETE FROM source_counts WHERE id IN (
            SELECT id FROM source_counts WHERE id IN (SELECT id FROM grouped WHERE rows > 1) FOR UPDATE SKIP LOCKED
        ) RETURNING organisation_id, access_modifier, hidden_supplier_id, amount, files
    )
    INSERT INTO source_counts (organisation_id, access_modifier, hidden_supplier_id, amount, files)
    SELECT organisation_id, access_modifier, hidden_supplier_id, sum(amount), sum(files) FROM summed
    GROUP BY 1, 2, 3 HAVING sum(amount) <> 0 OR sum(files) <> 0
$$;
COMMENT ON FUNCTION sum_source_counts IS 'Replaces the rows of each group in source_counts by their sum.';

CREATE FUNCTION count_sources() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE added integer;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO source_counts (organisation_id, access_modifier, hidden_supplier_id, amount, files)
        SELECT organisation_id, access_modifier, CASE WHEN access_modifier = 300 THEN supplier_id END, count(*), sum(file_count)
        FROM new_rows GROUP BY 1, 2, 3;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO source_counts (organisation_id, access_modifier, hidden_supplier_id, amount, files)
        SELECT organisation_id, access_modifier, CASE WHEN access_modifier = 300 THEN supplier_id END,
               sum(change), sum(change * file_count)
        FROM (
            SELECT organisation_id, access_modifier, supplier_id, file_count, -1 AS change FROM old_rows
            UNION ALL SELECT organisation_id, access_modifier, supplier_id, file_count, 1 FROM new_rows
        ) AS both_rows GROUP BY 1, 2, 3 HAVING sum(change) <> 0 OR sum(change * file_count) <> 0;
    ELSE
        INSERT INTO source_counts (organisation_id, access_modifier, hidden_supplier_id, amount, files)
        SELECT organisation_id, access_modifier, CASE WHEN access_modifier = 300 THEN supplier_id END, -count(*), -sum(file_count)
        FROM old_rows GROUP BY 1, 2, 3;
    END IF;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 THEN
        PERFORM sum_source_counts() WHERE currval('source_counts_id_seq') % 64 < added; -- once in 64 rows
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION count_sources IS 'Records in source_counts how many raster sources and files a statement added to and removed from each group.';
CREATE TRIGGER raster_sources_count_created AFTER INSERT ON raster_sources REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_sources();
CREATE TRIGGER raster_sources_count_updated AFTER UPDATE ON raster_sources REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_sources();
CREATE TRIGGER raster_sources_count_deleted AFTER DELETE ON raster_sources REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_sources();
-- ALWAYS keeps the counts correct in sessions that turn other triggers off, for example while restoring rows.
ALTER TABLE raster_sources ENABLE ALWAYS TRIGGER raster_sources_count_created;
ALTER TABLE raster_sources ENABLE ALWAYS TRIGGER raster_sources_count_updated;
ALTER TABLE raster_sources ENABLE ALWAYS TRIGGER raster_sources_count_deleted;
