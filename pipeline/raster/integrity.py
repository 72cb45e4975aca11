"""Checks that a TIFF holds what its header promises, without reading a pixel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MultipleImages, OverBudget, Truncated, Unreadable
from pipeline.raster.facts import Budget
from pipeline.raster.tags import (
    BITS_PER_SAMPLE,
    COMPRESSION,
    PLANAR_CONFIGURATION,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_OFFSETS,
    Directory,
)

_AT_ONCE = 2**20
"""Blocks whose offsets are held in memory together."""


def check(directories: Sequence[Directory], budget: Budget) -> None:
    """Raises MultipleImages, OverBudget, Truncated or Unreadable."""
    main = directories[0]
    _check_size(main, budget)
    for directory in directories[1:]:
        if is_image_of_its_own(directory, main):
            raise MultipleImages("the file holds several rasters; split it, one file for each")
    for directory in directories:
        _check_blocks(directory)


def is_image_of_its_own(directory: Directory, main: Directory) -> bool:
    """Whether a further directory is neither overview nor mask.

    Some programs forget to say that an overview is one: a smaller image of the same proportions
    counts as an overview.
    """
    if directory.reduced or directory.mask:
        return False
    smaller = directory.width < main.width and directory.height < main.height
    across = main.width / max(directory.width, 1)
    # An overview's sides are rounded to whole pixels, up or down.
    return not (smaller and abs(main.height / across - directory.height) <= 1)


def block_count(directory: Directory) -> int:
    """Tiles or strips of the image, over all its planes. Raises Unreadable."""
    width, height = directory.block_size
    if width <= 0 or height <= 0 or directory.samples <= 0:
        raise Unreadable("its blocks or pixels have no size; write the file again")
    planes = directory.samples if directory.integer(PLANAR_CONFIGURATION, 1) == 2 else 1
    return -(-directory.width // width) * -(-directory.height // height) * planes


def _check_size(main: Directory, budget: Budget) -> None:
    if main.width <= 0 or main.height <= 0:
        raise Unreadable("the image has no width or no height; write the file again")
    if main.width * main.height > budget.pixels:
        raise OverBudget(
            f"it has {main.width} x {main.height} pixels, more than {budget.pixels}; "
            "raise the budget for pixels"
        )
    if main.samples > budget.bands:
        raise OverBudget(f"it has {main.samples} bands; raise the budget for bands")


def _check_blocks(directory: Directory) -> None:
    """Every tile or strip lies inside the file; offset or length 0 is a hole, as GDAL writes them."""
    offsets, lengths = _index_tags(directory)
    expected = block_count(directory)
    listed = directory.entries[offsets].values
    if listed < expected:
        raise Truncated(
            f"it lists {listed} of {expected} blocks of pixels; copy or write the file again"
        )
    for start in range(0, expected, _AT_ONCE):
        _check_some_blocks(directory, (offsets, lengths), start, min(start + _AT_ONCE, expected))


def _index_tags(directory: Directory) -> tuple[int, int]:
    tiles = (TILE_OFFSETS, TILE_BYTE_COUNTS)
    strips = (STRIP_OFFSETS, STRIP_BYTE_COUNTS)
    for tags in (tiles, strips) if directory.tiled else (strips, tiles):
        if tags[0] in directory:
            return tags
    raise Unreadable("it does not say where its pixels are; write the file again")


def _check_some_blocks(directory: Directory, tags: tuple[int, int], start: int, stop: int) -> None:
    size = np.uint64(directory.source.size)
    begins = directory.array(directory.entries[tags[0]], start, stop).astype(np.uint64)
    lengths = _lengths(directory, tags[1], start, stop)
    there = (begins > 0) & (lengths > 0)
    # Subtracting keeps away from the overflow of begins + lengths.
    outside = there & ((begins > size) | (lengths > size - np.minimum(begins, size)))
    if outside.any():
        raise Truncated(
            f"{int(outside.sum())} of its blocks of pixels lie beyond the end of the file, of "
            f"{size} bytes; copy or download it again"
        )


def _lengths(directory: Directory, tag: int, start: int, stop: int) -> NDArray[np.uint64]:
    entry = directory.entries.get(tag)
    if entry is not None and entry.values >= stop:
        return directory.array(entry, start, stop).astype(np.uint64)
    # Old programs leave the lengths out. Without compression they follow from the size.
    length = 1
    if directory.integer(COMPRESSION, 1) == 1:
        width, height = directory.block_size
        length = width * height * directory.integer(BITS_PER_SAMPLE, 1) // 8
    return np.full(stop - start, length, np.uint64)
