"""Grids fitted to ground control points."""

import pytest
from affine import Affine

from pipeline.errors import NoGrid
from pipeline.raster.models import ControlPoint
from pipeline.raster.placement.control_points import fit_grid

GRID = Affine(2.0, 0.5, 4_302_000.0, -0.25, -3.0, 2_811_000.0)


def points_on(transform: Affine, places: list[tuple[float, float]]) -> tuple[ControlPoint, ...]:
    return tuple(ControlPoint(*place, *(transform @ place)) for place in places)


def test_points_on_a_grid_give_that_grid_without_a_residual() -> None:
    fit = fit_grid(points_on(GRID, [(0, 0), (500, 3), (7, 190), (507, 188), (200, 80)]))
    assert fit.transform.almost_equals(GRID, precision=1e-6)
    assert fit.residual < 1e-6


def test_the_residual_is_in_pixels() -> None:
    # Four corners of a square, one of them 0.04 pixels off along a row: by symmetry each misses
    # the plane through them by a quarter of that.
    places = [(0.0, 0.0), (100.0, 0.0), (0.0, 100.0), (100.0, 100.0)]
    points = list(points_on(Affine.scale(10.0, -10.0), places))
    points[3] = ControlPoint(100.0, 100.0, 1000.4, -1000.0)
    assert fit_grid(tuple(points)).residual == pytest.approx(0.01, rel=1e-3)


def test_points_on_both_sides_of_the_antimeridian_are_joined() -> None:
    places = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0), (10.0, 10.0)]
    transform = Affine(0.2, 0, 179.0, 0, -0.2, 10.0)
    points = tuple(
        ControlPoint(p.column, p.row, p.x - 360 if p.x > 180 else p.x, p.y)
        for p in points_on(transform, places)
    )
    assert fit_grid(points, turn=360.0).transform.almost_equals(transform, precision=1e-9)


@pytest.mark.parametrize(
    "points",
    [
        points_on(GRID, [(0, 0), (10, 10)]),
        points_on(GRID, [(0, 0), (10, 10), (20, 20), (30, 30)]),
        tuple(ControlPoint(c, r, 5.0, 6.0) for c, r in [(0, 0), (9, 0), (0, 9)]),
        tuple(ControlPoint(c, r, float("nan"), 6.0) for c, r in [(0, 0), (9, 0), (0, 9)]),
        tuple(ControlPoint(c, r, 1.5e308, 6.0 * c) for c, r in [(0, 0), (9, 0), (0, 9)]),
    ],
    ids=["two", "on one line", "all at one place", "not finite", "too large"],
)
def test_points_that_do_not_span_a_plane_are_rejected(points: tuple[ControlPoint, ...]) -> None:
    with pytest.raises(NoGrid, match="control points"):
        fit_grid(points)
