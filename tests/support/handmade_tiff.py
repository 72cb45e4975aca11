"""Write TIFFs value by value, as some programs do and no library can; GDAL encodes the blocks."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import tifffile
from rasterio.io import MemoryFile

from tests.support.factory import RD_KEYS

_CODES = {1: "B", 3: "H", 4: "I", 7: "B", 12: "d", 16: "Q"}
"""The codes of `struct` by type of TIFF 6.0. Type 2 is text, which is given as bytes."""

Values = Sequence[int] | Sequence[float] | bytes
SCALE, TIE, MATRIX, KEYS, DOUBLES, ASCII, METADATA, NODATA = (
    33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113,
)  # fmt: skip


@dataclass
class HandmadeTiff:
    """A TIFF of one image, whose parts can be changed before it is written."""

    tags: dict[int, tuple[int, Values]]
    """Type and values by tag, without the offsets and lengths of blocks."""
    blocks: list[bytes]
    tiled: bool = False
    big: bool = False
    order: str = "<"
    counts: list[int] | None = field(default=None)
    """The lengths of blocks that the file states. None states the true ones, an empty list leaves the tag out."""
    header_last: bool = False
    next_directory: bytes | None = None
    """The bytes after the directory; by default 0 for "no further image"."""

    def write(self, path: Path) -> Path:
        """Write header, values, directory and blocks; if `header_last`, the blocks come before the values."""
        path.write_bytes(self.data())
        return path

    def data(self) -> bytes:
        """Return the bytes of the file."""
        start = 16 if self.big else 8
        size = len(self._directory(0, [0] * len(self.blocks)))
        pixels = b"".join(self.blocks)
        first_block = start if self.header_last else start + size
        offsets = [first_block + sum(map(len, self.blocks[:n])) for n in range(len(self.blocks))]
        base = start + len(pixels) if self.header_last else start
        header = self._directory(base, offsets)
        body = pixels + header if self.header_last else header + pixels
        return self._head(base + self._values_size) + body

    def _head(self, directory: int) -> bytes:
        mark = b"II" if self.order == "<" else b"MM"
        if self.big:
            return mark + struct.pack(self.order + "HHHQ", 43, 8, 0, directory)
        return mark + struct.pack(self.order + "HI", 42, directory)

    def _directory(self, base: int, offsets: list[int]) -> bytes:
        offset_type, inline = (16, 8) if self.big else (4, 4)
        tags = {**self.tags, (324 if self.tiled else 273): (offset_type, offsets)}
        counts = [len(block) for block in self.blocks] if self.counts is None else self.counts
        if counts:
            tags[325 if self.tiled else 279] = (offset_type, counts)
        values, entries = b"", b""
        for tag, (kind, content) in sorted(tags.items()):
            data = self._packed(kind, content)
            if len(data) > inline:
                offset, values = base + len(values), values + data + b"\0" * (len(data) % 2)
                data = struct.pack(self.order + ("Q" if self.big else "I"), offset)
            head = struct.pack(self.order + ("HHQ" if self.big else "HHI"), tag, kind, len(content))
            entries += head + data.ljust(inline, b"\0")
        self._values_size = len(values)
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(tags))
        end = bytes(inline) if self.next_directory is None else self.next_directory
        return values + count + entries + end

    def _packed(self, kind: int, values: Values) -> bytes:
        if isinstance(values, bytes):
            return values
        return struct.pack(f"{self.order}{len(values)}{_CODES[kind]}", *values)


def make_pixels(shape: tuple[int, int, int] = (1, 100, 100), dtype: str = "uint8") -> Any:
    """Make bands, rows and columns of a pattern that compresses and has no empty block."""
    numbers = np.arange(1, int(np.prod(shape)) + 1).reshape(shape)
    return (numbers * 7 % 250 + 1).astype(dtype)


def make_tiff(
    compress: str = "none", tiled: bool = False, pixels: Any = None, **creation: Any
) -> HandmadeTiff:
    """Make an image in EPSG:28992 with strips of 30 rows or tiles of 64 x 64, which GDAL encodes."""
    values = make_pixels() if pixels is None else pixels
    count, height, width = values.shape
    blocks = {"blockxsize": 64, "blockysize": 64} if tiled else {"blockysize": 30}
    profile = {"count": count, "width": width, "height": height, "dtype": values.dtype.name}
    options = {"compress": compress, "tiled": tiled, "interleave": "pixel", **blocks, **creation}
    with MemoryFile() as memory, rasterio.Env():
        with memory.open(driver="GTiff", **profile, **options, transform=_TRANSFORM) as dataset:
            dataset.write(values)
        with tifffile.TiffFile(memory) as tiff:
            page = tiff.pages.first
            tags = {int(tag.code): _copied(tag) for tag in page.tags.values()}
            data = [
                _bytes(tiff, *block)
                for block in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    for tag in (273, 279, 324, 325, METADATA):
        tags.pop(tag, None)
    tags[KEYS] = (3, RD_KEYS)
    return HandmadeTiff(tags, data, tiled)


_TRANSFORM = rasterio.Affine(10.0, 0.0, 155_000.0, 0.0, -10.0, 463_000.0)


def _copied(tag: Any) -> tuple[int, Values]:
    value = tag.value
    if isinstance(value, str):
        return 2, value.encode() + b"\0"
    if isinstance(value, bytes | tuple):
        return int(tag.dtype), value
    return int(tag.dtype), (value,)


def _bytes(tiff: Any, offset: int, length: int) -> bytes:
    tiff.filehandle.seek(offset)
    return bytes(tiff.filehandle.read(length))


Row = tuple[int, int | float | str]
USER = 32_767
"""The code for a user-defined value in GeoTIFF 1.1."""


def write_keys(path: Path, *rows: Row, image: HandmadeTiff | None = None) -> Path:
    """Write a GeoTIFF with these keys and no others."""
    image = image or make_tiff()
    doubles: list[float] = []
    text, entries = "", []
    for key, value in sorted(rows, key=lambda row: row[0]):
        if isinstance(value, str):
            entries += [key, ASCII, len(value) + 1, len(text)]
            text += f"{value}|"
        elif isinstance(value, float):
            entries += [key, DOUBLES, 1, len(doubles)]
            doubles.append(value)
        else:
            entries += [key, 0, 1, value]
    image.tags[KEYS] = (3, [1, 1, 0, len(rows), *entries])
    if doubles:
        image.tags[DOUBLES] = (12, doubles)
    if text:
        image.tags[ASCII] = (2, text.encode() + b"\0")
    return image.write(path)
