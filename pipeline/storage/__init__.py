"""Raster files in folders and in buckets: listing them, reading ranges of objects, storing uploads."""

from pipeline.storage.allowed_roots import EVERYWHERE, Root
from pipeline.storage.files import (
    UNNAMED_SCHEME,
    StoredFile,
    decode_name,
    encode_name,
    file_uri,
    path_of,
    rejection,
    storable_text,
    translate_os_error,
)
from pipeline.storage.listing import find_registered_file, list_files
from pipeline.storage.local import current_fingerprint, find_file, own_fingerprint
from pipeline.storage.locations import Location, literal_location, parse_location
from pipeline.storage.s3_ranges import FIRST_BYTES, ByteRange, PrefetchingRangeReader, RangeReader
from pipeline.storage.sidecars import PIXEL_SIDECARS, add_sidecars
