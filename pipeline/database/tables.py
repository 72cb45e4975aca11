"""The tables of `sql/schema` in SQLAlchemy, for composing queries."""

from geoalchemy2 import Geometry

from pipeline.database import people_tables
from pipeline.database.table_reader import read_tables

GEOMETRY = Geometry("MULTIPOLYGON", 4326, spatial_index=False)
metadata = read_tables(people_tables.metadata, "*.sql", geometry=GEOMETRY)

changes = metadata.tables["changes"]
commits = metadata.tables["commits"]
coordinate_systems = metadata.tables["coordinate_systems"]
downloads = metadata.tables["downloads"]
label_type_sources = metadata.tables["label_type_sources"]
label_types = metadata.tables["label_types"]
layer_sources = metadata.tables["layer_sources"]
layers = metadata.tables["layers"]
organisations = metadata.tables["organisations"]
raster_files = metadata.tables["raster_files"]
raster_sources = metadata.tables["raster_sources"]
rejected_files = metadata.tables["rejected_files"]
roles = metadata.tables["roles"]
scenario_sources = metadata.tables["scenario_sources"]
scenarios = metadata.tables["scenarios"]
served_configs = metadata.tables["served_configs"]
source_counts = metadata.tables["source_counts"]
source_names = metadata.tables["source_names"]
tasks = metadata.tables["tasks"]
uploads = metadata.tables["uploads"]
users = metadata.tables["users"]
