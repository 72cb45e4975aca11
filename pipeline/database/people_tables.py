"""The tables about people in SQLAlchemy, for composing queries.

They are not in `tables.py`, because commands about people need no geometries. Importing the geometry types takes as
long as importing everything else that such a command needs.
"""

from sqlalchemy import MetaData

from pipeline.database.table_reader import read_tables

metadata = read_tables(MetaData(), "02_people.sql")

api_keys = metadata.tables["api_keys"]
organisations = metadata.tables["organisations"]
roles = metadata.tables["roles"]
sessions = metadata.tables["sessions"]
sign_in_failures = metadata.tables["sign_in_failures"]
users = metadata.tables["users"]
