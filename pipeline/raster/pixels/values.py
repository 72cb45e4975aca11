"""An array of pixels with their validity."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


class Pixels(NamedTuple):
    """Two arrays of the shape bands x rows x columns."""

    values: Values
    valid: Flags

    @property
    def nbytes(self) -> int:
        """The memory that it takes in bytes."""
        return self.values.nbytes + self.valid.nbytes

    def within(self, row: int, column: int, height: int, width: int) -> "Pixels":
        """Return a part as a view."""
        rows, columns = slice(row, row + height), slice(column, column + width)
        return Pixels(self.values[:, rows, columns], self.valid[:, rows, columns])
