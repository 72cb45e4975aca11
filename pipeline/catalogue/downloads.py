"""Statements for files that are written for clients: each is recorded, with its task, before its first byte is stored.

The files lie in the storage of uploads. The table `upload_files` has them too, so the same sweep deletes them.
"""

from pipeline.database.queries import queries

QUERIES = queries("downloads")
SECONDS_KEPT = 3600
"""How long a client may read its file."""
