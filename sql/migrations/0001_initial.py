"""The schema of the first release."""

from pathlib import Path

from sql import execute, execute_folder

revision = "0001_initial"
down_revision = None

SCHEMA = Path(__file__).resolve().parents[1] / "schema"
COPY = Path(__file__).with_suffix("")
"""A copy of the schema of the first release; it is made when the second migration is written, see CONTRIBUTING.md."""

DROP = """
DROP VIEW public_raster_sources, received_files, stac_items, stac_collections;
DROP FUNCTION stac_item, stac_properties, stac_collection, stac_keywords, lacks_times;
DROP FUNCTION interval_text, grid_message, grid_mismatch, grid_of;
DROP TYPE grid;
DROP TABLE
    served_configs, moves, sync_runs, tombstones, rejected_files, definitions,
    downloads, upload_files, catalogue_identity, uploads, tasks,
    scenario_sources, label_type_sources, layer_sources, scenarios, label_types, layers,
    changes, commits, raster_files, coordinate_systems, raster_sources, source_counts, source_names,
    sign_in_failures, sessions, api_keys, roles, users, organisations;
DROP FUNCTION
    revoke_task, move_last_modified, keep_label_type_sources, keep_layer_sources, graph_sources,
    number_commits, finish_commit, note_changes, this_commit, derive_sources, union_longitudes,
    keep_source_names, count_sources, sum_source_counts, file_name, touch_raster_source, bounds_geometry,
    map_column, map_row, touch_last_modified, current_run,
    first_step, last_step, only_step, iso_time, remainder, without_folders, stac_warnings, stac_provenance,
    stac_data_type, stac_nodata, stac_band, stac_many_bands, stac_bands, stac_href;
"""


def upgrade() -> None:
    """Run the files of the schema."""
    execute_folder(COPY if COPY.is_dir() else SCHEMA)


def downgrade() -> None:
    """Drop everything except the extensions and the reader role, because other schemas may use them."""
    execute(DROP)
