"""Read the PNG files of the API by the rules of the standard, without the code under test."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_png(data: bytes) -> NDArray[Any]:
    """Return the pixels as rows x columns x RGBA; reads only PNG of 8 bits without filters."""
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    chunks: dict[bytes, bytes] = {}
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        assert zlib.crc32(kind + body) == checksum
        chunks[kind] = chunks.get(kind, b"") + body
        position += length + 12
    assert kind == b"IEND"
    width, height, depth, colours, _, _, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, interlace) == (8, 0)
    channels = {3: 1, 6: 4}[colours]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    pixels = lines[:, 1:].reshape(height, width, channels)
    if channels == 4:
        return pixels
    palette = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)
    alpha = np.frombuffer(chunks[b"tRNS"], np.uint8)
    return np.concatenate([palette, alpha[:, None]], axis=1)[pixels[:, :, 0]]
