"""Reads the grid from the tags of a GeoTIFF, in GDAL's order of preference."""

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.raster.geo_keys import RASTER_TYPE, is_point, read_keys
from pipeline.raster.models import FileCRS, Grid, Placement, RasterWarning
from pipeline.raster.tiff import (
    GDAL_METADATA,
    MODEL_PIXEL_SCALE,
    MODEL_TIEPOINT,
    MODEL_TRANSFORMATION,
    RPC_COEFFICIENTS,
    Directory,
)

SCALE = "tags ModelPixelScale and ModelTiepoint"
MATRIX = "tag ModelTransformation"
WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".wld", ".tab")
"""Suffixes of the sidecars from which GDAL reads the grid if no tag has it."""


def grid_origin(main: Directory) -> str | None:
    """Return the name of the tags with the grid; None if there are no such tags, even if there are control points."""
    scale = main.doubles(MODEL_PIXEL_SCALE)
    if len(scale) >= 2 and scale[0] != 0 and scale[1] != 0:
        return SCALE
    return MATRIX if len(main.doubles(MODEL_TRANSFORMATION)) == 16 else None


def lacks_tie_point(main: Directory) -> bool:
    """Return whether there is a scale without a tie point; GDAL would place such a raster at the origin of its CRS."""
    return grid_origin(main) == SCALE and not len(tie_points(main))


def tie_points(main: Directory) -> npt.NDArray[np.float64]:
    """Return an array of tie points: points x (column, row, x, y). An incomplete last point is ignored."""
    values = main.doubles(MODEL_TIEPOINT)
    points = np.array(values[: len(values) // 6 * 6]).reshape(-1, 6)
    return points[:, [0, 1, 3, 4]]


def pixel_shift(main: Directory) -> float:
    """Return the shift from the corner of a pixel to the place of its coordinates, in pixels: 0 or 0.5."""
    return 0.5 if is_point(read_keys(main)) else 0.0


def matrix_transform(main: Directory) -> Affine | None:
    """Return the grid of ModelTransformation, for pixel corners; None without the tag."""
    values = main.doubles(MODEL_TRANSFORMATION)
    if len(values) != 16:
        return None
    a, b, _, c, d, e, _, f = values[:8]
    shift = pixel_shift(main)
    return Affine(a, b, c, d, e, f) @ Affine.translation(-shift, -shift)


def placement_from_tags(
    main: Directory, crs: FileCRS, warnings: tuple[RasterWarning, ...] = ()
) -> Placement | None:
    """Return the placement of a raster with one scale and one tie point, computed as by GDAL; None for others."""
    scale, tie = main.doubles(MODEL_PIXEL_SCALE), main.doubles(MODEL_TIEPOINT)
    if len(scale) != 3 or len(tie) != 6 or not (scale[0] > 0 and scale[1] > 0):
        return None
    if MODEL_TRANSFORMATION in main or RPC_COEFFICIENTS in main:
        return None
    keys = read_keys(main)
    if RASTER_TYPE not in keys and b"AREA_OR_POINT" in main.raw(GDAL_METADATA):
        return None
    shift = 0.5 if is_point(keys) else 0.0
    x = tie[3] - tie[0] * scale[0] - shift * scale[0]
    y = tie[4] + tie[1] * scale[1] + shift * scale[1]
    grid = Grid(main.width, main.height, Affine(scale[0], 0.0, x, 0.0, -scale[1], y))
    return Placement(grid, crs, "Point" if is_point(keys) else "Area", warnings)
