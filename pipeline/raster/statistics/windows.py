"""Lists the windows in which the pixels of a raster are read: along its blocks, holes left out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from pipeline.raster.integrity import block_index_tags, block_lengths
from pipeline.raster.tiff import Directory

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

_AT_ONCE = 2**20
"""Blocks whose offsets are held in memory together."""


@dataclass(frozen=True)
class BlockGrid:
    """How an image is divided into tiles or strips, numbered row by row from 0."""

    width: int
    height: int
    """Of the image, in pixels."""
    block_width: int
    block_height: int
    filled: Callable[[int, int], Flags]
    """Which of the blocks from a number up to another are not holes."""

    @property
    def across(self) -> int:
        """Blocks in a row."""
        return -(-self.width // self.block_width)

    @property
    def count(self) -> int:
        """Blocks in all."""
        return self.across * -(-self.height // self.block_height)

    def chunks(self) -> Iterator[tuple[int, Flags]]:
        """Number of a first block, and which of that and the following ones are not holes."""
        for start in range(0, self.count, _AT_ONCE):
            yield start, self.filled(start, min(start + _AT_ONCE, self.count))

    def windows(self, most: int) -> Iterator[Window]:
        """All pixels that do not lie in holes, `most` or a row of a block at a time."""
        together = max(1, most // (self.block_width * self.block_height))
        for start, filled in self.chunks():
            places = np.flatnonzero(filled) + start
            for first, length in _runs(places, self.across, together):
                yield from _pieces(self._window(first, length), most)

    def pixels(self) -> int:
        """How many pixels the windows have together."""
        return sum(self._area(np.flatnonzero(filled) + start) for start, filled in self.chunks())

    def corners(self, places: Places) -> tuple[Places, Places, Places, Places]:
        """First row, row after the last, first column, column after the last of these blocks."""
        top = places // self.across * self.block_height
        left = places % self.across * self.block_width
        bottom = np.minimum(top + self.block_height, self.height)
        return top, bottom, left, np.minimum(left + self.block_width, self.width)

    def _area(self, places: Places) -> int:
        top, bottom, left, right = self.corners(places)
        return int(((bottom - top) * (right - left)).sum())

    def _window(self, first: int, length: int) -> Window:
        top, bottom, left, right = self.corners(np.array([first, first + length - 1]))
        return Window.from_slices(
            (int(top[0]), int(bottom[1])),
            (int(left[0]), int(right[1])),
        )


def without_holes(start: int, stop: int) -> Flags:
    """`filled` where every block is to be read."""
    return np.ones(stop - start, np.bool_)


def block_grid(image: Directory, *, skip_holes: bool) -> BlockGrid:
    """The blocks of an image whose directory has been checked; see `integrity.check`."""
    width, height = image.block_size
    grid = BlockGrid(image.width, image.height, width, height, without_holes)
    if not skip_holes:
        return grid
    count = grid.count

    def filled(start: int, stop: int) -> Flags:
        found = np.zeros(stop - start, np.bool_)
        for plane in range(image.planes):
            found |= _filled(image, plane * count + start, plane * count + stop)
        return found

    return BlockGrid(image.width, image.height, width, height, filled)


def _filled(image: Directory, start: int, stop: int) -> Flags:
    """A block at offset 0 or of length 0 is a hole, as GDAL writes and reads them."""
    offsets = image.entries[block_index_tags(image)[0]]
    found: Flags = image.array(offsets, start, stop) != 0
    found &= block_lengths(image, start, stop) != 0
    return found


def _runs(places: Places, across: int, most: int) -> Iterator[tuple[int, int]]:
    """(first, length) of blocks in a row that follow each other; strips follow each other too."""
    if not places.size:
        return
    breaks = np.diff(places) > 1
    if across > 1:
        breaks |= places[1:] % across == 0
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1, [places.size]]).tolist()
    for begin, end in pairwise(starts):
        for part in range(begin, end, most):
            yield int(places[part]), min(most, end - part)


def _pieces(window: Window, most: int) -> Iterator[Window]:
    """The window, in parts where it is larger than `most` pixels."""
    columns = min(window.width, most)
    rows = max(1, most // columns)
    for top in range(0, window.height, rows):
        for left in range(0, window.width, columns):
            yield Window(
                window.col_off + left,
                window.row_off + top,
                min(columns, window.width - left),
                min(rows, window.height - top),
            )
