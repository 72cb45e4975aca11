"""Lists raster files, in folders and in buckets, with what identifies their present content."""

from pipeline.storage.files import (
    RASTER_SUFFIXES,
    StoredFile,
    file_uri,
    location_of,
    rejection,
    translated,
)
from pipeline.storage.folders import own_fingerprint, present_fingerprint, stored_file
from pipeline.storage.listing import list_files
from pipeline.storage.places import Place, named_place, place_of
from pipeline.storage.roots import EVERYWHERE, Root

__all__ = [
    "EVERYWHERE",
    "RASTER_SUFFIXES",
    "Place",
    "Root",
    "StoredFile",
    "file_uri",
    "list_files",
    "location_of",
    "named_place",
    "own_fingerprint",
    "place_of",
    "present_fingerprint",
    "rejection",
    "stored_file",
    "translated",
]
