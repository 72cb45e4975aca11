"""Writes TIFFs value by value, in ways that some programs used and no library offers, with blocks that GDAL encoded."""

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
"""Types of TIFF 6.0 to struct's codes; 2, for text, takes bytes as they are."""

Values = Sequence[int] | Sequence[float] | bytes
SCALE, TIE, MATRIX, KEYS, DOUBLES, ASCII, METADATA, NODATA = (
    33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113,
)  # fmt: skip


@dataclass
class HandMade:
    """A TIFF of one image, of which each part can be changed before it is written."""

    tags: dict[int, tuple[int, Values]]
    """Tag to type and values, without those that say where the blocks are."""
    blocks: list[bytes]
    tiled: bool = False
    big: bool = False
    order: str = "<"
    counts: list[int] | None = field(default=None)
    """The lengths that the file lists; an empty list leaves the tag out, None lists the true ones."""
    header_last: bool = False
    pointer: bytes | None = None
    """What follows the directory where 0 should stand for "no further image"."""

    def write(self, path: Path) -> Path:
        """Write it: header, values, directory, then blocks, or the blocks before the values."""
        path.write_bytes(self.data())
        return path

    def data(self) -> bytes:
        """The bytes of the file."""
        start = 16 if self.big else 8
        size = len(self._directory(0, [0] * len(self.blocks)))
        pixels = b"".join(self.blocks)
        first = start if self.header_last else start + size
        begins = [first + sum(map(len, self.blocks[:n])) for n in range(len(self.blocks))]
        base = start + len(pixels) if self.header_last else start
        header = self._directory(base, begins)
        body = pixels + header if self.header_last else header + pixels
        return self._head(base + self._values_size) + body

    def _head(self, directory: int) -> bytes:
        mark = b"II" if self.order == "<" else b"MM"
        if self.big:
            return mark + struct.pack(self.order + "HHHQ", 43, 8, 0, directory)
        return mark + struct.pack(self.order + "HI", 42, directory)

    def _directory(self, base: int, begins: list[int]) -> bytes:
        number, inline = (16, 8) if self.big else (4, 4)
        tags = {**self.tags, (324 if self.tiled else 273): (number, begins)}
        counts = [len(block) for block in self.blocks] if self.counts is None else self.counts
        if counts:
            tags[325 if self.tiled else 279] = (number, counts)
        values, entries = b"", b""
        for tag, (kind, listed) in sorted(tags.items()):
            data = self._packed(kind, listed)
            if len(data) > inline:
                place, values = base + len(values), values + data + b"\0" * (len(data) % 2)
                data = struct.pack(self.order + ("Q" if self.big else "I"), place)
            head = struct.pack(self.order + ("HHQ" if self.big else "HHI"), tag, kind, len(listed))
            entries += head + data.ljust(inline, b"\0")
        self._values_size = len(values)
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(tags))
        return values + count + entries + (bytes(inline) if self.pointer is None else self.pointer)

    def _packed(self, kind: int, values: Values) -> bytes:
        if isinstance(values, bytes):
            return values
        return struct.pack(f"{self.order}{len(values)}{_CODES[kind]}", *values)


def pixels_of(shape: tuple[int, int, int] = (1, 100, 100), dtype: str = "uint8") -> Any:
    """Bands, rows and columns of a pattern that compresses, and in which no block is empty."""
    numbers = np.arange(1, int(np.prod(shape)) + 1).reshape(shape)
    return (numbers * 7 % 250 + 1).astype(dtype)


def handmade(
    compress: str = "none", tiled: bool = False, pixels: Any = None, **creation: Any
) -> HandMade:
    """An image in EPSG:28992 of strips of 30 rows, or tiles of 64 x 64, as GDAL encodes them."""
    values = pixels_of() if pixels is None else pixels
    count, height, width = values.shape
    blocks = {"blockxsize": 64, "blockysize": 64} if tiled else {"blockysize": 30}
    profile = {"count": count, "width": width, "height": height, "dtype": values.dtype.name}
    options = {"compress": compress, "tiled": tiled, "interleave": "pixel", **blocks, **creation}
    with MemoryFile() as memory, rasterio.Env():
        with memory.open(driver="GTiff", **profile, **options, transform=_PLACE) as dataset:
            dataset.write(values)
        with tifffile.TiffFile(memory) as tiff:
            page = tiff.pages.first
            tags = {int(tag.code): _copied(tag) for tag in page.tags.values()}
            data = [
                _bytes(tiff, *place)
                for place in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    for tag in (273, 279, 324, 325, METADATA):
        tags.pop(tag, None)
    tags[KEYS] = (3, RD_KEYS)
    return HandMade(tags, data, tiled)


_PLACE = rasterio.Affine(10.0, 0.0, 155_000.0, 0.0, -10.0, 463_000.0)


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
"""A user-defined value (GeoTIFF 1.1)."""


def write_keys(path: Path, *rows: Row, image: HandMade | None = None) -> Path:
    """A GeoTIFF with these keys and no others."""
    image = image or handmade()
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
