"""Fits the grid of a raster to its ground control points."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from affine import Affine

from pipeline.errors import NoGrid
from pipeline.raster.models import ControlPoint

_MAX_COORDINATE = 1e15
"""Maximum coordinate in pixels or units of the CRS; far larger than any raster or planet."""


@dataclass(frozen=True)
class GridFit:
    """An affine grid fitted to control points."""

    transform: Affine
    """Affine transform from (column, row) of pixel corners to (x, y)."""
    residual: float
    """Root mean square distance between the points and the grid, in pixels."""


def fit_grid(points: tuple[ControlPoint, ...], turn: float | None = None) -> GridFit:
    """Return the least-squares affine transform of the points.

    `turn` is one turn around the earth (360 degrees) in the unit of the CRS, for a CRS with a periodic x. With it,
    points on both sides of the antimeridian are joined. Raises NoGrid for fewer than three points, for points on one
    line and for numbers that are not finite.
    """
    if len(points) < 3:
        raise NoGrid(
            f"{len(points)} ground control points are too few to place a raster; "
            "give it three or more, or a geotransform"
        )
    pixel = np.array([(point.column, point.row) for point in points])
    place = np.array([(point.x, point.y) for point in points])
    # Larger numbers and NaN would overflow in the fit, and LAPACK might never return.
    if not ((np.abs(pixel) < _MAX_COORDINATE).all() and (np.abs(place) < _MAX_COORDINATE).all()):
        raise NoGrid("some ground control points are not finite or far too large; correct them")
    if turn is not None:
        place[:, 0] -= turn * np.rint((place[:, 0] - place[0, 0]) / turn)
    return _solve(pixel, place)


def _solve(pixel: np.ndarray, place: np.ndarray) -> GridFit:
    # Centre both, because large eastings would lose digits.
    origin, middle = pixel.mean(axis=0), place.mean(axis=0)
    centred = np.column_stack([pixel - origin, np.ones(len(pixel))])
    matrix, _, rank, _ = np.linalg.lstsq(centred, place - middle, rcond=1e-12)
    linear = matrix[:2].T
    if rank < 3 or np.linalg.det(linear) == 0.0:
        raise NoGrid("the ground control points lie on one line; spread them over the raster")
    misses = np.linalg.solve(linear, (place - middle - centred @ matrix).T)
    shift = middle + matrix[2] - linear @ origin
    (a, b), (d, e) = linear.tolist()
    transform = Affine(a, b, float(shift[0]), d, e, float(shift[1]))
    return GridFit(transform, sqrt(float((misses**2).sum(axis=0).mean())))
