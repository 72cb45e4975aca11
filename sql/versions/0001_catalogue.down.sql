DROP VIEW public_raster_sources;
DROP FUNCTION derive_sources, union_longitudes;
DROP TABLE sync_runs, rejected_files, uploads, tasks,
    scenario_sources, label_type_sources, layer_sources, scenarios, label_types, layers,
    raster_files, coordinate_systems, raster_sources, api_keys, roles, users, organisations;
DROP FUNCTION keep_layer_sources, keep_label_type_sources, touch_last_modified, touch_raster_source, graph_sources, bounds_geometry;
-- The extensions and the role rastersources_reader stay: others in the cluster may use them.
