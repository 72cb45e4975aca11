"""Writes PNG files (ISO/IEC 15948) itself, because the reading processes do not allow GDAL's PNG driver."""

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE, _RGBA = 3, 6
"""Colour types."""
_LEVEL = 4
"""Compression level of deflate; compressing a tile takes 2 ms."""


def write_palette_png(indices: Bytes, colours: Bytes) -> bytes:
    """Return a PNG of rows x columns of indices into RGBA colours."""
    return _png(
        indices,
        _PALETTE,
        _chunk(b"PLTE", colours[:, :3].tobytes()) + _chunk(b"tRNS", colours[:, 3].tobytes()),
    )


def write_rgba_png(pixels: Bytes) -> bytes:
    """Return a PNG of rows x columns x RGBA."""
    return _png(pixels, _RGBA)


def _png(pixels: npt.NDArray[Any], colour_type: int, palette: bytes = b"") -> bytes:
    height, width = pixels.shape[:2]
    lines = np.zeros((height, 1 + pixels[0].size), np.uint8)  # the first byte is filter 0: none
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(lines.tobytes(), _LEVEL))
    return _SIGNATURE + _chunk(b"IHDR", head) + palette + data + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
