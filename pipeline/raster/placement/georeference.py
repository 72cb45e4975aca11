"""Georeferences rasters: computes their place on the earth from their grid and CRS."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite

import numpy as np
from affine import Affine
from shapely import MultiPolygon
from shapely.errors import GEOSException

from pipeline.errors import NoGrid, OutsideCRSDomain, RasterError, ResidualTooLarge, UnsupportedCRS
from pipeline.raster.models import Bounds, FileCRS, Georeference, Grid, RasterWarning
from pipeline.raster.placement.bounds import Extent, compute_extent, normalize_extent
from pipeline.raster.placement.control_points import fit_grid
from pipeline.raster.placement.crs import HorizontalCRS, horizontal_crs
from pipeline.raster.placement.footprint import draw_footprint
from pipeline.raster.placement.operations import (
    Area,
    Candidate,
    choose_candidates,
    lies_within,
    list_candidates,
)
from pipeline.raster.placement.outline import trace_outline
from pipeline.raster.placement.partly_off_earth import locate_part_on_earth
from pipeline.raster.placement.projector import INEXACT_METRES, GridStack, Projector
from pipeline.raster.placement.regular_grids import locate_regular_grids

_NO_MEANING = "the grid lies where {!r} has no meaning; correct its CRS or its geotransform"
_NO_AREA = "the raster covers no area on the earth; set the right geotransform"

_NO_TRANSFORM = Affine.identity()
"""The geotransform that GDAL returns for a file without one."""
_THIRDS = np.linspace(0.0, 1.0, 4)
_MIN_EXTENT = 1e-10
"""Minimum width and height of a raster in degrees, a hundredth of a millimetre."""
_MAX_COORDINATE = 1e11
"""Maximum coordinate: twice around the earth in millimetres."""
_MAX_TURNS = 3
"""Maximum turns around the earth of a periodic x."""
_MAX_LONGITUDE = 540.0
"""Longitude in degrees beyond which a geographic grid is assumed to have other units."""
_POLE_TOLERANCE = 1e-9
"""Degrees past a pole that count as rounding."""
_ROTATION_PIXELS = 1e-3
"""Drift of rows or columns over the whole raster, in pixels, below which it counts as rounding."""
_QUARTER_TURN = 1e-9
"""Ratio of the products of the diagonals of the transform, below which the grid is turned by 90 degrees."""

_MAX_CACHED = 256
"""Maximum number of cached places for one CRS."""


def georeference_grid(
    grid: Grid, crs: FileCRS, policy: str = "lizard", gcp_residual_pixels: float = 2.0
) -> Georeference:
    """Return the place of one raster. Raises the errors that `georeference_grids` returns."""
    (place,) = georeference_grids([grid], crs, policy, gcp_residual_pixels)
    if isinstance(place, RasterError):
        raise place.with_traceback(None)
    return place


def georeference_grids(
    grids: Sequence[Grid], crs: FileCRS, policy: str, gcp_residual_pixels: float
) -> list[Georeference | RasterError]:
    """Return the place of each raster in their common CRS and in WGS 84, or the error of a raster without a place.

    `policy` is `lizard` (pinned operations, no grid files) or `best-available` (also installed grid files). The results
    are cached, because the files of a series have the same grid. The errors are NoGrid, ResidualTooLarge, MissingCRS,
    UnsupportedCRS or OutsideCRSDomain.
    """
    cache = _cache(crs, policy, gcp_residual_pixels)
    if len(cache) > _MAX_CACHED:
        cache.clear()
    places = [cache.get(grid) for grid in grids]
    new = [*dict.fromkeys(grid for grid, place in zip(grids, places, strict=True) if not place)]
    cache.update(zip(new, _georeference(new, crs, policy, gcp_residual_pixels), strict=True))
    return [place or cache[grid] for grid, place in zip(grids, places, strict=True)]


@lru_cache(maxsize=16)
def _cache(
    crs: FileCRS,  # noqa: ARG001 - each CRS, policy and limit has a cache of its own
    policy: str,  # noqa: ARG001
    limit: float,  # noqa: ARG001
) -> "dict[Grid, Georeference | RasterError]":
    return {}


def georeference_stored_grid(
    transform: Affine, width: int, height: int, crs_wkt: str, policy: str = "lizard"
) -> Georeference:
    """Place a raster again from the values in the catalogue. Raises the errors of `georeference_grid`."""
    return georeference_grid(Grid(width, height, transform), FileCRS(crs_wkt), policy)


def _georeference(
    grids: Sequence[Grid], crs: FileCRS, policy: str, limit: float
) -> list[Georeference | RasterError]:
    outcomes: dict[int, Georeference | RasterError] = {}
    projectors: dict[int, Projector] = {}
    warnings: dict[int, tuple[RasterWarning, ...]] = {}
    for index, grid in enumerate(grids):
        try:
            projectors[index], warnings[index] = _projector(grid, crs, policy, limit)
        except RasterError as error:
            outcomes[index] = error
    for same in _by_operation(projectors, policy):
        places = locate_regular_grids([*same.values()])
        for (index, projector), place in zip(same.items(), places, strict=True):
            try:
                extent, footprint, more = (*place, ()) if place else locate_alone(projector)
            except RasterError as error:
                outcomes[index] = error
            else:
                outcomes[index] = _result(projector, extent, footprint, (*warnings[index], *more))
    return [outcomes[index] for index in range(len(grids))]


def _result(
    projector: Projector,
    extent: Extent,
    footprint: MultiPolygon,
    warnings: tuple[RasterWarning, ...],
) -> Georeference:
    crs, bounds = projector.crs, normalize_extent(extent)
    left, lower, right, upper = projector.envelope
    pixelsize_x, pixelsize_y = _pixelsize(projector.transform)
    return Georeference(
        projection=crs.projection,
        crs_wkt=crs.wkt,
        transform=projector.transform,
        rotated=_is_rotated(projector),
        origin_x=left,
        origin_y=lower,
        upper_bound_x=right,
        upper_bound_y=upper,
        pixelsize_x=pixelsize_x,
        pixelsize_y=pixelsize_y,
        bounds=bounds,
        footprint=footprint,
        operation=projector.candidate.operation,
        warnings=(*crs.warnings, *warnings, *_place_warnings(projector, bounds)),
    )


def _check_grid(grid: Grid, crs: FileCRS) -> None:
    if grid.width < 1 or grid.height < 1:
        raise NoGrid(f"the raster has {grid.width} x {grid.height} pixels; write it again")
    if grid.transform is not None and grid.transform != _NO_TRANSFORM:
        if not all(map(isfinite, grid.transform[:6])) or grid.transform.is_degenerate:
            raise NoGrid("the pixels of the geotransform have no area; set a valid geotransform")
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


def _transform(
    grid: Grid, crs: HorizontalCRS, limit: float
) -> tuple[Affine, tuple[RasterWarning, ...]]:
    """Return the geotransform, or the one fitted to the control points. Raises NoGrid or ResidualTooLarge."""
    if grid.transform is not None and grid.transform != _NO_TRANSFORM:
        if not grid.control_points:
            return grid.transform, ()
        text = "the geotransform was used, not the ground control points"
        return grid.transform, (RasterWarning("control_points_ignored", text),)
    turn = 360.0 / crs.degrees_per_unit if crs.degrees_per_unit else None
    fit = fit_grid(grid.control_points, turn)
    text = (
        f"{len(grid.control_points)} ground control points fit an affine grid with a "
        f"root-mean-square residual of {fit.residual:.3g} pixels"
    )
    if not fit.residual <= limit:
        raise ResidualTooLarge(f"{text}, more than {limit:g}; warp the raster, e.g. with gdalwarp")
    return fit.transform, (RasterWarning("fitted_to_control_points", text),)


def _projector(
    grid: Grid, crs: FileCRS, policy: str, limit: float
) -> tuple[Projector, tuple[RasterWarning, ...]]:
    """Return the projector with the first operation of the CRS, and warnings about the geotransform."""
    _check_grid(grid, crs)
    if crs.unusable and not crs.wkt:
        raise UnsupportedCRS(
            "the raster names a CRS that GDAL and PROJ cannot use; find out which CRS is meant and assign "
            "it, for example with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
    horizontal = horizontal_crs(crs.wkt)
    transform, warnings = _transform(grid, horizontal, limit)
    first, *_ = list_candidates(horizontal, policy)
    projector = Projector(transform, grid.width, grid.height, horizontal, first)
    _check_size(projector)
    _check_degrees(projector)
    return projector, warnings


def _by_operation(projectors: dict[int, Projector], policy: str) -> Iterable[dict[int, Projector]]:
    """Group grids by the best operation for their place; the first operation finds that place roughly."""
    if not projectors:
        return ()
    grids = [*projectors.values()]
    crs = grids[0].crs
    if len(list_candidates(crs, policy)) == 1:
        return (projectors,)
    stack = GridStack(grids, INEXACT_METRES)
    columns, rows = np.meshgrid(_THIRDS, _THIRDS)
    rough = stack.locate(columns.ravel() * stack.width, rows.ravel() * stack.height)
    groups: dict[Candidate, dict[int, Projector]] = {}
    candidates = choose_candidates(crs, policy, *rough)
    for (index, projector), candidate in zip(projectors.items(), candidates, strict=True):
        groups.setdefault(candidate, {})[index] = replace(projector, candidate=candidate)
    return groups.values()


def _check_size(projector: Projector) -> None:
    """Reject coordinates that are too large in any unit, or that go around the earth too often."""
    left, lower, right, upper = projector.envelope
    cycle = None if projector.crs.degrees_per_unit else projector.crs.cycle
    farthest = _MAX_TURNS * cycle.period if cycle else _MAX_COORDINATE
    if not (max(-left, right) <= farthest and max(-lower, upper) <= _MAX_COORDINATE):
        raise OutsideCRSDomain(_NO_MEANING.format(projector.crs.crs.name))


def _check_degrees(projector: Projector) -> None:
    """Reject metres that are labelled as degrees.

    A grid may reach past a pole by half a pixel that is centred on it, and may begin at 0 or -180.
    """
    unit = projector.crs.degrees_per_unit
    if unit is None:
        return
    west, south, east, north = (value * unit for value in projector.envelope)
    pixel = max(abs(projector.transform.d), abs(projector.transform.e)) * unit
    beyond = max(-90.0 - south, north - 90.0) > pixel
    if beyond or south >= 90.0 or north <= -90.0 or max(-west, east) > _MAX_LONGITUDE:
        raise OutsideCRSDomain(
            f"the grid spans {west:g}..{east:g}, {south:g}..{north:g}, which are not degrees of "
            f"{projector.crs.crs.name!r}; assign the CRS of these coordinates"
        )


def locate_alone(projector: Projector) -> tuple[Extent, MultiPolygon, tuple[RasterWarning, ...]]:
    """Return extent, footprint and warnings of any grid. Raises NoGrid or OutsideCRSDomain."""
    try:
        extent, footprint, warnings = _locate_whole_or_part(projector)
    except GEOSException as error:
        # Far from its area of use, a projection tears such a grid into slivers.
        raise OutsideCRSDomain(_NO_MEANING.format(projector.crs.crs.name)) from error
    if footprint.is_empty:
        raise NoGrid(_NO_AREA)
    return extent, footprint, warnings


def _locate_whole_or_part(
    projector: Projector,
) -> tuple[Extent, MultiPolygon, tuple[RasterWarning, ...]]:
    inexact = replace(projector, round_trip=INEXACT_METRES)
    outline = trace_outline(projector) or trace_outline(inexact)
    if outline is not None:
        extent = compute_extent(inexact, outline)
        if min(extent.east - extent.west, extent.north - extent.south) < _MIN_EXTENT:
            raise NoGrid(_NO_AREA)
        return extent, draw_footprint(inexact, outline, extent), ()
    part = locate_part_on_earth(projector)
    if part is None:
        raise OutsideCRSDomain(_NO_MEANING.format(projector.crs.crs.name))
    text = "some of the raster lies off the earth; bounds and footprint are those of the rest"
    return *part, (RasterWarning("partly_off_earth", text),)


def _place_warnings(projector: Projector, bounds: Bounds) -> Iterator[RasterWarning]:
    crs, unit = projector.crs, projector.crs.degrees_per_unit
    if _is_rotated(projector):
        text = "the grid is rotated or sheared; origin and upper bound are those of its envelope"
        yield RasterWarning("rotated_grid", text)
    _, lower, _, upper = projector.envelope
    if unit is not None and max(-lower, upper) * unit > 90.0 + _POLE_TOLERANCE:
        latitudes = f"latitudes {lower * unit:g}..{upper * unit:g}"
        text = f"{latitudes} reach past a pole; cut off at 90 degrees"
        yield RasterWarning("latitude_clamped", text)
    if crs.area is not None and not _is_middle_within(crs.area, bounds):
        west, south, east, north = crs.area
        text = (
            f"the middle of the raster lies outside the area of use of {crs.crs.name!r}, "
            f"longitudes {west:g}..{east:g}, latitudes {south:g}..{north:g}"
        )
        yield RasterWarning("outside_area_of_use", text)
    if projector.candidate.ballpark:
        text = (
            f"no operation is known from the datum of {crs.crs.name!r} to WGS 84; "
            "longitude and latitude were copied unchanged"
        )
        yield RasterWarning("unknown_datum", text)


def _is_middle_within(area: Area, bounds: Bounds) -> bool:
    width = (bounds.east - bounds.west) % 360.0 or 360.0
    latitude = (bounds.south + bounds.north) / 2
    return bool(lies_within(area, bounds.west + width / 2, latitude))


def _is_rotated(projector: Projector) -> bool:
    """Return whether rows or columns drift by more than rounding over the raster."""
    t = projector.transform
    if not (t.b or t.d):
        return False
    drift = max(abs(t.b) * projector.height, abs(t.d) * projector.width)
    return drift > _ROTATION_PIXELS * max(abs(t.a), abs(t.b), abs(t.d), abs(t.e))


def _pixelsize(transform: Affine) -> tuple[float, float]:
    """Return the change of x per column and of y per row, as rasterio's `transform.a` and `.e`.

    Both are zero for a grid turned by 90 degrees; then return the change of x per row and of y per column.
    """
    t = transform
    return (t.a, t.e) if abs(t.a * t.e) > _QUARTER_TURN * abs(t.b * t.d) else (t.b, t.d)
