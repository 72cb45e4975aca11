"""Places a raster: from its grid and its CRS to where it lies on the earth."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from affine import Affine
from shapely import MultiPolygon
from shapely.errors import GEOSException

from pipeline.errors import NoGrid, OutsideCRSDomain, ResidualTooLarge, UnsupportedCRS
from pipeline.raster.grid import FileCRS, Grid
from pipeline.raster.models import Bounds, Georeference, RasterWarning
from pipeline.raster.placement.bounds import Extent, compute_extent, normalize_extent
from pipeline.raster.placement.control_points import fit_grid
from pipeline.raster.placement.crs import HorizontalCRS, horizontal_crs
from pipeline.raster.placement.footprint import draw_footprint
from pipeline.raster.placement.operations import choose_candidate, lies_within, list_candidates
from pipeline.raster.placement.outline import trace_outline
from pipeline.raster.placement.partly_off_earth import locate_part_on_earth
from pipeline.raster.placement.projector import INEXACT_METRES, Projector

_NO_MEANING = "the grid lies where {!r} has no meaning; correct its CRS or its geotransform"
_NO_AREA = "the raster covers no area on the earth; set the right geotransform"
_THINNEST = 1e-10
"""Degrees, a hundredth of a millimetre."""
_LARGEST = 1e11
"""Twice around the earth in millimetres."""
_FARTHEST = 540.0
"""Degrees of longitude beyond which a geographic grid is taken for one in other units."""


@lru_cache(maxsize=256)
def georeference_grid(
    grid: Grid, crs: FileCRS, policy: str = "lizard", gcp_residual_pixels: float = 2.0
) -> Georeference:
    """The place of a raster in its own CRS and in WGS 84.

    `policy` is `lizard` (pinned operations, no grids) or `best-available` (installed grids too).
    The same arguments give the same object: the files of a series share their grid.
    Raises NoGrid, ResidualTooLarge, MissingCRS, UnsupportedCRS or OutsideCRSDomain.
    """
    _check_grid(grid, crs)
    _check_crs(crs)
    frame = horizontal_crs(crs.wkt)
    transform, warnings = _transform(grid, frame, gcp_residual_pixels)
    surface = _surface(grid, transform, frame, policy)
    extent, footprint, more = _on_earth(surface)
    bounds = normalize_extent(extent)
    warnings = (*frame.warnings, *warnings, *more, *_doubts(surface, bounds))
    return _georeference(surface, bounds, footprint, warnings)


def georeference_stored_grid(
    transform: Affine, width: int, height: int, crs_wkt: str, policy: str = "lizard"
) -> Georeference:
    """Place a raster again from what the catalogue keeps of it; raises as `georeference_grid`."""
    return georeference_grid(Grid(width, height, transform), FileCRS(crs_wkt), policy)


def _check_grid(grid: Grid, crs: FileCRS) -> None:
    if grid.width < 1 or grid.height < 1:
        raise NoGrid(f"the raster has {grid.width} x {grid.height} pixels; write it again")
    if grid.transform is not None and grid.transform != Affine.identity():
        if not np.isfinite(grid.transform[:6]).all() or grid.transform.is_degenerate:
            raise NoGrid("the geotransform gives pixels without area; set the right one")
        if not (grid.has_rpcs and not crs.wkt):
            return
    elif grid.control_points:
        return
    if grid.has_rpcs:
        raise NoGrid(
            "the raster has only rational polynomial coefficients; orthorectify it, "
            "for example with gdalwarp -rpc"
        )
    raise NoGrid(
        "the raster has no geotransform; set one, for example with gdal_edit.py -a_ullr FILE"
    )


def _check_crs(crs: FileCRS) -> None:
    if crs.unusable and not crs.wkt:
        raise UnsupportedCRS(
            "the raster names a CRS that GDAL and PROJ cannot use; find out which one is meant and assign "
            "it, for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        )


def _transform(
    grid: Grid, frame: HorizontalCRS, limit: float
) -> tuple[Affine, tuple[RasterWarning, ...]]:
    if grid.transform is not None and grid.transform != Affine.identity():
        if not grid.control_points:
            return grid.transform, ()
        warning = RasterWarning(
            "control_points_ignored", "the geotransform was used, not the ground control points"
        )
        return grid.transform, (warning,)
    turn = 360.0 / frame.degrees_per_unit if frame.degrees_per_unit else None
    found = fit_grid(grid.control_points, turn)
    text = (
        f"{len(grid.control_points)} ground control points fit a straight grid with a "
        f"root-mean-square residual of {found.residual:.3g} pixels"
    )
    if not found.residual <= limit:
        raise ResidualTooLarge(f"{text}, more than {limit:g}; warp the raster, e.g. with gdalwarp")
    return found.transform, (RasterWarning("fitted_to_control_points", text),)


def _surface(grid: Grid, transform: Affine, frame: HorizontalCRS, policy: str) -> Projector:
    """The grid under the operation that suits the place where it lies by the first operation."""
    found = list_candidates(frame, policy)
    surface = Projector(transform, grid.width, grid.height, frame, found[0])
    _check_size(surface)
    _check_degrees(surface)
    if len(found) == 1:
        return surface
    thirds = np.linspace(0.0, 1.0, 4)
    columns, rows = np.meshgrid(thirds * grid.width, thirds * grid.height)
    rough = replace(surface, round_trip=INEXACT_METRES)
    longitude, latitude = rough.locate(columns.ravel(), rows.ravel())
    on = np.isfinite(longitude)
    candidate = choose_candidate(frame, policy, longitude[on], latitude[on])
    return Projector(transform, grid.width, grid.height, frame, candidate)


def _check_size(surface: Projector) -> None:
    """Refuse numbers that cannot be on earth in any unit, or that go around it too often."""
    left, lower, right, upper = _envelope(surface)
    cycle = surface.crs.cycle
    farthest = 3 * cycle.period if cycle and not surface.crs.degrees_per_unit else _LARGEST
    if not (max(-left, right) <= farthest and max(-lower, upper) <= _LARGEST):
        raise OutsideCRSDomain(_NO_MEANING.format(surface.crs.crs.name))


def _check_degrees(surface: Projector) -> None:
    """Refuse metres that are labelled as degrees.

    A grid may reach past a pole by the pixel that is centred on it, and may begin at 0 or -180.
    """
    unit = surface.crs.degrees_per_unit
    if unit is None:
        return
    west, south, east, north = (value * unit for value in _envelope(surface))
    pixel = max(abs(surface.transform.d), abs(surface.transform.e)) * unit
    beyond = max(-90.0 - south, north - 90.0) > pixel
    if beyond or south >= 90.0 or north <= -90.0 or max(-west, east) > _FARTHEST:
        raise OutsideCRSDomain(
            f"the grid spans {west:g}..{east:g}, {south:g}..{north:g}, which are no degrees of "
            f"{surface.crs.crs.name!r}; assign the CRS that the coordinates are in"
        )


def _on_earth(surface: Projector) -> tuple[Extent, MultiPolygon, tuple[RasterWarning, ...]]:
    try:
        extent, footprint, warnings = _whole_or_part(surface)
    except GEOSException as error:
        # Only grids that are torn into slivers by a projection far from its home come here.
        raise OutsideCRSDomain(_NO_MEANING.format(surface.crs.crs.name)) from error
    if footprint.is_empty:
        raise NoGrid(_NO_AREA)
    return extent, footprint, warnings


def _whole_or_part(surface: Projector) -> tuple[Extent, MultiPolygon, tuple[RasterWarning, ...]]:
    inexact = replace(surface, round_trip=INEXACT_METRES)
    outline = trace_outline(surface) or trace_outline(inexact)
    if outline is not None:
        extent = compute_extent(inexact, outline)
        if min(extent.east - extent.west, extent.north - extent.south) < _THINNEST:
            raise NoGrid(_NO_AREA)
        return extent, draw_footprint(inexact, outline, extent), ()
    part = locate_part_on_earth(surface)
    if part is None:
        raise OutsideCRSDomain(_NO_MEANING.format(surface.crs.crs.name))
    text = "some of the raster lies off the earth; bounds and footprint are those of the rest"
    return *part, (RasterWarning("partly_off_earth", text),)


def _doubts(surface: Projector, bounds: Bounds) -> tuple[RasterWarning, ...]:
    return (
        *_turned(surface),
        *_clamped(surface),
        *_outside_area(surface.crs, bounds),
        *_unknown_datum(surface),
    )


def _turned(surface: Projector) -> tuple[RasterWarning, ...]:
    if not _is_rotated(surface):
        return ()
    text = "the grid is rotated or sheared; origin and upper bound are those of its envelope"
    return (RasterWarning("rotated_grid", text),)


def _clamped(surface: Projector) -> tuple[RasterWarning, ...]:
    unit = surface.crs.degrees_per_unit
    if unit is None:
        return ()
    _, south, _, north = _envelope(surface)
    if max(-south, north) * unit <= 90.0 + 1e-9:
        return ()
    text = f"latitudes {south * unit:g}..{north * unit:g} reach past a pole; cut off at 90 degrees"
    return (RasterWarning("latitude_clamped", text),)


def _outside_area(frame: HorizontalCRS, bounds: Bounds) -> tuple[RasterWarning, ...]:
    if frame.area is None:
        return ()
    width = (bounds.east - bounds.west) % 360.0 or 360.0
    longitude = np.array([bounds.west + width / 2])
    latitude = np.array([(bounds.south + bounds.north) / 2])
    if lies_within(frame.area, longitude, latitude)[0]:
        return ()
    west, south, east, north = frame.area
    text = (
        f"the middle of the raster lies outside the area of use of {frame.crs.name!r}, "
        f"longitudes {west:g}..{east:g}, latitudes {south:g}..{north:g}"
    )
    return (RasterWarning("outside_area_of_use", text),)


def _unknown_datum(surface: Projector) -> tuple[RasterWarning, ...]:
    if not surface.candidate.ballpark:
        return ()
    text = (
        f"no operation is known from the datum of {surface.crs.crs.name!r} to WGS 84; "
        "longitude and latitude were taken over unchanged"
    )
    return (RasterWarning("unknown_datum", text),)


def _georeference(
    surface: Projector,
    bounds: Bounds,
    footprint: MultiPolygon,
    warnings: tuple[RasterWarning, ...],
) -> Georeference:
    left, lower, right, upper = _envelope(surface)
    pixelsize_x, pixelsize_y = _pixelsize(surface.transform)
    return Georeference(
        projection=surface.crs.projection,
        crs_wkt=surface.crs.wkt,
        transform=surface.transform,
        rotated=_is_rotated(surface),
        origin_x=left,
        origin_y=lower,
        upper_bound_x=right,
        upper_bound_y=upper,
        pixelsize_x=pixelsize_x,
        pixelsize_y=pixelsize_y,
        bounds=bounds,
        footprint=footprint,
        operation=surface.candidate.operation,
        warnings=warnings,
    )


def _envelope(surface: Projector) -> tuple[float, float, float, float]:
    """Smallest x and y, largest x and y of the four corners, in the unit of the CRS."""
    width, height = surface.width, surface.height
    corners = [surface.transform @ c for c in ((0, 0), (width, 0), (0, height), (width, height))]
    x, y = zip(*corners, strict=True)
    # Adding zero turns -0.0 into 0.0.
    return min(x) + 0.0, min(y) + 0.0, max(x) + 0.0, max(y) + 0.0


def _is_rotated(surface: Projector) -> bool:
    """Whether rows or columns drift by a thousandth of a pixel over the raster; less is rounding."""
    a, b, _, d, e, _ = surface.transform[:6]
    drift = max(abs(b) * surface.height, abs(d) * surface.width)
    return bool(drift > 1e-3 * max(map(abs, (a, b, d, e))))


def _pixelsize(transform: Affine) -> tuple[float, float]:
    """What one column adds to x and one row to y, as in rasterio's `transform.a` and `.e`.

    On a grid turned by a quarter these are zero; there, what a row adds to x and a column to y.
    """
    a, b, _, d, e, _ = transform[:6]
    return (a, e) if abs(a * e) > 1e-9 * abs(b * d) else (b, d)
