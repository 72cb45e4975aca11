"""Finds what a file and its sidecars say twice, and not alike: what was not used is a warning.

What GDAL would say of the other place or CRS is asked of GDAL itself, by opening the file again without the sidecar, or
by its world file alone. Files without sidecars are not opened again.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.errors import RasterError
from pipeline.raster.crs_cache import Placement
from pipeline.raster.describe import read_file_crs
from pipeline.raster.file_access import OpenFile
from pipeline.raster.geo_keys import is_point, read_keys
from pipeline.raster.grid import FileCRS
from pipeline.raster.grid_tags import MATRIX, SCALE, grid_origin, matrix_transform, tie_points
from pipeline.raster.models import Georeference, RasterWarning
from pipeline.raster.open_dataset import open_dataset
from pipeline.raster.placement.crs import HorizontalCRS, horizontal_crs
from pipeline.raster.sidecars import WORLD_FILES, AuxXML
from pipeline.raster.tiff import MODEL_TRANSFORMATION, Directory

Places = npt.NDArray[np.float64]

_TOLERANCE = 0.1
"""Pixels by which two grids may differ anywhere: less is rounding."""


@dataclass(frozen=True)
class PlacedFile:
    """What a file is said to be, and by whom."""

    opened: OpenFile
    main: Directory
    auxiliary: AuxXML
    placement: Placement
    """As it was used."""
    georeference: Georeference
    origin: str
    """Where the grid came from, as in the provenance."""


def find_contradictions(told: PlacedFile) -> list[RasterWarning]:
    """What was said of place and pixels, and not used."""
    known = {warning.code for warning in told.georeference.warnings}
    own = _own(told) if told.auxiliary.places else None
    found = [
        *_grids(told, own),
        *_tie_points(told, own),
        *_control_points(told),
        *_crss(told, own),
    ]
    return [warning for warning in dict.fromkeys(found) if warning.code not in known]


@dataclass(frozen=True)
class _Own:
    """What the file says without its .aux.xml, or its world file alone."""

    transform: Affine | None
    crs: FileCRS


def _own(told: PlacedFile, sources: str = "INTERNAL") -> _Own:
    with (
        suppress(RasterError),
        open_dataset(told.opened, sources=sources) as (dataset, _),
    ):
        transform = None if dataset.transform == Affine.identity() else dataset.transform
        return _Own(transform, read_file_crs(dataset, named=True))
    return _Own(None, FileCRS(None))


def _grids(told: PlacedFile, own: _Own | None) -> Iterator[RasterWarning]:
    """Other places of the grid: in the file's own tags, another of them, or a world file."""
    if told.auxiliary.transform and own:
        yield from _other_grid(told, grid_origin(told.main) or "own tags", own.transform)
    elif grid_origin(told.main) == SCALE and MODEL_TRANSFORMATION in told.main:
        yield from _other_grid(told, MATRIX, matrix_transform(told.main, _shift(told)))
    for name in told.opened.file.sidecars:
        if name.lower().endswith(WORLD_FILES) and name not in told.origin:
            sources = "TABFILE" if name.lower().endswith(".tab") else "WORLDFILE"
            yield from _other_grid(told, f"sidecar {name}", _own(told, sources).transform)


def _other_grid(told: PlacedFile, what: str, other: Affine | None) -> Iterator[RasterWarning]:
    if other is None or other.is_degenerate:
        return
    width, height = told.placement.grid.width, told.placement.grid.height
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    apart = _apart(~told.georeference.transform @ other, corners, corners)
    if not apart <= _TOLERANCE:
        text = f"its {what} would place it {apart:,.2f} pixels elsewhere, and was not used"
        yield RasterWarning("transform_ignored", f"{text}: its place is from {told.origin}")


def _apart(transform: Affine, places: Places, targets: Places) -> float:
    """The farthest that places end up from their targets; NaN where numbers are not finite."""
    a, b, c, d, e, f = transform[:6]
    x, y = places.T
    with np.errstate(all="ignore"):
        apart = np.hypot(a * x + b * y + c - targets[:, 0], d * x + e * y + f - targets[:, 1])
    return float(apart.max())


def _shift(told: PlacedFile) -> float:
    return 0.5 if is_point(read_keys(told.main)) else 0.0


def _tie_points(told: PlacedFile, own: _Own | None) -> Iterator[RasterWarning]:
    """Whether all tie points lie on the grid of the file's own tags."""
    points = tie_points(told.main)
    origin = grid_origin(told.main)
    grid = own.transform if own and told.auxiliary.transform else told.georeference.transform
    if (
        origin is None
        or grid is None
        or grid.is_degenerate
        or len(points) < (2 if origin == SCALE else 1)
    ):
        return
    apart = _apart(~grid, points[:, 2:], points[:, :2] + _shift(told))
    if not apart <= _TOLERANCE:
        text = f"its {len(points)} tie points lie up to {apart:,.2f} pixels off the grid of its {origin}"
        yield RasterWarning("tie_points_disagree", text)


def _control_points(told: PlacedFile) -> Iterator[RasterWarning]:
    """Control points beside what placed the grid, which GDAL does not always tell of."""
    placed = told.placement.grid.transform is not None
    own = grid_origin(told.main) is None and len(tie_points(told.main)) > 0
    if told.auxiliary.control_points and placed:
        yield _unused_points("of its sidecar .aux.xml", told.origin)
    elif own and (placed or told.auxiliary.control_points):
        yield _unused_points("in its tag ModelTiepoint", told.origin)


def _unused_points(where: str, origin: str) -> RasterWarning:
    text = f"the ground control points {where} were not used: its place is from {origin}"
    return RasterWarning("control_points_ignored", text)


def _crss(told: PlacedFile, own: _Own | None) -> Iterator[RasterWarning]:
    if told.auxiliary.crs and told.placement.crs.wkt and own:
        yield from _other_crs(told.placement.crs, own.crs)


def _other_crs(used: FileCRS, own: FileCRS) -> Iterator[RasterWarning]:
    with suppress(RasterError):  # a sidecar may well give a CRS to a file that has none of use
        one, other = horizontal_crs(used.wkt), horizontal_crs(own.wkt)
        if not _alike(one, other):
            text = f"its own keys name {_label(other)}, its sidecar .aux.xml {_label(one)}, which was used"
            yield RasterWarning("crs_ignored", text)


def _alike(one: HorizontalCRS, other: HorizontalCRS) -> bool:
    if one.projection or other.projection:
        return one.projection == other.projection
    return one.crs.equals(other.crs, ignore_axis_order=True)


def _label(crs: HorizontalCRS) -> str:
    return crs.projection or f"{crs.crs.name[:80]!r}"
