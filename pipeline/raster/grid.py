"""The pixel grid and the CRS of a raster as its header describes them, not yet placed on earth."""

from dataclasses import dataclass

from affine import Affine


@dataclass(frozen=True)
class ControlPoint:
    """A ground control point: a place in the image whose coordinates are known."""

    column: float
    """Pixels from the left edge of the image; 0.5 is the middle of the first column."""
    row: float
    """Pixels from the upper edge of the image."""
    x: float
    """In the CRS that the control points name; easting or longitude."""
    y: float


@dataclass(frozen=True)
class Grid:
    """Size and place of the pixels in the coordinates of the file's CRS."""

    width: int
    height: int
    transform: Affine | None
    """(column, row) of pixel corners to (x, y); None means that the file has no geotransform."""
    control_points: tuple[ControlPoint, ...] = ()
    has_rpcs: bool = False
    """Rational polynomial coefficients alone do not place a raster: they need a height model."""


@dataclass(frozen=True)
class FileCRS:
    """The coordinate reference system as the file gives it."""

    wkt: str | None
    """As GDAL reports it, best as WKT 2 (2019) with its IDs; None means that the file names no CRS.

    For a raster with control points and no geotransform it is the CRS of these points."""
    unusable: bool = False
    """Whether the file or a sidecar names a CRS that GDAL can make nothing of; `wkt` is then None."""
