-- The raster source that a definition names: people made it, or know it, so that it outlives the definition.

ALTER TABLE definitions ADD COLUMN uuid uuid;
COMMENT ON COLUMN definitions.uuid IS 'The raster source that it names by its uuid, and which is not removed with it; null when it names none.';
COMMENT ON COLUMN definitions.synced IS 'When the last sync of it began to bring files in.';
