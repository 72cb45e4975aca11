-- Layers, label types and scenarios: they depend on raster sources.

CREATE FUNCTION graph_sources(graph jsonb) RETURNS SETOF uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT DISTINCT lower(block ->> 1)::uuid
    FROM jsonb_path_query(graph, 'strict $.** ? (@.type() == "array" && @[0] == "lizard_nxt.blocks.LizardRasterSource")') AS block
    WHERE block ->> 1 ~* '^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$'
$$;
COMMENT ON FUNCTION graph_sources IS 'The uuids of all raster sources that a graph names, at any depth.';

CREATE TABLE layers (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid             uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name             text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    description      text,
    organisation_id  bigint NOT NULL REFERENCES organisations,
    access_modifier  smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id      bigint REFERENCES users,
    supplier_code    text CHECK (length(supplier_code) <= 255),
    temporal         boolean,
    shared_with      jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(shared_with) = 'array'),
    observation_type jsonb,
    aggregation_type text,
    options          jsonb NOT NULL DEFAULT '{}',
    colormap         jsonb,
    rescalable       boolean NOT NULL DEFAULT false,
    source           jsonb CHECK (jsonb_typeof(source) = 'object'),
    wms_info         jsonb,
    layer_collections jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(layer_collections) = 'array'),
    weight           double precision,
    created          timestamptz NOT NULL DEFAULT now(),
    last_modified    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX layers_name ON layers (name, id);
CREATE INDEX layers_name_trigram ON layers USING gin (name gin_trgm_ops);
CREATE INDEX layers_name_upper_trigram ON layers USING gin (upper(name) gin_trgm_ops);
CREATE INDEX layers_organisation ON layers (organisation_id, access_modifier, id);
CREATE INDEX layers_supplier ON layers (supplier_id);
COMMENT ON TABLE layers IS 'Layers show raster sources on a map; rasters/ in the API.';
COMMENT ON COLUMN layers.id IS 'Stable, ascending number.';
COMMENT ON COLUMN layers.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN layers.name IS 'Name; need not be unique.';
COMMENT ON COLUMN layers.description IS 'Free text; null and the empty text differ.';
COMMENT ON COLUMN layers.organisation_id IS 'The owner.';
COMMENT ON COLUMN layers.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN layers.supplier_id IS 'The user who supplies it.';
COMMENT ON COLUMN layers.supplier_code IS 'The name that the supplier gives it.';
COMMENT ON COLUMN layers.temporal IS 'Whether it is a series in time, as declared; null: as its sources are.';
COMMENT ON COLUMN layers.shared_with IS 'Organisations that it is shared with; stored and returned.';
COMMENT ON COLUMN layers.observation_type IS 'What is observed; stored and returned as an object.';
COMMENT ON COLUMN layers.aggregation_type IS 'Stored and returned.';
COMMENT ON COLUMN layers.options IS 'Stored and returned.';
COMMENT ON COLUMN layers.colormap IS 'Stored and returned.';
COMMENT ON COLUMN layers.rescalable IS 'Stored and returned.';
COMMENT ON COLUMN layers.source IS 'The graph: {"graph": {name: [block, arguments...]}, "name": name}.';
COMMENT ON COLUMN layers.wms_info IS 'Stored and returned.';
COMMENT ON COLUMN layers.layer_collections IS 'Stored and returned.';
COMMENT ON COLUMN layers.weight IS 'Stored and returned.';
COMMENT ON COLUMN layers.created IS 'When the layer was created.';
COMMENT ON COLUMN layers.last_modified IS 'When the layer last changed.';

CREATE TABLE label_types (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid            uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name            text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    description     text,
    organisation_id bigint NOT NULL REFERENCES organisations,
    access_modifier smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id     bigint REFERENCES users,
    object_type     text,
    source          jsonb CHECK (jsonb_typeof(source) = 'object'),
    created         timestamptz NOT NULL DEFAULT now(),
    last_modified   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX label_types_organisation ON label_types (organisation_id, access_modifier, id);
CREATE INDEX label_types_supplier ON label_types (supplier_id);
COMMENT ON TABLE label_types IS 'Labels computed from raster sources; labeltypes/ in the API.';
COMMENT ON COLUMN label_types.id IS 'Stable, ascending number.';
COMMENT ON COLUMN label_types.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN label_types.name IS 'Name; need not be unique.';
COMMENT ON COLUMN label_types.description IS 'Free text; null and the empty text differ.';
COMMENT ON COLUMN label_types.organisation_id IS 'The owner.';
COMMENT ON COLUMN label_types.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN label_types.supplier_id IS 'The user who supplies it.';
COMMENT ON COLUMN label_types.object_type IS 'The objects that are labelled, such as buildings.';
COMMENT ON COLUMN label_types.source IS 'The graph: {"graph": {name: [block, arguments...]}, "name": name}.';
COMMENT ON COLUMN label_types.created IS 'When the label type was created.';
COMMENT ON COLUMN label_types.last_modified IS 'When the label type last changed.';

CREATE TABLE scenarios (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid            uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    name            text NOT NULL CHECK (length(name) <= 255 AND name ~ '\S'),
    organisation_id bigint NOT NULL REFERENCES organisations,
    access_modifier smallint NOT NULL DEFAULT 200 CHECK (access_modifier IN (0, 100, 200, 300)),
    supplier_id     bigint REFERENCES users,
    model_name      text CHECK (length(model_name) <= 255),
    total_size      bigint CHECK (total_size >= 0),
    created         timestamptz NOT NULL DEFAULT now(),
    last_modified   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scenarios_organisation ON scenarios (organisation_id, access_modifier, id);
CREATE INDEX scenarios_supplier ON scenarios (supplier_id);
COMMENT ON TABLE scenarios IS 'Results of simulations that use raster sources.';
COMMENT ON COLUMN scenarios.id IS 'Stable, ascending number.';
COMMENT ON COLUMN scenarios.uuid IS 'Public identity, as in the API.';
COMMENT ON COLUMN scenarios.name IS 'Name; need not be unique.';
COMMENT ON COLUMN scenarios.organisation_id IS 'The owner.';
COMMENT ON COLUMN scenarios.access_modifier IS '0 Public, 100 Common, 200 Private, 300 Hidden.';
COMMENT ON COLUMN scenarios.supplier_id IS 'The user who supplies it.';
COMMENT ON COLUMN scenarios.model_name IS 'The model that was run; null: not known.';
COMMENT ON COLUMN scenarios.total_size IS 'Bytes of its results, as given by its writer; null: not given.';
COMMENT ON COLUMN scenarios.created IS 'When the scenario was created.';
COMMENT ON COLUMN scenarios.last_modified IS 'When the scenario last changed.';

-- The raster sources that a layer, a label type or a scenario uses. There is no foreign key: a source that was deleted by
-- force stays in these tables, so that the API can show what is missing.
CREATE TABLE layer_sources (
    layer_id    bigint NOT NULL REFERENCES layers ON DELETE CASCADE,
    source_uuid uuid NOT NULL,
    PRIMARY KEY (layer_id, source_uuid)
);
CREATE INDEX layer_sources_source ON layer_sources (source_uuid, layer_id);
COMMENT ON TABLE layer_sources IS 'The raster sources that the graph of a layer names; written by a trigger.';
COMMENT ON COLUMN layer_sources.layer_id IS 'The layer.';
COMMENT ON COLUMN layer_sources.source_uuid IS 'The raster source, even if it was deleted by force.';

CREATE TABLE label_type_sources (
    label_type_id bigint NOT NULL REFERENCES label_types ON DELETE CASCADE,
    source_uuid   uuid NOT NULL,
    PRIMARY KEY (label_type_id, source_uuid)
);
CREATE INDEX label_type_sources_source ON label_type_sources (source_uuid, label_type_id);
COMMENT ON TABLE label_type_sources IS 'The raster sources that the graph of a label type names; written by a trigger.';
COMMENT ON COLUMN label_type_sources.label_type_id IS 'The label type.';
COMMENT ON COLUMN label_type_sources.source_uuid IS 'The raster source, even if it was deleted by force.';

CREATE TABLE scenario_sources (
    scenario_id bigint NOT NULL REFERENCES scenarios ON DELETE CASCADE,
    source_uuid uuid NOT NULL,
    PRIMARY KEY (scenario_id, source_uuid)
);
CREATE INDEX scenario_sources_source ON scenario_sources (source_uuid, scenario_id);
COMMENT ON TABLE scenario_sources IS 'The raster sources that a scenario uses.';
COMMENT ON COLUMN scenario_sources.scenario_id IS 'The scenario.';
COMMENT ON COLUMN scenario_sources.source_uuid IS 'The raster source, even if it was deleted by force.';

CREATE FUNCTION keep_layer_sources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM layer_sources WHERE layer_id = NEW.id;
    INSERT INTO layer_sources SELECT NEW.id, graph_sources(NEW.source);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION keep_layer_sources IS 'Writes the raster sources of the graph of a layer to layer_sources.';
CREATE TRIGGER layers_sources AFTER INSERT OR UPDATE OF source ON layers
    FOR EACH ROW EXECUTE FUNCTION keep_layer_sources();

CREATE FUNCTION keep_label_type_sources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM label_type_sources WHERE label_type_id = NEW.id;
    INSERT INTO label_type_sources SELECT NEW.id, graph_sources(NEW.source);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION keep_label_type_sources IS 'Writes the raster sources of the graph of a label type to label_type_sources.';
CREATE TRIGGER label_types_sources AFTER INSERT OR UPDATE OF source ON label_types
    FOR EACH ROW EXECUTE FUNCTION keep_label_type_sources();

CREATE TRIGGER layers_touch BEFORE UPDATE ON layers FOR EACH ROW EXECUTE FUNCTION touch_last_modified();
CREATE TRIGGER label_types_touch BEFORE UPDATE ON label_types FOR EACH ROW EXECUTE FUNCTION touch_last_modified();

-- A change of scenario_sources also changes the scenario: the writer then sets last_modified to any other time.
CREATE FUNCTION move_last_modified() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_modified := greatest(clock_timestamp(), OLD.last_modified + interval '1 microsecond');
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION move_last_modified IS 'Sets last_modified to now, for rows that differ in any column, last_modified included.';
CREATE TRIGGER scenarios_touch BEFORE UPDATE ON scenarios
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION move_last_modified();
