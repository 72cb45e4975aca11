"""Recognises plain files, for which our own reading of the tags gives the same facts as GDAL; GDAL need not open them.

A file is plain if GDAL has opened a file with the same profile without a warning. The profile is everything in the
header except sizes, the place of the grid, texts, and the offsets of the pixels. These exceptions must be simple:
whatever GDAL might interpret differently is left to GDAL.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter

from pipeline.raster import tiff
from pipeline.raster.describe import Description, ImageFacts, describe
from pipeline.raster.header import Header
from pipeline.raster.integrity import block_index_tags, block_lengths, pixel_bytes
from pipeline.raster.layout import ghost_area
from pipeline.raster.models import Placement
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
"""Tags about the storage of pixels, with one value; the next tags have one value for each band:"""
_STRUCTURE_OF_BANDS = (tiff.BITS_PER_SAMPLE, tiff.EXTRA_SAMPLES, tiff.SAMPLE_FORMAT)
_INTEGERS = (3, 4, 16)
"""Integer types with 16, 32 and 64 bits; writers use the smallest one that fits for the lengths of blocks."""
_ANY_INTEGER = -1
_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946, 50000})
"""None, LZW, Deflate, PackBits and Zstandard. For other compressions GDAL may read pixels."""
_MAX_SIDE = 1_000_000
"""Maximum side in pixels, because GDAL has limits for the sizes of images and blocks."""
_MAX_KINDS = 256
_MAX_DESCRIPTIONS = 16
"""Maximum number of cached descriptions of one kind."""
_LONG_METADATA = 10_000
"""Bytes of metadata; longer metadata replace the other cached descriptions."""

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,20})?(e[+-]?\d{1,2})?|nan", re.ASCII)
_ITEM = (
    r' *<Item name="([A-Za-z][\w#.-]*)"(?: sample="(\d{1,4})")?(?: role="(description|offset|scale)")?>'
    r"([!-%'-;=?-~](?:[ -%'-;=?-~]*[!-%'-;=?-~])?)</Item>\n"
)
"""One item of GDAL_METADATA: name, band from 0, role and text, without characters that need escaping."""
_ITEMS = re.compile(_ITEM, re.ASCII)
_METADATA = re.compile(rf"<GDALMetadata>\n(?:{_ITEM})*</GDALMetadata>\n?", re.ASCII)
_NO_METADATA = "<GDALMetadata>\n</GDALMetadata>"
_RESERVED = ("AREA_OR_POINT", "TIFFTAG_", "NODATA", "OVERVIEW")
"""Prefixes, in capitals, of names of metadata with a special meaning in GDAL."""


@dataclass(frozen=True)
class _Kind:
    """The facts that all files with one profile share."""

    dtype: str
    descriptions: dict[Hashable, Description | None] = field(default_factory=dict)
    """By nodata and metadata; None if these are not simple. Files that share them differ in place and time only."""


class PlainFiles:
    """The kinds of files that GDAL has opened."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def describe(self, header: Header, placement: Placement) -> Description | None:
        """Return the description of a plain file, equal to that by GDAL; None for other files."""
        kind, main = self._kinds.get(_profile(header)), header.main
        if kind is None or not all(map(_is_simple, header.directories)):
            return None
        texts = main.raw(tiff.GDAL_NODATA), main.raw(tiff.GDAL_METADATA)
        if texts not in kind.descriptions:
            if len(kind.descriptions) >= _MAX_DESCRIPTIONS or len(texts[1]) > _LONG_METADATA:
                kind.descriptions.clear()
            facts = _read_facts(main, kind.dtype)
            kind.descriptions[texts] = describe(facts, header, (), placement) if facts else None
        same = kind.descriptions[texts]
        if same is None:
            return None
        times = same.times._replace(datetime=main.text(tiff.DATETIME))
        return same._replace(placement=placement, times=times)

    def store(self, header: Header, dtype: str) -> None:
        """Store the profile of a file that GDAL opened without a warning, if such files may be plain."""
        if ghost_area(header.main.reader) is None or not all(
            map(_may_be_plain, header.directories)
        ):
            return
        if len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        self._kinds[_profile(header)] = _Kind(dtype)


def _profile(header: Header) -> Hashable:
    reader = header.main.reader
    structures = tuple(map(_structure, header.directories))
    return reader.order, reader.is_big, ghost_area(reader), header.main.geo_tags, structures


def _structure(directory: tiff.Directory) -> Hashable:
    """Return the tags of a directory with their types and counts, and the values that define the structure."""
    shape = _shape(directory.shape)
    values = map(directory.single, shape.structure)
    bands = map(directory.raw, _STRUCTURE_OF_BANDS)
    return shape.key, shape.fixed(directory.counts), *values, *bands


@dataclass(frozen=True)
class _Shape:
    """What must be compared in directories with the same tags and types."""

    key: Hashable
    """Tags and types; all integer types of the block index count as the same."""
    fixed: Callable[[Sequence[int]], Hashable]
    """Selects the counts of values that belong to the profile."""
    structure: Sequence[int]
    """Tags whose values belong to the profile."""
    texts: Sequence[int]
    """Tags with texts."""


@lru_cache(maxsize=_MAX_KINDS)
def _shape(shape: tiff.Shape) -> _Shape:
    pairs = [*zip(shape.tags, shape.kinds, strict=True)]
    key = tuple(
        (tag, _ANY_INTEGER if tag in tiff.BLOCK_INDEX_TAGS and kind in _INTEGERS else kind)
        for tag, kind in pairs
    )
    fixed = [place for place, tag in enumerate(shape.tags) if tag not in _ANY_LENGTH]
    return _Shape(
        key,
        itemgetter(*fixed),
        [tag for tag in shape.tags if tag in _STRUCTURE],
        [tag for tag in shape.tags if tag in _TEXTS],
    )


def _may_be_plain(directory: tiff.Directory) -> bool:
    """Return whether a directory with this profile may be plain."""
    return (
        len(directory.tags) == len(directory.counts)
        and directory.integer(tiff.COMPRESSION, 1) in _COMPRESSIONS
        and all(directory.single(tag) is not None for tag in _STRUCTURE & directory.tags)
    )


def _is_simple(directory: tiff.Directory) -> bool:
    """Return whether everything that is not in the profile is simple."""
    count = directory.block_count
    return (
        not directory.lost_tags
        and max(directory.width, directory.height) <= _MAX_SIDE
        and all(directory.count(tag) == count for tag in block_index_tags(directory))
        and all(_is_simple_text(directory.raw(tag)) for tag in _shape(directory.shape).texts)
        and (count > 2 or not directory.uncompressed or _has_true_lengths(directory))
    )


def _has_true_lengths(directory: tiff.Directory) -> bool:
    """Return whether each block is as long as its pixels; libtiff may correct the length of one or two blocks."""
    count = directory.block_count
    return bool((block_lengths(directory, 0, count) == pixel_bytes(directory, 0, count)).all())


def _is_simple_text(raw: bytes) -> bool:
    return raw.isascii() and raw.find(b"\0") == len(raw) - 1


def _read_facts(main: tiff.Directory, dtype: str) -> ImageFacts | None:
    """Return the facts in the tags; None if nodata or metadata are not simple."""
    nodata = main.text(tiff.GDAL_NODATA)
    if (nodata is not None and not _NUMBER.fullmatch(nodata)) or parse_nodata(
        nodata, dtype
    ).warnings:
        return None
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
