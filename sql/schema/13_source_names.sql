-- The names of raster sources in upper case, for searches in any case. A search for a part of a name tests thousands of
-- candidates. In this table they take a fifth of the pages, and Public sources are stored apart. The table also has the
-- columns that decide who may read a source, so that a search without other filters reads no other table.

CREATE TABLE source_names (
    id              bigint NOT NULL,
    organisation_id bigint NOT NULL,
    supplier_id     bigint,
    access_modifier smallint NOT NULL,
    name_upper      text NOT NULL,
    PRIMARY KEY (id, access_modifier)
) PARTITION BY LIST (access_modifier);
CREATE TABLE source_names_public PARTITION OF source_names FOR VALUES IN (0);
CREATE TABLE source_names_other PARTITION OF source_names DEFAULT;
CREATE INDEX source_names_exact ON source_names USING hash (name_upper);
CREATE INDEX source_names_trigram ON source_names USING gin (name_upper gin_trgm_ops);
COMMENT ON TABLE source_names IS 'The names of raster sources in upper case, and who may see them. Triggers keep it up to date.';
COMMENT ON COLUMN source_names.id IS 'The raster source. There is no foreign key: its check would take longer than the row.';
COMMENT ON COLUMN source_names.organisation_id IS 'The owner.';
COMMENT ON COLUMN source_names.supplier_id IS 'The user who supplies the data.';
COMMENT ON COLUMN source_names.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN source_names.name_upper IS 'The name in upper case.';

-- A transaction that changes a raster source holds its lock, so no other one writes its row here. The plans of these
-- statements are kept for a session, so each must be fast for few rows and for many.
CREATE FUNCTION keep_source_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO source_names (id, organisation_id, supplier_id, access_modifier, name_upper)
        SELECT id, organisation_id, supplier_id, access_modifier, upper(name) FROM new_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        DELETE FROM source_names WHERE id = ANY (ARRAY(SELECT id FROM (
            SELECT id, organisation_id, supplier_id, access_modifier, name FROM old_rows
            EXCEPT SELECT id, organisation_id, supplier_id, access_modifier, name FROM new_rows
        ) AS former));
        INSERT INTO source_names (id, organisation_id, supplier_id, access_modifier, name_upper)
        SELECT id, organisation_id, supplier_id, access_modifier, upper(name) FROM (
            SELECT id, organisation_id, supplier_id, access_modifier, name FROM new_rows
            EXCEPT SELECT id, organisation_id, supplier_id, access_modifier, name FROM old_rows
        ) AS latter;
    ELSE
        DELETE FROM source_names WHERE id = ANY (ARRAY(SELECT id FROM old_rows));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION keep_source_names IS 'Copies changes of raster_sources to source_names.';
CREATE TRIGGER raster_sources_name_created AFTER INSERT ON raster_sources REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_source_names();
CREATE TRIGGER raster_sources_name_updated AFTER UPDATE ON raster_sources REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_source_names();
CREATE TRIGGER raster_sources_name_deleted AFTER DELETE ON raster_sources REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_source_names();
-- ALWAYS keeps the names correct in sessions that turn other triggers off, for example while restoring rows.
ALTER TABLE raster_sources ENABLE ALWAYS TRIGGER raster_sources_name_created;
ALTER TABLE raster_sources ENABLE ALWAYS TRIGGER raster_sources_name_updated;
ALTER TABLE raster_sources ENABLE ALWAYS TRIGGER raster_sources_name_deleted;
