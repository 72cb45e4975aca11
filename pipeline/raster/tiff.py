"""Reads the directories (IFDs) and tags of a TIFF file with our own code, within a budget and without pixels."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from operator import mul
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import EmptyFile, NotAGeoTIFF, OverBudget, Truncated, Unreadable
from pipeline.raster.budget import Budget, raise_limit

T = TypeVar("T")

# Tags of TIFF 6.0, of the GeoTIFF 1.1 standard and of GDAL.
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

BLOCK_INDEX_TAGS = frozenset({STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS})
"""Tags with a value per block; they are read in parts, because they may be larger than the budget for one tag."""

# Order of bits, options of fax codecs, predictor, colour map, inks, range of samples, tables and colour subsampling
# of JPEG, parameters of LERC.
_DECODING_TAGS = frozenset(
    {266, 292, 293, 317, 320, 330, 332, 340, 341, 347, *range(512, 522), *range(529, 533), 50674}
)
_REQUIRED_TAGS = BLOCK_INDEX_TAGS | _DECODING_TAGS | {
    NEW_SUBFILE_TYPE, SUBFILE_TYPE, IMAGE_WIDTH, IMAGE_LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC,
    SAMPLES_PER_PIXEL, ROWS_PER_STRIP, PLANAR_CONFIGURATION, DATETIME, TILE_WIDTH, TILE_LENGTH, EXTRA_SAMPLES,
    SAMPLE_FORMAT, MODEL_PIXEL_SCALE, MODEL_TIEPOINT, MODEL_TRANSFORMATION, GEO_KEY_DIRECTORY, GEO_DOUBLE_PARAMETERS,
    GEO_ASCII_PARAMETERS, GDAL_METADATA, GDAL_NODATA, RPC_COEFFICIENTS,
}  # fmt: skip
"""Tags that are needed for pixels or facts; the values of other tags may lie beyond the end of the file."""

# Type codes of TIFF 6.0 and BigTIFF to the numpy code of one value; rationals are pairs.
_NUMPY_CODES = {
    1: "u1", 2: "S1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4",
    10: "i8", 11: "f4", 12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
_SIZES = {code: int(numpy_code[1:]) for code, numpy_code in _NUMPY_CODES.items()}
_INTEGER_CODES = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""TIFF type code -> format character of `struct`; the same for the next mapping."""
_FLOAT_CODES = {11: "f", 12: "d"}
_UNSIGNED_TYPES = frozenset({1, 3, 4, 13, 16, 18})
_TEXT_TYPES = frozenset({1, 2, 7})

_NOT_INTEGERS = "a tag that must hold integers does not; write the file again"

_VERSIONS = {b"II": (b"\x2a\0", b"\x2b\0"), b"MM": (b"\0\x2a", b"\0\x2b")}
"""Byte order -> version numbers 42 (classic TIFF) and 43 (BigTIFF)."""
_YCBCR, _MASK = 6, 4
"""Values of PhotometricInterpretation (TIFF 6.0)."""

_READ_AHEAD_BYTES = 32 * 1024
"""Bytes of the first read; they contain the whole header of nearly every cloud-optimised GeoTIFF."""
_MAX_TAGS_OF_KNOWN_SHAPES = 100
_MAX_TAGS_PER_DIRECTORY = 65_535
"""The limit of classic TIFF; libtiff applies it to BigTIFF too."""


class Shape:
    """The tags and types of a directory. Files of the same program share them, so each shape is computed once."""

    def __init__(self, order: str, inline: int, tags: Sequence[int], kinds: Sequence[int]) -> None:
        """`inline` is the maximum number of bytes of a value in the directory itself."""
        self.tags, self.kinds = tags, kinds
        # As in libtiff, the first entry of a tag counts, and unknown types are skipped.
        self.index: dict[int, int] = {}
        """Tag -> index of its entry in the directory."""
        for place, (tag, kind) in enumerate(zip(tags, kinds, strict=True)):
            if kind in _SIZES:
                self.index.setdefault(tag, place)
        self.widths = [_SIZES.get(kind, 0) for kind in kinds]
        """Size in bytes of one value of each tag."""
        self.singles = [
            (tag, place, 8 * (inline - width) if order == ">" else 0, (1 << 8 * width) - 1)
            for tag, place in self.index.items()
            if kinds[place] in _UNSIGNED_TYPES and (width := self.widths[place]) <= inline
        ]
        """Tag, index, shift and mask of each entry that may be one integer in the directory itself."""


_shape = lru_cache(maxsize=256)(Shape)


class _lazy(Generic[T]):  # noqa: N801 - a decorator
    """`functools.cached_property` without its lock, which takes longer than most values (Python 3.12 has none)."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute

    def __get__(self, instance: object, _: type) -> T:
        value = instance.__dict__[self._compute.__name__] = self._compute(instance)
        return value


class Directory:
    """One IFD: the tags of one image, overview or mask."""

    def __init__(
        self, reader: "HeaderReader", offset: int, start: int, shape: Shape, counts: Sequence[int],
        values: Sequence[int],
    ) -> None:  # fmt: skip
        """`start` is the position of the first entry; `values` has the values of tags, or their offsets.

        Raises Truncated if values lie beyond the end of the file, OverBudget if they are too large.
        """
        self.offset = offset
        self.reader = reader
        self.shape = shape
        self.counts = counts
        """The listed number of values of each tag."""
        self._start = start
        self._values = values
        self._sizes = [*map(mul, counts, shape.widths)]
        self._index = shape.index
        self._singles = {
            tag: values[place] >> shift & mask
            for tag, place, shift, mask in shape.singles
            if counts[place] == 1
        }
        self.lost_tags = tuple(
            tag
            for tag, place in shape.index.items()
            if self._sizes[place] > reader.offset_size
            and not _is_within(reader, tag, values[place], self._sizes[place])
        )
        """Tags that are ignored, because they are not needed and their values lie beyond the end of the file."""
        if self.lost_tags:
            self._index = {t: p for t, p in shape.index.items() if t not in self.lost_tags}

    @property
    def tags(self) -> Set[int]:
        """The tags that can be read."""
        return self._index.keys()

    def single(self, tag: int) -> int | None:
        """Return the value of a tag with a single unsigned integer; None for others."""
        return self._singles.get(tag)

    def count(self, tag: int) -> int:
        """Return the number of values of a tag; 0 if it is missing."""
        place = self._index.get(tag)
        return 0 if place is None else self.counts[place]

    def kind(self, tag: int) -> int | None:
        """Return the type of a tag; None if it is missing."""
        place = self._index.get(tag)
        return None if place is None else self.shape.kinds[place]

    def _position(self, place: int) -> int:
        inline = self.reader.offset_size
        if self._sizes[place] > inline:
            return self._values[place]
        return self._start + (place + 1) * (4 + 2 * inline) - inline

    def __contains__(self, tag: int) -> bool:
        return tag in self._index

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return all values of an integer tag; none if it is missing. Raises Unreadable."""
        value = self._singles.get(tag)
        if value is not None:
            return (value,)
        return self._unpack(tag, _INTEGER_CODES, self.count(tag))

    def integer(self, tag: int, default: int) -> int:
        """Return the first value of an integer tag. Raises Unreadable for a tag of another type."""
        value = self._singles.get(tag)
        if value is not None:
            return value
        return self._unpack(tag, _INTEGER_CODES, 1)[0] if self.count(tag) else default

    def doubles(self, tag: int) -> tuple[float, ...]:
        """Return all values of a floating-point tag; none if it is missing or of another type."""
        is_float = self.kind(tag) in _FLOAT_CODES
        return self._unpack(tag, _FLOAT_CODES, self.count(tag)) if is_float else ()

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a tag's values; none if it is missing."""
        place = self._index.get(tag)
        return b"" if place is None else self.reader.read(self._position(place), self._sizes[place])

    def text(self, tag: int) -> str | None:
        """Return the text of an ASCII tag up to its first NUL, decoded as UTF-8 or else as Latin-1."""
        return decode_text(self.raw(tag)) if self.kind(tag) in _TEXT_TYPES else None

    def _unpack(self, tag: int, codes: Mapping[int, str], values: int) -> tuple[Any, ...]:
        place = self._index.get(tag)
        if place is None:
            return ()
        kind = self.shape.kinds[place]
        if kind not in codes:
            raise Unreadable(_NOT_INTEGERS)
        return self.reader.unpack(f"{values}{codes[kind]}", self._position(place))

    def array(self, tag: int, start: int, stop: int) -> NDArray[Any]:
        """Return the values from `start` to `stop` of an existing integer tag, in the byte order of the file.

        Raises Unreadable for a tag of another type.
        """
        place = self._index[tag]
        kind, width = self.shape.kinds[place], self.shape.widths[place]
        if kind not in _INTEGER_CODES:
            raise Unreadable(_NOT_INTEGERS)
        raw = self.reader.read(self._position(place) + start * width, (stop - start) * width)
        return np.frombuffer(raw, self.reader.order + _NUMPY_CODES[kind])

    @_lazy
    def geo_tags(self) -> tuple[str, bytes, bytes, bytes]:
        """All bytes that determine the CRS: byte order, GeoTIFF keys, and their parameters."""
        tags = (GEO_KEY_DIRECTORY, GEO_DOUBLE_PARAMETERS, GEO_ASCII_PARAMETERS)
        keys, doubles, text = map(self.raw, tags)
        return self.reader.order, keys, doubles, text

    @_lazy
    def width(self) -> int:
        """Width of the image in pixels."""
        return self.integer(IMAGE_WIDTH, 0)

    @_lazy
    def height(self) -> int:
        """Height of the image in pixels."""
        return self.integer(IMAGE_LENGTH, 0)

    @_lazy
    def samples(self) -> int:
        """SamplesPerPixel: the number of bands."""
        return self.integer(SAMPLES_PER_PIXEL, 1)

    @_lazy
    def planes(self) -> int:
        """Number of planes: 1, or the number of bands if each is stored separately."""
        return self.samples if self.integer(PLANAR_CONFIGURATION, 1) == 2 else 1

    @property
    def uncompressed(self) -> bool:
        """Whether the image size determines the length of each block; False for subsampled colours."""
        return self.integer(COMPRESSION, 1) == 1 and self.integer(PHOTOMETRIC, 0) != _YCBCR

    @_lazy
    def block_count(self) -> int:
        """Number of tiles or strips in all planes. Raises Unreadable."""
        width, height = self.block_size
        if width <= 0 or height <= 0 or self.samples <= 0:
            raise Unreadable("its blocks or pixels have no size; write the file again")
        return -(-self.width // width) * -(-self.height // height) * self.planes

    @_lazy
    def tiled(self) -> bool:
        """Whether the pixels are stored in tiles; otherwise in strips."""
        return TILE_WIDTH in self._index

    @_lazy
    def block_size(self) -> tuple[int, int]:
        """Width and height of a tile or strip, in pixels."""
        if self.tiled:
            return self.integer(TILE_WIDTH, 0), self.integer(TILE_LENGTH, 0)
        return self.width, min(self.integer(ROWS_PER_STRIP, self.height), self.height)

    @property
    def reduced(self) -> bool:
        """Whether it is marked as a smaller version of another image."""
        subfile = self.integer(NEW_SUBFILE_TYPE, 0)
        return bool(subfile & 1) or self.integer(SUBFILE_TYPE, 0) == 2

    @_lazy
    def mask(self) -> bool:
        """Whether it is marked as a transparency mask of another image."""
        if self.integer(NEW_SUBFILE_TYPE, 0) & 4:
            return True
        return self.integer(PHOTOMETRIC, 0) == _MASK


def decode_text(raw: bytes) -> str:
    """Return a text up to its first NUL, decoded as UTF-8 or else as Latin-1."""
    raw = raw.partition(b"\0")[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


_layout = lru_cache(maxsize=1024)(struct.Struct)


class ByteReader(Protocol):
    """The bytes of an open file."""

    @property
    def size(self) -> int:
        """Size of the whole file in bytes."""

    def read(self, position: int, least: int, most: int) -> bytes:
        """Return at least `least` and at most `most` bytes from a position, or fewer at the end of the file."""


class HeaderReader:
    """Reads an open file in its byte order, and counts the bytes against the budget."""

    order = "<"
    """Byte order as a character of `struct`."""
    is_big = False
    """Whether it is a BigTIFF."""
    offset_size = 4
    """Size of an offset in bytes: 4, or 8 in a BigTIFF."""

    def __init__(self, file: ByteReader, budget: Budget) -> None:
        self._file = file
        self.size = file.size
        self.budget = budget
        self._spent = 0
        self._head = file.read(0, 0, _READ_AHEAD_BYTES)
        self._window_start, self._window = 0, self._head

    @property
    def header_size(self) -> int:
        """Size of the file header in bytes."""
        return 16 if self.is_big else 8

    def read(self, position: int, length: int) -> bytes:
        """Read exactly `length` bytes. Raises Truncated beyond the end of the file."""
        stop = position + length
        if stop <= len(self._head):
            return self._head[position:stop]
        start = position - self._window_start
        if start >= 0 and start + length <= len(self._window):
            return self._window[start : start + length]
        if position + length > self.size:
            raise Truncated(
                f"the header needs bytes up to {position + length} of a file of {self.size}; "
                "copy or download it again"
            )
        data = self._file.read(position, length, max(length, _READ_AHEAD_BYTES))
        if len(data) < length:
            raise Truncated("the file became shorter while it was read; read it again")
        if length <= _READ_AHEAD_BYTES:
            self._window, self._window_start = data, position
        return data[:length]

    def unpack(self, codes: str, position: int) -> tuple[Any, ...]:
        """Read values of these codes of `struct`. Raises Truncated."""
        layout = _layout(self.order + codes)
        return layout.unpack(self.read(position, layout.size))

    def read_offset(self, position: int) -> int:
        """Read an offset. Raises Truncated."""
        return int(self.unpack("Q" if self.is_big else "I", position)[0])

    def spend(self, length: int) -> None:
        """Count bytes of the header. Raises OverBudget."""
        self._spent += length
        if self._spent > self.budget.header_bytes:
            raise OverBudget(
                f"its header takes more than {self.budget.header_bytes} bytes; {raise_limit('header_bytes')}"
            )


def read_directories(file: ByteReader, budget: Budget) -> tuple[Directory, ...]:
    """Read the main chain of directories of a classic TIFF or BigTIFF, in the order of the chain.

    The values of every tag lie inside the file, except those in `lost_tags`. Raises EmptyFile, NotAGeoTIFF,
    Truncated, Unreadable or OverBudget.
    """
    if file.size == 0:
        raise EmptyFile("the file has no bytes; copy or download it again")
    directories = tuple(_read_chain(HeaderReader(file, budget)))
    if not directories:
        raise Unreadable("the TIFF has a header but no image; write the file again")
    return directories


def _read_chain(reader: HeaderReader) -> Iterator[Directory]:
    offset = _read_header(reader)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise Unreadable("the chain of its images is a loop; write the file again")
        if len(seen) >= reader.budget.ifds:
            raise OverBudget(f"it has more than {reader.budget.ifds} images; {raise_limit('ifds')}")
        seen.add(offset)
        directory, offset = _read_directory(reader, offset)
        yield directory


def _read_header(reader: HeaderReader) -> int:
    """Set byte order and kind of TIFF; return the offset of the first directory."""
    magic = reader.read(0, min(4, reader.size))
    if magic[:2] not in _VERSIONS or magic[2:] not in _VERSIONS[magic[:2]]:
        raise NotAGeoTIFF("it is not a TIFF file; give a GeoTIFF")
    reader.order = "<" if magic[:2] == b"II" else ">"
    if 42 in magic[2:]:
        return reader.read_offset(4)
    offset_size, zero, offset = reader.unpack("HHQ", 4)
    if (offset_size, zero) != (8, 0):
        raise Unreadable("its BigTIFF header is not valid; write the file again")
    reader.is_big, reader.offset_size = True, 8
    return int(offset)


def _read_directory(reader: HeaderReader, offset: int) -> tuple[Directory, int]:
    """Return the directory at `offset`, and the offset of the next one."""
    count_code, entry_code = ("Q", "HHQQ") if reader.is_big else ("H", "HHII")
    (count,) = reader.unpack(count_code, offset)
    if not 0 < count <= _MAX_TAGS_PER_DIRECTORY:
        raise Unreadable(f"one of its images has {count} tags; write the file again")
    layout = _layout(reader.order + entry_code)
    start = offset + struct.calcsize("=" + count_code)
    size = count * layout.size
    reader.spend(size)
    tags, kinds, counts, values = zip(*layout.iter_unpack(reader.read(start, size)), strict=True)
    find_shape = _shape if count <= _MAX_TAGS_OF_KNOWN_SHAPES else Shape
    shape = find_shape(reader.order, reader.offset_size, tags, kinds)
    directory = Directory(reader, offset, start, shape, counts, values)
    return directory, _next_offset(reader, start + size)


def _next_offset(reader: HeaderReader, position: int) -> int:
    """Return the offset of the next directory; 0 if there is none.

    Some programs end the file without this offset; libtiff reads that as 0 too.
    """
    bytes_left = reader.size - position
    if bytes_left < reader.offset_size and not any(reader.read(position, bytes_left)):
        return 0
    return reader.read_offset(position)


def _is_within(reader: HeaderReader, tag: int, position: int, size: int) -> bool:
    """Check the values of a tag against the file and the budget. Raises Truncated or OverBudget.

    Returns False if the tag is not needed and its values lie beyond the end of the file.
    """
    if position + size > reader.size:
        if tag not in _REQUIRED_TAGS:
            return False
        raise Truncated(
            f"tag {tag} lies beyond the end of the file, of {reader.size} bytes; "
            "copy or download it again"
        )
    if tag not in BLOCK_INDEX_TAGS and size > reader.budget.tag_bytes:
        raise OverBudget(f"tag {tag} takes {size} bytes; {raise_limit('tag_bytes')}")
    reader.spend(size)
    return True
