"""Lists and reads raster files in folders, in buckets and on web servers, and stores uploads."""

from pipeline.storage.allowed_roots import EVERYWHERE, Root
from pipeline.storage.byte_range import ByteRange
from pipeline.storage.files import (
    S3,
    UNNAMED_SCHEME,
    WEB,
    Stated,
    StoredFile,
    decode_name,
    encode_name,
    file_uri,
    path_of,
    rejection,
    storable_text,
    translate_os_error,
)
from pipeline.storage.listing import find_registered_file, list_files, unique
from pipeline.storage.local import ListedItem, current_fingerprint, find_file, own_fingerprint
from pipeline.storage.locations import Location, literal_location, parse_location
from pipeline.storage.ranges import FIRST_BYTES, PrefetchingRangeReader, RangeReader
from pipeline.storage.sidecars import PIXEL_SIDECARS, add_sidecars
