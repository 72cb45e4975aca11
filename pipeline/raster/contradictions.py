"""Finds contradictions between a file and its sidecars, and warns about the values that were not used.

GDAL itself computes the other place or CRS: the file is opened again without the sidecar, or only with its world file.
Files without sidecars are not opened again.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.errors import RasterError
from pipeline.raster.describe import Description, read_file_crs, read_transform
from pipeline.raster.grid_tags import (
    MATRIX,
    SCALE,
    WORLD_FILES,
    grid_origin,
    matrix_transform,
    pixel_shift,
    tie_points,
)
from pipeline.raster.header import Header
from pipeline.raster.models import Georeference, RasterWarning
from pipeline.raster.open_dataset import open_dataset
from pipeline.raster.placement.crs import horizontal_crs
from pipeline.raster.tiff import MODEL_TRANSFORMATION

Points = npt.NDArray[np.float64]

_TOLERANCE = 0.1
"""Maximum difference of two grids in pixels, to allow for rounding."""


@dataclass(frozen=True)
class PlacedFile:
    """An open file, and its place."""

    header: Header
    description: Description
    """The description from the file and its sidecars, without assigned values."""
    georeference: Georeference

    @property
    def origin(self) -> str:
        """The provenance of the grid."""
        return self.description.provenance.get("transform", "GDAL")


@dataclass(frozen=True)
class _Alternative:
    """The grid and the CRS that GDAL reads when its sources are restricted."""

    transform: Affine | None = None
    wkt: str | None = None


def find_contradictions(file: PlacedFile) -> list[RasterWarning]:
    """Return warnings about the grids, points and CRSs that were not used."""
    known = {warning.code for warning in file.georeference.warnings}
    aux_xml = file.header.aux_xml
    places = aux_xml.crs or aux_xml.transform or aux_xml.control_points
    own = _read_alternative(file, "INTERNAL") if places else _Alternative()
    warnings = [
        *_grid_warnings(file, own),
        *_tie_point_warnings(file, own),
        *_control_point_warnings(file),
        *_crs_warnings(file, own),
    ]
    return [warning for warning in dict.fromkeys(warnings) if warning.code not in known]


def _read_alternative(file: PlacedFile, sources: str) -> _Alternative:
    """Read grid and CRS again, only from these sources (GDAL_GEOREF_SOURCES)."""
    open_file = file.header.open_file
    with suppress(RasterError), open_dataset(open_file, sources=sources) as (dataset, _):
        return _Alternative(read_transform(dataset), read_file_crs(dataset, named=True).wkt)
    return _Alternative()


def _grid_warnings(file: PlacedFile, own: _Alternative) -> Iterator[RasterWarning]:
    """Warn about other grids: in the tags of the file, in a second tag or in a world file."""
    if file.header.aux_xml.transform:
        yield from _other_grid(file, grid_origin(file.header.main) or "own tags", own.transform)
    elif grid_origin(file.header.main) == SCALE and MODEL_TRANSFORMATION in file.header.main:
        yield from _other_grid(file, MATRIX, matrix_transform(file.header.main))
    for name in file.header.open_file.stored.sidecars:
        if name.lower().endswith(WORLD_FILES) and name not in file.origin:
            sources = "TABFILE" if name.lower().endswith(".tab") else "WORLDFILE"
            other = _read_alternative(file, sources)
            yield from _other_grid(file, f"sidecar {name}", other.transform)


def _other_grid(file: PlacedFile, origin: str, other: Affine | None) -> Iterator[RasterWarning]:
    if other is None or other.is_degenerate:
        return
    width, height = file.header.main.width, file.header.main.height
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    distance = _largest_distance(~file.georeference.transform @ other, corners, corners)
    if not distance <= _TOLERANCE:
        text = f"its {origin} would place it {distance:,.2f} pixels elsewhere, and was not used"
        yield RasterWarning("transform_ignored", f"{text}: its place is from {file.origin}")


def _largest_distance(transform: Affine, points: Points, targets: Points) -> float:
    """Return the largest distance of transformed points from their targets; NaN if a point is not finite."""
    with np.errstate(all="ignore"):
        x, y = transform @ tuple(points.T)
        return float(np.hypot(x - targets[:, 0], y - targets[:, 1]).max())


def _tie_point_warnings(file: PlacedFile, own: _Alternative) -> Iterator[RasterWarning]:
    """Warn if tie points do not lie on the grid of the file's own tags."""
    points = tie_points(file.header.main)
    origin = grid_origin(file.header.main)
    grid = own.transform if file.header.aux_xml.transform else file.georeference.transform
    # A scale uses the first tie point for its place.
    if origin is None or len(points) < (2 if origin == SCALE else 1):
        return
    if grid is None or grid.is_degenerate:
        return
    pixels = points[:, :2] + pixel_shift(file.header.main)
    distance = _largest_distance(~grid, points[:, 2:], pixels)
    if not distance <= _TOLERANCE:
        text = f"its {len(points)} tie points lie up to {distance:,.2f} pixels off the grid of its {origin}"
        yield RasterWarning("tie_points_disagree", text)


def _control_point_warnings(file: PlacedFile) -> Iterator[RasterWarning]:
    """Warn about control points that were not used because there is a grid; GDAL does not always report them."""
    placed = file.description.placement.grid.transform is not None
    has_own = grid_origin(file.header.main) is None and len(tie_points(file.header.main)) > 0
    if file.header.aux_xml.control_points and placed:
        where = "of its sidecar .aux.xml"
    elif has_own and (placed or file.header.aux_xml.control_points):
        where = "in its tag ModelTiepoint"
    else:
        return
    text = f"the ground control points {where} were not used: its place is from {file.origin}"
    yield RasterWarning("control_points_ignored", text)


def _crs_warnings(file: PlacedFile, own: _Alternative) -> Iterator[RasterWarning]:
    wkt = file.description.placement.crs.wkt
    if not (file.header.aux_xml.crs and wkt):
        return
    with suppress(RasterError):  # the file's own CRS may be missing or unusable
        used, other = horizontal_crs(wkt), horizontal_crs(own.wkt)
        if not used.is_same(other):
            text = f"its own keys name {other.label}, its sidecar .aux.xml {used.label}, which was used"
            yield RasterWarning("crs_ignored", text)
