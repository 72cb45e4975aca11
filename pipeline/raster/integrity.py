"""Checks that a TIFF contains everything that its header describes, without reading pixels."""

from collections.abc import Iterator, Sequence
from operator import add

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MultipleImages, OverBudget, Truncated, Unreadable
from pipeline.raster.budget import Budget, raise_limit
from pipeline.raster.models import RasterWarning
from pipeline.raster.tiff import (
    BITS_PER_SAMPLE,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_OFFSETS,
    Directory,
)

_FEW_BLOCKS = 100
"""For at most this many blocks, plain Python is faster than numpy."""
_BLOCKS_AT_ONCE = 2**20
"""Number of blocks whose offsets are in memory at once; they take 8 MiB."""
_MAX_TAGS_SHOWN = 5
"""Maximum number of tags in the message of a warning."""
_MAX_BLOCK_BYTES = 2**63
"""Maximum size of a block, so that sums of sizes fit into uint64."""


def check_integrity(directories: Sequence[Directory], budget: Budget) -> None:
    """Raise MultipleImages, OverBudget, Truncated or Unreadable unless the file is one complete raster."""
    main = directories[0]
    _check_size(main, budget)
    for directory in directories[1:]:
        if is_separate_image(directory, main):
            raise MultipleImages("the file contains several rasters; write one file for each")
    for directory in directories:
        _check_blocks(directory)


def is_separate_image(directory: Directory, main: Directory) -> bool:
    """Return whether another directory is not an overview or a mask.

    Some programs do not mark overviews, so a smaller image with the same aspect ratio counts as an overview.
    """
    if directory.reduced or directory.mask:
        return False
    smaller = directory.width < main.width and directory.height < main.height
    factor = main.width / max(directory.width, 1)
    # The sides of an overview are rounded up or down to whole pixels.
    return not (smaller and abs(main.height / factor - directory.height) <= 1)


def _check_size(main: Directory, budget: Budget) -> None:
    if main.width <= 0 or main.height <= 0:
        raise Unreadable("the image has no width or no height; write the file again")
    if main.width * main.height > budget.pixels:
        raise OverBudget(
            f"it has {main.width} x {main.height} pixels, more than {budget.pixels}; "
            f"{raise_limit('pixels')}"
        )
    if main.samples > budget.bands:
        raise OverBudget(f"it has {main.samples} bands; {raise_limit('bands')}")


def _check_blocks(directory: Directory) -> None:
    """Check that every block lies inside the file; offset or length 0 is a hole, as in GDAL's sparse files."""
    offsets, lengths = block_index_tags(directory)
    expected = directory.block_count
    listed = directory.count(offsets)
    if listed < expected:
        raise Truncated(
            f"it lists {listed} of {expected} blocks of pixels; copy or write the file again"
        )
    _require_lengths(directory, lengths, expected)
    if expected <= _FEW_BLOCKS and not directory.uncompressed:
        ends = map(add, directory.integers(offsets), directory.integers(lengths))
        if max(ends, default=0) <= directory.reader.size:
            return
    for start, stop in block_runs(expected):
        _check_some_blocks(directory, start, stop)


def block_runs(count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of blocks whose offsets are in memory at once."""
    for start in range(0, count, _BLOCKS_AT_ONCE):
        yield start, min(start + _BLOCKS_AT_ONCE, count)


def block_index_tags(directory: Directory) -> tuple[int, int]:
    """Return the tags of the offsets and lengths of the blocks. Raises Unreadable."""
    tiles = (TILE_OFFSETS, TILE_BYTE_COUNTS)
    strips = (STRIP_OFFSETS, STRIP_BYTE_COUNTS)
    for tags in (tiles, strips) if directory.tiled else (strips, tiles):
        if tags[0] in directory:
            return tags
    raise Unreadable("it has no offsets of its pixels; write the file again")


def block_lengths(directory: Directory, start: int, stop: int) -> NDArray[np.uint64]:
    """Return the listed lengths in bytes of the blocks from `start` to `stop`; 1 if the image size implies them."""
    tag = block_index_tags(directory)[1]
    if directory.count(tag) < stop:
        return np.ones(stop - start, np.uint64)
    lengths = directory.array(tag, start, stop).astype(np.uint64)
    return np.maximum(lengths, 1) if _is_one_strip(directory) else lengths


def _is_one_strip(directory: Directory) -> bool:
    """Return whether a length of 0 is not a hole, because libtiff computes the length of a single strip."""
    return not directory.tiled and directory.block_count == 1


def _require_lengths(directory: Directory, tag: int, expected: int) -> None:
    """Raise Unreadable if the lengths of the blocks are neither listed nor implied.

    Without the tag, libtiff opens only images with one strip for each plane. A compressed strip is rejected, because
    it is unknown whether it is complete.
    """
    missing = directory.count(tag) < expected
    if _is_one_strip(directory) and not missing:
        missing = directory.integer(tag, 0) == 0 and directory.integer(STRIP_OFFSETS, 0) > 0
    implied = not directory.tiled and expected == directory.planes and directory.uncompressed
    if missing and not implied:
        name = "TileByteCounts" if tag == TILE_BYTE_COUNTS else "StripByteCounts"
        raise Unreadable(
            f"it has no lengths of its blocks of pixels: {name} is missing or incomplete; "
            "write the file again"
        )


def _check_some_blocks(directory: Directory, start: int, stop: int) -> None:
    size = np.uint64(directory.reader.size)
    offsets = directory.array(block_index_tags(directory)[0], start, stop).astype(np.uint64)
    lengths = block_lengths(directory, start, stop)
    filled = (offsets > 0) & (lengths > 0)
    if directory.uncompressed:
        pixels = pixel_bytes(directory, start, stop)
        # libtiff computes the length of a strip from the image size, but uses the listed length of a tile.
        lengths = np.maximum(lengths, pixels) if directory.tiled else pixels
    # offsets + lengths could overflow
    outside = filled & ((offsets > size) | (lengths > size - np.minimum(offsets, size)))
    if outside.any():
        raise Truncated(
            f"{int(outside.sum())} of its blocks of pixels lie beyond the end of the file, of "
            f"{size} bytes; copy or download it again"
        )


def pixel_bytes(directory: Directory, start: int, stop: int) -> NDArray[np.uint64]:
    """Return the sizes in bytes of some uncompressed blocks; the last strip of a plane ends with the image."""
    width, height = directory.block_size
    samples = directory.samples // directory.planes
    row_bytes = -(-width * samples * directory.integer(BITS_PER_SAMPLE, 1) // 8)
    rows = np.full(stop - start, height, np.uint64)
    if not directory.tiled:
        strips = -(-directory.height // height)
        last = np.arange(start, stop) % strips == strips - 1
        rows[last] = directory.height - (strips - 1) * height
    return rows * np.uint64(min(row_bytes, _MAX_BLOCK_BYTES // height))


def find_lost_tags(directories: Sequence[Directory]) -> list[RasterWarning]:
    """Return a warning about tags beyond the end of the file that are not needed."""
    tags = sorted({tag for directory in directories for tag in directory.lost_tags})
    if not tags:
        return []
    shown = ", ".join(map(str, tags[:_MAX_TAGS_SHOWN]))
    if len(tags) > _MAX_TAGS_SHOWN:
        shown += f" and {len(tags) - _MAX_TAGS_SHOWN} more"
    text = f"tags that are not needed lie beyond the end of the file, and were ignored: {shown}"
    return [RasterWarning("tag_beyond_end", text)]
