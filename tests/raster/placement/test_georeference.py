"""Bounds, footprint and grid of rasters, compared with values from other programs and by hand."""

import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.errors import NotGeoreferencedWarning

from pipeline.errors import (
    MissingCRS,
    NoGrid,
    OutsideCRSDomain,
    RasterError,
    ResidualTooLarge,
)
from pipeline.raster.models import Bounds, ControlPoint, FileCRS, Georeference, Grid
from pipeline.raster.placement.bounds import corner_shift_metres
from pipeline.raster.placement.georeference import georeference_grid, georeference_stored_grid
from tests.raster.test_corpus import load_truths
from tests.support.commands import CORPUS
from tests.support.needs import needs_corpus, needs_gdal

SPHERE = "+proj=sinu +R=6371007.181 +type=crs"
GOES = "+proj=geos +lon_0=-75 +h=35786023 +sweep=x +ellps=GRS80 +type=crs"


def place_grid(
    definition: object, transform: Affine, width: int = 100, height: int = 100
) -> Georeference:
    wkt = CRS.from_user_input(definition).to_wkt()
    return georeference_grid(Grid(width, height, transform), FileCRS(wkt))


def north_up(west: float, north: float, pixel: float, height: float | None = None) -> Affine:
    return Affine(pixel, 0.0, west, 0.0, -(height or pixel), north)


def as_tuple(bounds: Bounds) -> tuple[float, float, float, float]:
    return bounds.west, bounds.south, bounds.east, bounds.north


def warning_codes(result: Georeference) -> list[str]:
    return [warning.code for warning in result.warnings]


def assert_whole(result: Georeference) -> None:
    """Assert that the footprint is valid, within the globe, and has the extent of the bounds."""
    footprint, bounds = result.footprint, result.bounds
    assert footprint.is_valid
    assert not footprint.is_empty
    assert shapely.get_num_coordinates(footprint) <= 500
    west, south, east, north = footprint.bounds
    assert west >= -180.0
    assert east <= 180.0
    assert bounds.south - 1e-6 <= south
    assert north <= bounds.north + 1e-6
    if bounds.west <= bounds.east:
        assert bounds.west - 1e-6 <= west
        assert east <= bounds.east + 1e-6


# Origin, upper bound and spatial bounds of the ten records of the existing catalogue, of which
# three are distinct.
@pytest.mark.parametrize(
    ("origin", "upper", "west", "south", "east", "north"),
    [
        (
            (172724.5, 312709.0),
            (181453.0, 324743.0),
            5.6386228484477865,
            50.803664406119424,
            5.763313028234233,
            50.912170358916576,
        ),
        (
            (93486.0, 433830.0),
            (94606.0, 434800.0),
            4.493448267044883,
            51.889591611381135,
            4.509889296173231,
            51.898432019987055,
        ),
        (
            (93486.0, 433830.0),
            (94597.5, 434797.0),
            4.49344880290635,
            51.889591611381135,
            4.509765834762842,
            51.89840413549082,
        ),
    ],
)
def test_the_records_of_the_existing_catalogue_are_exact(
    origin: tuple[float, float],
    upper: tuple[float, float],
    west: float,
    south: float,
    east: float,
    north: float,
) -> None:
    width, height = round((upper[0] - origin[0]) * 2), round((upper[1] - origin[1]) * 2)
    result = place_grid(28992, north_up(origin[0], upper[1], 0.5), width, height)
    assert as_tuple(result.bounds) == pytest.approx((west, south, east, north), rel=0, abs=1e-12)
    assert (result.origin_x, result.origin_y) == origin
    assert (result.upper_bound_x, result.upper_bound_y) == upper
    assert (result.pixelsize_x, result.pixelsize_y) == (0.5, -0.5)
    assert (result.projection, result.operation.code) == ("EPSG:28992", "EPSG:15934")
    assert not result.rotated
    assert not result.warnings
    assert_whole(result)


def test_south_up_lies_where_north_up_lies() -> None:
    north = place_grid(32633, Affine(10, 0, 300_000, 0, -10, 5_001_000))
    south = place_grid(32633, Affine(10, 0, 300_000, 0, 10, 5_000_000))
    assert as_tuple(south.bounds) == pytest.approx(as_tuple(north.bounds), abs=1e-12)
    assert (south.origin_y, south.upper_bound_y) == (5_000_000, 5_001_000)
    assert (south.pixelsize_y, north.pixelsize_y) == (10, -10)
    assert south.footprint.symmetric_difference(north.footprint).area < 1e-12
    assert_whole(south)


def test_a_rotated_grid_has_an_envelope_and_its_true_outline() -> None:
    # A square of 0.1 x 0.1 degrees that stands on its corner: the envelope is sqrt(2) times as
    # wide, and the outline covers half of it.
    turned = Affine.translation(10.0, 50.0) @ Affine.rotation(45) @ Affine.scale(0.001, -0.001)
    result = place_grid(4326, turned)
    half = 0.1 / 2**0.5
    assert result.rotated
    assert "rotated_grid" in warning_codes(result)
    assert as_tuple(result.bounds) == pytest.approx((10.0, 50 - half, 10 + 2 * half, 50 + half))
    assert (result.origin_x, result.upper_bound_x) == pytest.approx((10.0, 10 + 2 * half))
    assert result.footprint.area == pytest.approx(0.01)


def test_the_pixel_size_of_a_turned_grid_is_measured_along_the_axes() -> None:
    sheared = place_grid(32611, Affine(14.0, 9.0, 305_000, 9.0, -14.0, 5_223_000))
    assert (sheared.pixelsize_x, sheared.pixelsize_y) == (14.0, -14.0)
    quarter = place_grid(32611, Affine(0, 3.0, 305_000, -2.0, 0, 5_223_000))
    assert (quarter.pixelsize_x, quarter.pixelsize_y) == (3.0, -2.0)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_the_number_of_pixels_does_not_change_the_bounds(size: int) -> None:
    result = place_grid(28992, north_up(100_000, 500_000, 1000 / size), size, size)
    reference = place_grid(28992, north_up(100_000, 500_000, 10.0))
    assert as_tuple(result.bounds) == pytest.approx(as_tuple(reference.bounds), abs=1e-9)
    assert_whole(result)


@pytest.mark.parametrize(
    ("west", "width", "expected"),
    [
        (170.0, 20.0, (170.0, -170.0)),
        (-190.0, 20.0, (170.0, -170.0)),
        (190.0, 20.0, (-170.0, -150.0)),
        (170.0, 10.0, (170.0, 180.0)),
        (180.0, 10.0, (-180.0, -170.0)),
        (0.0, 360.0, (-180.0, 180.0)),
        (-0.5, 361.0, (-180.0, 180.0)),
        (0.0, 350.0, (0.0, -10.0)),
    ],
)
@pytest.mark.parametrize("code", [4326, 4258])
def test_longitudes_are_normalized(
    code: int, west: float, width: float, expected: tuple[float, float]
) -> None:
    result = place_grid(code, north_up(west, 60.0, width / 100, 0.1))
    assert (result.bounds.west, result.bounds.east) == pytest.approx(expected, abs=1e-9)
    assert result.footprint.area == pytest.approx(min(width, 360.0) * 10.0)
    assert_whole(result)


def test_a_footprint_over_the_antimeridian_is_cut_there() -> None:
    result = place_grid(32701, north_up(100_000, 8_000_000, 5000))
    assert result.bounds.west > result.bounds.east
    assert len(result.footprint.geoms) == 2
    assert_whole(result)


def test_a_pixel_past_the_pole_is_cut_off_with_a_warning() -> None:
    result = place_grid(4326, north_up(-180.0, 90.5, 3.6, 1.81))
    assert as_tuple(result.bounds) == (-180.0, -90.0, 180.0, 90.0)
    assert warning_codes(result) == ["latitude_clamped"]
    assert_whole(result)


@pytest.mark.parametrize(
    "transform",
    [north_up(133_613, 500_677, 0.5), north_up(0, 300, 1.0), north_up(500, 50, 1.0)],
    ids=["RD in metres", "latitudes up to 300", "longitudes up to 600"],
)
def test_metres_labelled_as_degrees_are_rejected(transform: Affine) -> None:
    with pytest.raises(OutsideCRSDomain, match="degrees"):
        place_grid(4326, transform)


def test_a_grid_where_the_projection_has_no_meaning_is_rejected() -> None:
    with pytest.raises(OutsideCRSDomain) as caught:
        place_grid(32633, north_up(1e9, 1e9, 1000))
    assert caught.value.code == "outside_crs_domain"


@pytest.mark.parametrize("definition", ["EPSG:28992", "EPSG:3857", "EPSG:4326", GOES, SPHERE])
@pytest.mark.parametrize("coordinate", [1e12, 1e300, -1e308])
def test_coordinates_beyond_the_earth_are_rejected(definition: str, coordinate: float) -> None:
    with pytest.raises(OutsideCRSDomain):
        place_grid(definition, Affine(1000.0, 0, coordinate, 0, -1000.0, 0))
    with pytest.raises(OutsideCRSDomain):
        place_grid(definition, Affine(coordinate, 0, 0, 0, -1000.0, 0))


def test_a_raster_that_is_too_small_covers_no_area() -> None:
    with pytest.raises(NoGrid, match="area"):
        place_grid(28992, north_up(155_000, 463_000, 1e-9))


def test_a_raster_outside_the_area_of_use_gets_a_warning() -> None:
    result = place_grid(32633, north_up(500_000, -3_000_000, 10))
    assert warning_codes(result) == ["outside_area_of_use"]
    assert result.bounds.south < -27


# The pole lies inside, on a corner and on a side of these grids by construction; the lowest
# latitude is that of the farthest corner by gdaltransform.
@pytest.mark.parametrize(
    ("west", "north", "longitudes"),
    [
        (-1000e3, 1000e3, (-180.0, 180.0)),
        (0.0, 2000e3, (0.0, 90.0)),
        (-2000e3, 0.0, (-180.0, -90.0)),
        (-1000e3, 2000e3, (-90.0, 90.0)),
    ],
)
def test_a_pole_in_the_raster_is_covered(
    west: float, north: float, longitudes: tuple[float, float]
) -> None:
    result = place_grid(3031, north_up(west, north, 20e3))
    assert (result.bounds.west, result.bounds.east) == pytest.approx(longitudes, abs=1e-9)
    assert result.bounds.south == -90.0
    assert result.footprint.bounds[1] == -90.0
    assert_whole(result)


def test_a_full_disk_has_the_bounds_of_the_visible_earth() -> None:
    result = place_grid(GOES, north_up(-5_434_894, 5_434_894, 108_697.88))
    # Seen from h above the equator the limb is at the angle acos(a / (a + h)).
    assert (result.bounds.west, result.bounds.east) == pytest.approx((-156.3, 6.3), abs=0.01)
    assert (result.bounds.south, result.bounds.north) == pytest.approx((-81.3, 81.3), abs=0.05)
    assert "partly_off_earth" in warning_codes(result)
    assert_whole(result)


def test_a_world_whose_corners_are_off_the_earth_is_the_world() -> None:
    result = place_grid(SPHERE, north_up(-20_015_109.354, 10_007_554.677, 400_302.187, 200_151.094))
    assert as_tuple(result.bounds) == (-180.0, -90.0, 180.0, 90.0)
    assert "partly_off_earth" in warning_codes(result)
    assert_whole(result)


def test_a_tile_with_one_side_off_the_earth_has_the_rest() -> None:
    # A sinusoidal tile of 10 degrees: at latitude 60 its parallel is half as long as at 0.
    side = 1_111_950.52
    result = place_grid(SPHERE, north_up(-8 * side * 1.2, 6 * side, side / 100))
    assert result.bounds.west == pytest.approx(-180.0, abs=1e-4)
    assert result.bounds.east < -120.0
    assert_whole(result)


def test_an_unknown_datum_gives_a_warning() -> None:
    result = place_grid(SPHERE, north_up(0, 1_000_000, 1000))
    assert warning_codes(result) == ["unknown_datum"]
    assert result.projection is None
    assert result.crs_wkt.startswith("PROJCRS")


@pytest.mark.parametrize(
    "grid",
    [
        Grid(10, 10, None),
        Grid(10, 10, None, has_rpcs=True),
        Grid(10, 10, Affine.identity()),
        Grid(10, 10, Affine(1, 0, 0, 0, 0, 0)),
        Grid(10, 10, Affine(float("nan"), 0, 0, 0, -1, 0)),
        Grid(0, 10, Affine(1, 0, 5, 0, -1, 0)),
    ],
    ids=["none", "RPC", "identity", "flat", "NaN", "empty"],
)
def test_a_raster_without_grid_is_rejected(grid: Grid) -> None:
    with pytest.raises(NoGrid) as caught:
        georeference_grid(grid, FileCRS(CRS.from_epsg(28992).to_wkt()))
    assert caught.value.code == "no_grid"


def test_a_raster_without_crs_is_rejected() -> None:
    with pytest.raises(MissingCRS) as caught:
        georeference_grid(Grid(10, 10, north_up(0, 0, 1)), FileCRS(None))
    assert caught.value.code == "missing_crs"


def control_points(miss: float) -> tuple[ControlPoint, ...]:
    corners = ((0, 0), (100, 0), (0, 100), (100, 100))
    exact = [ControlPoint(c, r, 155_000 + 10 * c, 463_000 - 10 * r) for c, r in corners]
    return (*exact[:3], ControlPoint(100, 100, 156_000 + 10 * miss, 462_000))


def test_control_points_place_a_raster_and_give_a_warning() -> None:
    crs = FileCRS(CRS.from_epsg(28992).to_wkt())
    fitted = georeference_grid(Grid(100, 100, None, control_points(0.0)), crs)
    plain = georeference_grid(Grid(100, 100, north_up(155_000, 463_000, 10)), crs)
    assert as_tuple(fitted.bounds) == pytest.approx(as_tuple(plain.bounds), abs=1e-12)
    assert warning_codes(fitted) == ["fitted_to_control_points"]
    assert not fitted.rotated


def test_control_points_that_fit_badly_are_rejected() -> None:
    crs = FileCRS(CRS.from_epsg(28992).to_wkt())
    grid = Grid(100, 100, None, control_points(20.0))
    with pytest.raises(ResidualTooLarge) as caught:
        georeference_grid(grid, crs)
    assert caught.value.code == "gcp_residual"
    assert georeference_grid(grid, crs, gcp_residual_pixels=10.0)


def test_a_geotransform_precedes_control_points() -> None:
    crs = FileCRS(CRS.from_epsg(28992).to_wkt())
    result = georeference_grid(
        Grid(100, 100, north_up(99_000, 463_000, 10), control_points(0.0)), crs
    )
    assert result.origin_x == 99_000
    assert warning_codes(result) == ["control_points_ignored"]


@pytest.mark.parametrize("definition", ["EPSG:28992", "EPSG:7415", "EPSG:2193", SPHERE])
def test_a_stored_grid_is_placed_as_before(definition: str) -> None:
    first = place_grid(definition, north_up(150_000, 5_000_000, 10))
    again = georeference_stored_grid(first.transform, 100, 100, first.crs_wkt)
    assert (again.projection, again.bounds) == (first.projection, first.bounds)
    assert again.operation == first.operation
    assert shapely.equals_exact(again.footprint, first.footprint)


def test_a_shift_is_the_longest_distance_of_a_corner_in_metres() -> None:
    old = Bounds(0.0, 0.0, 1.0, 1.0)
    # One degree of longitude on the equator of WGS 84 is 2 pi 6378137 / 360 metres.
    assert corner_shift_metres(old, Bounds(0.0, 0.0, 2.0, 1.0)) == pytest.approx(
        111_319.4908, abs=1e-3
    )
    assert corner_shift_metres(Bounds(179.0, 0, 180.0, 1), Bounds(179.0, 0, -180.0, 1)) < 1e-6
    assert corner_shift_metres(old, old) == 0.0


def test_rasters_of_one_grid_share_their_place() -> None:
    transform = north_up(155_000, 463_000, 10)
    assert place_grid(28992, transform) is place_grid(28992, transform)


TRUTHS = [
    truth for truth in load_truths() if truth["outcome"] == "ok" and not truth.get("debatable")
]


def georeference_by_rasterio(path: Path) -> Georeference:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as dataset:
            crs = FileCRS(dataset.crs.to_wkt(version="WKT2_2019") if dataset.crs else None)
            return georeference_grid(Grid(dataset.width, dataset.height, dataset.transform), crs)


@needs_corpus
@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: Path(truth["file"]).name[-40:])
def test_a_file_of_the_corpus_has_its_known_place(truth: dict[str, Any]) -> None:
    result = georeference_by_rasterio(CORPUS / truth["file"])
    uncertain = truth.get("debatable_fields", [])
    if "projection" not in uncertain:
        allowed = truth.get("accept", {}).get("projection", [truth["projection"]])
        assert result.projection in allowed
    for name in ("origin_x", "origin_y", "upper_bound_x", "upper_bound_y"):
        assert getattr(result, name) == pytest.approx(truth[name], rel=1e-9), name
    for name in ("pixelsize_x", "pixelsize_y"):
        assert getattr(result, name) == pytest.approx(truth[name], rel=1e-9), name
    if "spatial_bounds" not in uncertain:
        for side, value in truth["spatial_bounds"].items():
            bound = getattr(result.bounds, side)
            assert bound == pytest.approx(value, rel=0, abs=truth["bounds_tol"]), side
    assert_whole(result)


@needs_gdal
@pytest.mark.parametrize("code", [32631, 3035, 2154, 5070, 3413])
def test_corners_lie_where_gdaltransform_puts_them(code: int) -> None:
    centre = {32631: (5e5, 5.7e6), 3035: (4e6, 3e6), 2154: (7e5, 6.6e6), 5070: (0.0, 2e6)}
    x, y = centre.get(code, (1e6, -1e6))
    result = place_grid(code, north_up(x, y, 10))
    corners = [(x, y), (x + 1000, y), (x, y - 1000), (x + 1000, y - 1000)]
    answer = subprocess.run(
        ["gdaltransform", "-s_srs", f"EPSG:{code}", "-t_srs", "EPSG:4326", "-output_xy"],
        input="\n".join(f"{a} {b}" for a, b in corners),
        capture_output=True,
        text=True,
        check=True,
        env={"OGR_CT_FORCE_TRADITIONAL_GIS_ORDER": "YES", "PATH": "/usr/bin:/bin"},
    ).stdout
    longitude, latitude = zip(
        *(map(float, line.split()) for line in answer.splitlines()), strict=True
    )
    expected = min(longitude), min(latitude), max(longitude), max(latitude)
    assert as_tuple(result.bounds) == pytest.approx(expected, abs=1e-6)


def test_every_rejection_is_a_raster_error_with_a_code() -> None:
    assert issubclass(OutsideCRSDomain, RasterError)
    for kind, code in ((NoGrid, "no_grid"), (MissingCRS, "missing_crs")):
        assert kind("message").code == code
