"""Lists the windows in which the pixels of a raster are read: along its blocks, without holes of sparse files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window, subdivide

from pipeline.raster.integrity import block_index_tags, block_lengths, block_runs
from pipeline.raster.tiff import Directory

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BlockGrid:
    """The tiles or strips of an image; sizes are in pixels."""

    width: int
    height: int
    block_width: int
    block_height: int
    filled: Flags
    """Rows x columns of blocks: whether a block has pixels; otherwise it is a hole of a sparse file."""

    @classmethod
    def without_holes(cls, width: int, height: int, block_width: int, block_height: int) -> Self:
        """Return the grid of an image without holes."""
        shape = -(-height // block_height), -(-width // block_width)
        return cls(width, height, block_width, block_height, np.ones(shape, np.bool_))

    def holes(self) -> Self:
        """Return the same grid with inverted flags, so that only holes are filled."""
        return replace(self, filled=~self.filled)

    def pixels(self) -> int:
        """Return the number of pixels in filled blocks."""
        down, across = self.filled.shape
        widths = np.count_nonzero(self.filled, axis=1) * self.block_width
        widths -= self.filled[:, -1] * (across * self.block_width - self.width)
        heights = np.full(down, self.block_height)
        heights[-1] -= down * self.block_height - self.height
        return int(widths @ heights)

    def windows(self, max_pixels: int) -> Iterator[Window]:
        """Yield windows of at most `max_pixels` pixels that cover each pixel of the filled blocks once."""
        blocks_at_once = max(1, max_pixels // (self.block_width * self.block_height))
        in_strips = self.filled.shape[1] == 1
        for row, flags in enumerate(self.filled.T if in_strips else self.filled):
            changes = np.flatnonzero(np.diff(flags, prepend=False, append=False)).tolist()
            for start, stop in zip(changes[::2], changes[1::2], strict=True):
                for first in range(start, stop, blocks_at_once):
                    run = first, min(first + blocks_at_once, stop)
                    rows, columns = (run, (0, 1)) if in_strips else ((row, row + 1), run)
                    window = self._window(rows, columns)
                    width = min(window.width, max_pixels)
                    yield from subdivide(window, max(1, max_pixels // width), width)

    def _window(self, rows: tuple[int, int], columns: tuple[int, int]) -> Window:
        top, bottom = (row * self.block_height for row in rows)
        left, right = (column * self.block_width for column in columns)
        return Window.from_slices((top, min(bottom, self.height)), (left, min(right, self.width)))


def block_grid(image: Directory, *, skip_holes: bool) -> BlockGrid:
    """Return the blocks of an image; its directory must have passed `integrity.check_integrity`.

    With `skip_holes`, a block that is a hole in all planes is not filled.
    """
    grid = BlockGrid.without_holes(image.width, image.height, *image.block_size)
    if not skip_holes:
        return grid
    parts = [_filled(image, *run) for run in block_runs(image.block_count)]
    planes = np.concatenate(parts).reshape(image.planes, *grid.filled.shape)
    return replace(grid, filled=np.logical_or.reduce(planes))


def _filled(image: Directory, start: int, stop: int) -> Flags:
    """Return for each of some blocks whether it has pixels; in GDAL, offset or length 0 means a hole."""
    filled: Flags = image.array(block_index_tags(image)[0], start, stop) != 0
    filled &= block_lengths(image, start, stop) != 0
    return filled
