"""Bounds compared with brute force: no point of a raster lies outside them, and they are tight."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from pipeline.raster.models import Bounds, FileCRS, Georeference, Grid
from pipeline.raster.placement.georeference import georeference_grid

Floats = npt.NDArray[np.float64]

# For each CRS: x and y of the middle of rasters in its unit, and their largest size.
# All have the datum of WGS 84, so that brute force needs no operation.
PLACES: dict[str, tuple[tuple[float, float], tuple[float, float], float]] = {
    "EPSG:32601": ((2e5, 8e5), (1e4, 9e6), 8e5),
    "EPSG:32760": ((2e5, 8e5), (2e6, 9.9e6), 8e5),
    "EPSG:32633": ((2e5, 8e5), (9.5e6, 1.05e7), 1e6),
    "EPSG:3031": ((-3e6, 3e6), (-3e6, 3e6), 5e6),
    "EPSG:3995": ((-3e6, 3e6), (-3e6, 3e6), 5e6),
    "EPSG:3413": ((-3e6, 3e6), (-3e6, 3e6), 5e6),
    "EPSG:4326": ((-170, 350), (-60, 60), 50),
    "EPSG:3832": ((-1e7, 1e7), (-8e6, 8e6), 5e6),
    "EPSG:3857": ((-1.8e7, 1.8e7), (-1.5e7, 1.5e7), 4e6),
    "EPSG:6933": ((-1.5e7, 1.5e7), (-6e6, 6e6), 2e6),
    "+proj=laea +lat_0=52 +lon_0=10 +datum=WGS84": ((-3e6, 3e6), (-3e6, 3e6), 4e6),
    "+proj=lcc +lat_1=35 +lat_2=65 +lat_0=52 +lon_0=10 +datum=WGS84": (
        (-2e6, 2e6),
        (-2e6, 2e6),
        4e6,
    ),
    "+proj=aea +lat_1=29.5 +lat_2=45.5 +lon_0=-96 +datum=WGS84": ((-2e6, 2e6), (2e6, 5e6), 4e6),
    "+proj=sinu +lon_0=170 +datum=WGS84": ((-5e6, 5e6), (-4e6, 4e6), 3e6),
    "+proj=geos +h=35785831 +lon_0=140.7 +datum=WGS84": ((-2e6, 2e6), (-2e6, 2e6), 3e6),
    "+proj=sterea +lat_0=70 +lon_0=175 +datum=WGS84": ((-2e6, 2e6), (-2e6, 2e6), 4e6),
}


@st.composite
def rasters(draw: st.DrawFn) -> tuple[str, Grid]:
    """Draw a raster of any size up to the largest, rotated or not, north-up or south-up."""
    definition = draw(st.sampled_from(sorted(PLACES)))
    (left, right), (low, high), largest = PLACES[definition]
    middle = draw(st.floats(left, right)), draw(st.floats(low, high))
    across, down = (largest * 10.0 ** draw(st.floats(-4, 0)) for _ in range(2))
    angle = draw(st.sampled_from([0.0, 0.0, 0.0, 30.0, 90.0, 217.0]))
    up = draw(st.sampled_from([-1.0, 1.0]))
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    transform = (
        Affine.translation(*middle)
        @ Affine.rotation(angle)
        @ Affine.scale(across / width, up * down / height)
        @ Affine.translation(-width / 2, -height / 2)
    )
    return definition, Grid(width, height, transform)


def locate_by_brute_force(
    definition: str, grid: Grid, columns: Floats, rows: Floats
) -> tuple[Floats, Floats]:
    """Return longitudes and latitudes of a lattice, given in fractions of the raster's size, by PROJ alone."""
    assert grid.transform is not None
    across, down = np.meshgrid(columns * grid.width, rows * grid.height)
    a, b, c, d, e, f = grid.transform[:6]
    x, y = (a * across + b * down + c).ravel(), (d * across + e * down + f).ravel()
    turn = one_turn(definition)
    if turn:
        x = np.mod(x + turn / 2, turn) - turn / 2
    crs = CRS.from_user_input(definition)
    longitude, latitude = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return longitude, latitude


def one_turn(definition: str) -> float:
    """Return 360 degrees in the unit of a CRS that repeats; 0 for others."""
    if definition == "EPSG:4326":
        return 360.0
    centre = {"EPSG:3832": 150.0, "EPSG:3857": 0.0, "EPSG:6933": 0.0}.get(definition)
    if centre is None:
        return 0.0
    quarter = Transformer.from_crs(4326, definition, always_xy=True).transform(centre - 90.0, 0.0)
    return float(-4 * quarter[0])


def overshoot(bounds: Bounds, longitude: Floats, latitude: Floats) -> tuple[Floats, float]:
    """Return how far the points reach beyond the bounds to the west, south, east and north, in degrees."""
    free = np.abs(latitude) < 90.0 - 1e-6
    width = (bounds.east - bounds.west) % 360.0 or 360.0
    middle = bounds.west + width / 2
    beside = np.mod(longitude[free] - middle + 180.0, 360.0) - 180.0
    west, east = -width / 2 - beside.min(), beside.max() - width / 2
    return np.array(
        [west, bounds.south - latitude.min(), east, latitude.max() - bounds.north]
    ), width


def file_crs(definition: str) -> FileCRS:
    return FileCRS(CRS.from_user_input(definition).to_wkt())


def locate_edge(definition: str, grid: Grid, count: int) -> tuple[Floats, Floats]:
    steps, ends = np.linspace(0.0, 1.0, count), np.array([0.0, 1.0])
    rows = locate_by_brute_force(definition, grid, steps, ends)
    columns = locate_by_brute_force(definition, grid, ends, steps)
    return np.concatenate([rows[0], columns[0]]), np.concatenate([rows[1], columns[1]])


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(rasters())
def test_no_point_of_a_raster_lies_outside_its_bounds(raster: tuple[str, Grid]) -> None:
    definition, grid = raster
    result = georeference_grid(grid, file_crs(definition))
    inner = np.linspace(0.0, 1.0, 31)
    overshoots, _ = overshoot(result.bounds, *locate_by_brute_force(definition, grid, inner, inner))
    assert overshoots.max() < 1e-8


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(rasters())
def test_bounds_are_tight(raster: tuple[str, Grid]) -> None:
    definition, grid = raster
    result = georeference_grid(grid, file_crs(definition))
    longitude, latitude = locate_edge(definition, grid, 2001)
    overshoots, width = overshoot(result.bounds, longitude, latitude)
    assert overshoots.max() < 1e-8
    # With 2,000 chords a side, the edge bends away by a few millionths of its size at most. A pole
    # inside gives bounds that no point of the edge has.
    slack = 1e-5 * max(width, result.bounds.north - result.bounds.south) + 1e-9
    sides = (
        slice(0, 4) if width < 360.0 else slice(1, 2) if result.bounds.north == 90 else slice(3, 4)
    )
    assert overshoots[sides].min() > -slack


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(rasters())
def test_footprints_are_valid_and_hold_the_raster(raster: tuple[str, Grid]) -> None:
    definition, grid = raster
    result = georeference_grid(grid, file_crs(definition))
    footprint, bounds = result.footprint, result.bounds
    assert footprint.is_valid
    assert shapely.get_num_coordinates(footprint) < 500
    west, south, east, north = footprint.bounds
    assert min(west, -east) >= -180.0
    assert bounds.south - 1e-6 <= south
    assert north <= bounds.north + 1e-6
    assert_holds(
        result,
        *locate_by_brute_force(
            definition, grid, np.linspace(0.02, 0.98, 9), np.linspace(0.02, 0.98, 9)
        ),
    )


def assert_holds(result: Georeference, longitude: Floats, latitude: Floats) -> None:
    """Assert that points inside the raster lie in the footprint, or near it."""
    points: Any = shapely.points(np.mod(longitude + 180.0, 360.0) - 180.0, latitude)
    size = max(np.ptp(np.asarray(result.footprint.bounds).reshape(2, 2), axis=0))
    assert shapely.distance(result.footprint, points).max() < 2e-5 * size + 1e-9


@pytest.mark.parametrize("definition", sorted(PLACES))
def test_each_crs_of_these_tests_has_the_datum_of_wgs_84(definition: str) -> None:
    middle = [sum(span) / 2 for span in PLACES[definition][:2]]
    result = georeference_grid(
        Grid(1, 1, Affine(1e-3, 0, middle[0], 0, -1e-3, middle[1])), file_crs(definition)
    )
    assert result.operation.accuracy == 0.0
