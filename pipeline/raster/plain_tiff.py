"""Recognises plain files, of which our own tags tell all that GDAL would: such files are not opened by GDAL.

A file is plain if GDAL opened one before it that has the same profile, and had nothing to say. The profile is
everything in the header but sizes, the place of the grid, texts, and where the pixels are. These must be simple: what
GDAL might read in another way is left to GDAL.
"""

import re
from collections.abc import Hashable

from pipeline.raster import tiff
from pipeline.raster.describe import ImageFacts
from pipeline.raster.header import Header
from pipeline.raster.integrity import block_index_tags, block_lengths, pixel_bytes
from pipeline.raster.layout import ghost_area
from pipeline.raster.nodata import parse_nodata

_PREDICTOR = 317
_TEXTS = frozenset(
    {269, 270, 305, tiff.DATETIME, 315, 316, 33432, tiff.GDAL_METADATA, tiff.GDAL_NODATA}
)
"""Tags with texts: names, programs, times, copyright, and those of GDAL."""
_ANY_LENGTH = tiff.BLOCK_INDEX_TAGS | _TEXTS - {tiff.DATETIME}
_STRUCTURE = frozenset(
    {
        tiff.NEW_SUBFILE_TYPE,
        tiff.SUBFILE_TYPE,
        tiff.COMPRESSION,
        tiff.PHOTOMETRIC,
        tiff.SAMPLES_PER_PIXEL,
        tiff.PLANAR_CONFIGURATION,
    }
    | {_PREDICTOR, tiff.TILE_WIDTH, tiff.TILE_LENGTH}
)
"""Tags that tell how pixels are stored, with one value; and with one for each band:"""
_STRUCTURE_OF_BANDS = (tiff.BITS_PER_SAMPLE, tiff.EXTRA_SAMPLES, tiff.SAMPLE_FORMAT)
_INTEGERS = (3, 4, 16)
"""Types with 16, 32 and 64 bits: writers take the smallest one for the lengths of blocks."""
_ANY_INTEGER = -1
_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946, 50000})
"""None, LZW, Deflate, PackBits and Zstandard. Of others GDAL may look at the pixels."""
_MAX_SIDE = 1_000_000
"""Pixels; GDAL has limits for the sizes of images and blocks."""
_MAX_PROFILES = 256

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,20})?(e[+-]?\d{1,2})?|nan", re.ASCII)
_ITEM = (
    r' *<Item name="([A-Za-z][\w#.-]*)"(?: sample="(\d{1,4})")?(?: role="(description|offset|scale)")?>'
    r"([!-%'-;=?-~](?:[ -%'-;=?-~]*[!-%'-;=?-~])?)</Item>\n"
)
"""One item of GDAL_METADATA: name, band from 0, role and text, without anything that needs an escape."""
_ITEMS = re.compile(_ITEM, re.ASCII)
_METADATA = re.compile(rf"<GDALMetadata>\n(?:{_ITEM})*</GDALMetadata>\n?", re.ASCII)
_NO_METADATA = "<GDALMetadata>\n</GDALMetadata>"
_RESERVED = ("AREA_OR_POINT", "TIFFTAG_", "NODATA", "OVERVIEW")
"""Begin names of metadata that mean something else to GDAL, in capitals."""


class PlainFiles:
    """The profiles of files that GDAL opened, and the type of their pixels."""

    def __init__(self) -> None:
        self._dtypes: dict[Hashable, str] = {}

    def find_facts(self, header: Header) -> ImageFacts | None:
        """Return what GDAL would read of a plain file; None for others."""
        dtype = self._dtypes.get(_profile(header))
        if dtype is None or not _is_simple(header, dtype):
            return None
        return _read_facts(header.main, dtype)

    def store(self, header: Header, dtype: str) -> None:
        """Remember the profile of a file that GDAL opened without a warning."""
        if len(self._dtypes) >= _MAX_PROFILES:
            self._dtypes.clear()
        self._dtypes[_profile(header)] = dtype


def _profile(header: Header) -> Hashable:
    reader = header.main.reader
    structures = tuple(map(_structure, header.directories))
    return reader.order, reader.is_big, ghost_area(reader), header.main.geo_tags, structures


def _structure(directory: tiff.Directory) -> Hashable:
    """Return the tags of a directory with their types and numbers of values, and the values that tell the structure."""
    tags = tuple(
        [
            (
                tag,
                _ANY_INTEGER if tag in tiff.BLOCK_INDEX_TAGS and kind in _INTEGERS else kind,
                None if tag in _ANY_LENGTH else values,
                value if tag in _STRUCTURE else None,
            )
            for tag, (kind, values, _, value) in directory.entries.items()
        ]
    )
    return tags, tuple([directory.raw(tag) for tag in _STRUCTURE_OF_BANDS])


def _is_simple(header: Header, dtype: str) -> bool:
    """Return whether what the profile leaves out is simple."""
    nodata = header.main.text(tiff.GDAL_NODATA)
    return (
        (nodata is None or bool(_NUMBER.fullmatch(nodata)))
        and not parse_nodata(nodata, dtype).warnings
        and ghost_area(header.main.reader) is not None
        and all(map(_is_simple_directory, header.directories))
    )


def _is_simple_directory(directory: tiff.Directory) -> bool:
    entries, count = directory.entries, directory.block_count
    return (
        len(entries) == directory.listed
        and max(directory.width, directory.height) <= _MAX_SIDE
        and directory.integer(tiff.COMPRESSION, 1) in _COMPRESSIONS
        and all(
            tag in entries and entries[tag].values == count for tag in block_index_tags(directory)
        )
        and all(entries[tag].value is not None for tag in _STRUCTURE & entries.keys())
        and (count > 2 or not directory.uncompressed or _has_true_lengths(directory))
        and all(_is_simple_text(directory.raw(tag)) for tag in _TEXTS & entries.keys())
    )


def _has_true_lengths(directory: tiff.Directory) -> bool:
    """Return whether each block is as long as its pixels; libtiff may correct the length of one or two blocks."""
    count = directory.block_count
    return bool((block_lengths(directory, 0, count) == pixel_bytes(directory, 0, count)).all())


def _is_simple_text(raw: bytes) -> bool:
    return raw.isascii() and raw.find(b"\0") == len(raw) - 1


def _read_facts(main: tiff.Directory, dtype: str) -> ImageFacts | None:
    """Return the facts in the tags; None where the metadata are not simple."""
    text = (main.text(tiff.GDAL_METADATA) or "") if tiff.GDAL_METADATA in main else _NO_METADATA
    if not _METADATA.fullmatch(text):
        return None
    count = main.samples
    metadata: list[dict[str, str]] = [{} for _ in range(count + 1)]
    descriptions: list[str | None] = [None] * count
    seen = set()
    for name, sample, role, value in _ITEMS.findall(text):
        band = int(sample) if sample else -1
        item = (name.upper(), band, role)
        if item in seen or band >= count or (role and not sample) or item[0].startswith(_RESERVED):
            return None
        seen.add(item)
        if role == "description":
            descriptions[band] = value
        elif not role:
            metadata[band][name] = value
    *bands, of_file = metadata
    return ImageFacts(dtype, (None,) * count, of_file, {}, bands, tuple(descriptions))
