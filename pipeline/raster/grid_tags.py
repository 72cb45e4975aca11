"""Reads what the tags of a GeoTIFF say of its grid, and which of them GDAL goes by."""

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.raster.tiff import (
    MODEL_PIXEL_SCALE,
    MODEL_TIEPOINT,
    MODEL_TRANSFORMATION,
    Directory,
)

SCALE = "tags ModelPixelScale and ModelTiepoint"
MATRIX = "tag ModelTransformation"


def grid_origin(main: Directory) -> str | None:
    """The tags that place the grid, in GDAL's order; None where there are control points at most."""
    scale = main.doubles(MODEL_PIXEL_SCALE)
    if len(scale) >= 2 and scale[0] != 0 and scale[1] != 0:
        return SCALE
    return MATRIX if len(main.doubles(MODEL_TRANSFORMATION)) == 16 else None


def lacks_tie_point(main: Directory) -> bool:
    """Whether there is a scale alone, for which GDAL takes the origin of the CRS as the place."""
    return grid_origin(main) == SCALE and not len(tie_points(main))


def tie_points(main: Directory) -> npt.NDArray[np.float64]:
    """A row for each: column, row, x and y. The numbers of a part of a point are left out."""
    values = main.doubles(MODEL_TIEPOINT)
    if len(values) == 6:
        return np.array([[*values[:2], *values[3:5]]])
    whole = np.array(values[: len(values) // 6 * 6]).reshape(-1, 6)
    return whole[:, [0, 1, 3, 4]]


def matrix_transform(main: Directory, shift: float) -> Affine | None:
    """The grid of ModelTransformation; `shift` is that of a point to the corner of its pixel, in pixels."""
    values = main.doubles(MODEL_TRANSFORMATION)
    if len(values) != 16:
        return None
    a, b, _, c, d, e, _, f = values[:8]
    return Affine(a, b, c, d, e, f) @ Affine.translation(-shift, -shift)
