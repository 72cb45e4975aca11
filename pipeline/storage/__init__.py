"""Raster files in folders and in buckets: lists them with what identifies their content, reads parts of objects."""

from pipeline.storage.allowed_roots import EVERYWHERE, Root
from pipeline.storage.files import (
    NAMELESS,
    RASTER_SUFFIXES,
    StoredFile,
    file_uri,
    location_of,
    rejection,
    translated,
)
from pipeline.storage.listing import list_files
from pipeline.storage.local import own_fingerprint, present_fingerprint, stored_file
from pipeline.storage.locations import Place, named_place, place_of
from pipeline.storage.s3_ranges import FIRST_BYTES, Part, Parts, PartsAhead
from pipeline.storage.sidecars import OF_PIXELS, with_sidecars

__all__ = [
    "EVERYWHERE",
    "FIRST_BYTES",
    "NAMELESS",
    "OF_PIXELS",
    "RASTER_SUFFIXES",
    "Part",
    "Parts",
    "PartsAhead",
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
    "with_sidecars",
]
