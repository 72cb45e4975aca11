"""Reads the directories (IFDs) and tags of a TIFF file itself: within a budget, without pixels."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import EmptyFile, NotAGeoTIFF, OverBudget, Truncated, Unreadable
from pipeline.raster.models import Budget

# TIFF 6.0, the GeoTIFF 1.1 standard and GDAL's own tags.
NEW_SUBFILE_TYPE = 254
SUBFILE_TYPE = 255
IMAGE_WIDTH = 256
IMAGE_LENGTH = 257
BITS_PER_SAMPLE = 258
COMPRESSION = 259
PHOTOMETRIC = 262
STRIP_OFFSETS = 273
SAMPLES_PER_PIXEL = 277
ROWS_PER_STRIP = 278
STRIP_BYTE_COUNTS = 279
PLANAR_CONFIGURATION = 284
DATETIME = 306
TILE_WIDTH = 322
TILE_LENGTH = 323
TILE_OFFSETS = 324
TILE_BYTE_COUNTS = 325
EXTRA_SAMPLES = 338
SAMPLE_FORMAT = 339
MODEL_PIXEL_SCALE = 33550
MODEL_TIEPOINT = 33922
MODEL_TRANSFORMATION = 34264
GEO_KEY_DIRECTORY = 34735
GEO_DOUBLE_PARAMETERS = 34736
GEO_ASCII_PARAMETERS = 34737
GDAL_METADATA = 42112
GDAL_NODATA = 42113
RPC_COEFFICIENTS = 50844

BLOCK_INDEX = frozenset({STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS})

# What the pixels are decoded by besides: order of bits, options of fax codecs, predictor, colour map, inks, range of
# samples, tables and colour subsampling of JPEG, parameters of LERC.
_DECODING = frozenset(
    {266, 292, 293, 317, 320, 330, 332, 340, 341, 347, *range(512, 522), *range(529, 533), 50674}
)
NEEDED = BLOCK_INDEX | _DECODING | {
    NEW_SUBFILE_TYPE, SUBFILE_TYPE, IMAGE_WIDTH, IMAGE_LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC,
    SAMPLES_PER_PIXEL, ROWS_PER_STRIP, PLANAR_CONFIGURATION, DATETIME, TILE_WIDTH, TILE_LENGTH, EXTRA_SAMPLES,
    SAMPLE_FORMAT, MODEL_PIXEL_SCALE, MODEL_TIEPOINT, MODEL_TRANSFORMATION, GEO_KEY_DIRECTORY, GEO_DOUBLE_PARAMETERS,
    GEO_ASCII_PARAMETERS, GDAL_METADATA, GDAL_NODATA, RPC_COEFFICIENTS,
}  # fmt: skip
"""Tags that pixels or facts depend on; of any other one the values may be missing."""

# Type codes of TIFF 6.0 and BigTIFF: numpy code of one value; rationals are pairs.
_NUMPY_CODES = {
    1: "u1", 2: "S1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4",
    10: "i8", 11: "f4", 12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
_SIZES = {code: int(numpy_code[1:]) for code, numpy_code in _NUMPY_CODES.items()}
_INTEGERS = frozenset({1, 3, 4, 6, 8, 9, 13, 16, 17, 18})

_YCBCR = 6
"""Value of PhotometricInterpretation (TIFF 6.0)."""

_FLOATING = {11: "f", 12: "d"}
"""Types of floating-point numbers to struct's codes."""

_READ_AHEAD = 32 * 1024
_MOST_ENTRIES = 65_535
"""Of one directory: the limit of classic TIFF, which libtiff applies to BigTIFF too."""


class Entry(NamedTuple):
    """One tag of a directory."""

    kind: int
    """TIFF type code."""
    values: int
    """How many values of that type."""
    position: int
    """Offset in the file of the first value."""

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return self.values * _SIZES[self.kind]


@dataclass(frozen=True)
class Directory:
    """One IFD: the tags of one image, overview or mask."""

    offset: int
    entries: dict[int, Entry]
    source: "HeaderReader"
    lost: tuple[int, ...] = ()
    """Tags that nothing depends on and whose values lie beyond the end of the file; not in `entries`."""

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def integers(self, tag: int) -> tuple[int, ...]:
        """All values of an integer tag; empty where it is missing. Raises Unreadable."""
        entry = self.entries.get(tag)
        if entry is None:
            return ()
        return tuple(int(value) for value in self.array(entry, 0, entry.values))

    def integer(self, tag: int, default: int) -> int:
        """The first value of an integer tag. Raises Unreadable where it is no integer."""
        entry = self.entries.get(tag)
        if entry is None or entry.values == 0:
            return default
        return int(self.array(entry, 0, 1)[0])

    def doubles(self, tag: int) -> tuple[float, ...]:
        """All values of a tag of floating-point numbers; empty where it is missing or of another type."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _FLOATING:
            return ()
        code = _FLOATING[entry.kind]
        return struct.unpack(f"{self.source.order}{entry.values}{code}", self.raw(tag))

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag's values; none where it is missing."""
        entry = self.entries.get(tag)
        return self.source.read(entry.position, entry.size) if entry else b""

    def text(self, tag: int) -> str | None:
        """The text of an ASCII tag up to its first NUL; bytes that are no UTF-8 as Latin 1."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in (1, 2, 7):
            return None
        raw = self.raw(tag).partition(b"\0")[0]
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def array(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        """The values from `start` up to `stop` of an integer tag, in the file's byte order."""
        if entry.kind not in _INTEGERS:
            raise Unreadable("a tag that must hold integers does not; write the file again")
        width = _SIZES[entry.kind]
        raw = self.source.read(entry.position + start * width, (stop - start) * width)
        return np.frombuffer(raw, self.source.order + _NUMPY_CODES[entry.kind])

    @cached_property
    def width(self) -> int:
        """In pixels."""
        return self.integer(IMAGE_WIDTH, 0)

    @cached_property
    def height(self) -> int:
        """In pixels."""
        return self.integer(IMAGE_LENGTH, 0)

    @cached_property
    def samples(self) -> int:
        """Values per pixel: the number of bands."""
        return self.integer(SAMPLES_PER_PIXEL, 1)

    @cached_property
    def planes(self) -> int:
        """Parts that hold the values of one band each; one where the values of a pixel lie together."""
        return self.samples if self.integer(PLANAR_CONFIGURATION, 1) == 2 else 1

    @cached_property
    def uncompressed(self) -> bool:
        """Whether the size of the image tells the length of each block; not of colours that share pixels."""
        return self.integer(COMPRESSION, 1) == 1 and self.integer(PHOTOMETRIC, 0) != _YCBCR

    @cached_property
    def block_count(self) -> int:
        """Tiles or strips, over all its planes. Raises Unreadable."""
        width, height = self.block_size
        if width <= 0 or height <= 0 or self.samples <= 0:
            raise Unreadable("its blocks or pixels have no size; write the file again")
        return -(-self.width // width) * -(-self.height // height) * self.planes

    @cached_property
    def tiled(self) -> bool:
        """Whether the pixels lie in tiles; otherwise in strips."""
        return TILE_WIDTH in self.entries

    @cached_property
    def block_size(self) -> tuple[int, int]:
        """Width and height of a tile or strip, in pixels."""
        if self.tiled:
            return self.integer(TILE_WIDTH, 0), self.integer(TILE_LENGTH, 0)
        return self.width, min(self.integer(ROWS_PER_STRIP, self.height), self.height)

    @cached_property
    def reduced(self) -> bool:
        """Whether it calls itself a smaller version of another image."""
        subfile = self.integer(NEW_SUBFILE_TYPE, 0)
        return bool(subfile & 1) or self.integer(SUBFILE_TYPE, 0) == 2

    @cached_property
    def mask(self) -> bool:
        """Whether it calls itself a transparency mask of another image."""
        return bool(self.integer(NEW_SUBFILE_TYPE, 0) & 4) or self.integer(PHOTOMETRIC, 0) == 4


class ByteReader(Protocol):
    """The bytes of an open file."""

    @property
    def size(self) -> int:
        """Of the whole file."""

    def read(self, position: int, least: int, most: int) -> bytes:
        """At least `least` and at most `most` bytes from a position on, or fewer where the file ends."""


class HeaderReader:
    """Bytes of an open file, counted against the budget."""

    order = "<"
    header_size = 8
    """Bytes before anything else; 16 in a BigTIFF."""

    def __init__(self, file: ByteReader, budget: Budget) -> None:
        self._file = file
        self.size = file.size
        self.budget = budget
        self._spent = 0
        self._window_start = 0
        self._window = file.read(0, 0, _READ_AHEAD)

    def read(self, position: int, length: int) -> bytes:
        """Raises Truncated beyond the end of the file."""
        start = position - self._window_start
        if start >= 0 and start + length <= len(self._window):
            return self._window[start : start + length]
        if position + length > self.size:
            raise Truncated(
                f"the header needs bytes up to {position + length} of a file of {self.size}; "
                "copy or download it again"
            )
        data = self._file.read(position, length, max(length, _READ_AHEAD))
        if len(data) < length:
            raise Truncated("the file became shorter while it was read; read it again")
        if length <= _READ_AHEAD:
            self._window, self._window_start = data, position
        return data[:length]

    def spend(self, length: int) -> None:
        """Counts bytes of the header. Raises OverBudget."""
        self._spent += length
        if self._spent > self.budget.header_bytes:
            raise OverBudget(
                f"its header takes more than {self.budget.header_bytes} bytes; raise the budget "
                "for header bytes if the file is meant to be so"
            )


def read_directories(file: ByteReader, budget: Budget) -> tuple[Directory, ...]:
    """The main chain of directories of a classic or big TIFF, in the order of the chain.

    Every tag's values lie inside the file, but for those in `lost`. Raises EmptyFile, NotAGeoTIFF,
    Truncated, Unreadable or OverBudget.
    """
    if file.size == 0:
        raise EmptyFile("the file has no bytes; copy or download it again")
    source = HeaderReader(file, budget)
    directories = tuple(_chain(source))
    if not directories:
        raise Unreadable("the TIFF has a header and no image; write the file again")
    return directories


def _chain(source: HeaderReader) -> Iterator[Directory]:
    big, offset = _header(source)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise Unreadable("the chain of its images is a loop; write the file again")
        if len(seen) >= source.budget.ifds:
            raise OverBudget(f"it has more than {source.budget.ifds} images; raise the budget")
        seen.add(offset)
        directory, offset = _directory(source, offset, big)
        yield directory


def _header(source: HeaderReader) -> tuple[bool, int]:
    """Whether it is a BigTIFF, and the offset of the first directory; sets the byte order."""
    magic = source.read(0, min(4, source.size))
    if magic[:2] not in (b"II", b"MM") or magic[2:] not in _VERSIONS[magic[:2]]:
        raise NotAGeoTIFF("it does not begin as a TIFF file does; give a GeoTIFF")
    source.order = "<" if magic[:2] == b"II" else ">"
    if 42 in magic[2:]:
        return False, _unpack(source, "I", 4)[0]
    offset_size, zero, offset = _unpack(source, "HHQ", 4)
    if (offset_size, zero) != (8, 0):
        raise Unreadable("its BigTIFF header is not valid; write the file again")
    source.header_size = 16
    return True, offset


_VERSIONS = {b"II": (b"\x2a\0", b"\x2b\0"), b"MM": (b"\0\x2a", b"\0\x2b")}
"""Version 42 is classic TIFF, 43 BigTIFF."""


def _directory(source: HeaderReader, offset: int, big: bool) -> tuple[Directory, int]:
    """The directory at `offset`, and the offset of the next one."""
    count_code, entry_code = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    (count,) = _unpack(source, count_code, offset)
    if not 0 < count <= _MOST_ENTRIES:
        raise Unreadable(f"one of its images has {count} tags; write the file again")
    layout = struct.Struct(source.order + entry_code)
    start = offset + struct.calcsize("=" + count_code)
    source.spend(count * layout.size)
    raw = source.read(start, count * layout.size)
    entries: dict[int, Entry] = {}
    lost = []
    inline = 8 if big else 4
    for index, (tag, kind, values, _) in enumerate(layout.iter_unpack(raw)):
        if tag in entries or tag in lost or kind not in _SIZES:
            continue  # as libtiff: the first of a tag counts, types from the future are left alone
        position = start + (index + 1) * layout.size - inline
        entry = _entry(source, tag, Entry(kind, values, position), big)
        if entry is None:
            lost.append(tag)
        else:
            entries[tag] = entry
    following = _following(source, start + len(raw), big)
    return Directory(offset, entries, source, tuple(lost)), following


def _following(source: HeaderReader, position: int, big: bool) -> int:
    """The offset of the next directory; 0 where there is none.

    Some programs end the file without it, which libtiff takes for 0 too.
    """
    left = source.size - position
    if left < (8 if big else 4) and not any(source.read(position, left)):
        return 0
    return int(_unpack(source, "Q" if big else "I", position)[0])


def _entry(source: HeaderReader, tag: int, entry: Entry, big: bool) -> Entry | None:
    """The entry with the true place of its values, which are inside the file and the budget.

    None where they are beyond the end of the file and nothing depends on them.
    """
    size = entry.size
    if size <= (8 if big else 4):
        return entry
    entry = entry._replace(position=_unpack(source, "Q" if big else "I", entry.position)[0])
    if entry.position + size > source.size:
        if tag not in NEEDED:
            return None
        raise Truncated(
            f"tag {tag} lies beyond the end of the file, of {source.size} bytes; "
            "copy or download it again"
        )
    if tag not in BLOCK_INDEX and size > source.budget.tag_bytes:
        raise OverBudget(f"tag {tag} takes {size} bytes; raise the budget for one tag")
    source.spend(size)
    return entry


def _unpack(source: HeaderReader, code: str, position: int) -> tuple[Any, ...]:
    layout = struct.Struct(source.order + code)
    return layout.unpack(source.read(position, layout.size))
