"""Files that are written for clients: each is recorded, with its task, before its first byte is stored.

They lie in the storage of uploads, and `upload_files` has them too: the same sweep deletes them.
"""

from pipeline.database.queries import queries

QUERIES = queries("downloads")
SECONDS_KEPT = 3600
"""How long a client may read its file."""
