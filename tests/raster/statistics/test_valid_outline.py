"""The outline of valid pixels holds all of them, and no other pixels where a square is one pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import shapes

from pipeline.raster import RasterFile, ReadOptions, Statistics
from pipeline.raster.read import read
from pipeline.raster.statistics.measure import measure
from pipeline.raster.statistics.valid_outline import trace_polygons
from pipeline.storage import find_file
from tests.support.factory import RD_TRANSFORM, write_raster

RANDOM = np.random.default_rng(7)
DEGREES = Affine(0.01, 0.0, 5.0, 0.0, -0.01, 52.0)
PIPELINES = {
    # The coordinate operation itself, as the EPSG registry defines it: 9607 with its parameters.
    "EPSG:28992": (
        "+proj=pipeline +step +inv +proj=sterea +lat_0=52.1561605555556 +lon_0=5.38763888888889 "
        "+k=0.9999079 +x_0=155000 +y_0=463000 +ellps=bessel +step +proj=push +v_3 "
        "+step +proj=cart +ellps=bessel +step +proj=helmert +x=565.2369 +y=50.0087 +z=465.658 "
        "+rx=0.406857330322398 +ry=-0.350732676542563 +rz=1.8703473836068 +s=4.0812 +convention=coordinate_frame "
        "+step +inv +proj=cart +ellps=WGS84 +step +proj=pop +v_3 "
        "+step +proj=unitconvert +xy_in=rad +xy_out=deg"
    ),
}


def measure_outline(
    path: Path, valid: NDArray[np.bool_], **options: Any
) -> tuple[RasterFile, Statistics]:
    """Write a raster with these valid pixels; return what is read and measured."""
    height, width = valid.shape
    write_raster(
        path, width=width, height=height, dtype="uint8", nodata=0, values=valid[None], **options
    )
    file = find_file(path, [path.parent])
    raster = read(file)
    return raster, measure(file, raster, ReadOptions(statistics="exact"))


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9])
@pytest.mark.parametrize("across", [1, 3])
def test_squares_that_share_sides_are_drawn_as_gdal_draws_them(share: float, across: int) -> None:
    for height, width in ((1, 1), (1, 9), (23, 17), (40, 60)):
        flags = np.kron(RANDOM.random((height, width)) < share, np.ones((1, across), np.bool_))
        drawn = shapes(flags.astype("u1"), mask=flags)
        expected = [shapely.geometry.shape(shape) for shape, _ in drawn]
        assert normalize(trace_polygons(flags)) == normalize(expected)


def normalize(polygons: list[shapely.Polygon]) -> list[str]:
    """Return polygons as texts that do not depend on the first point or the order of rings."""
    return sorted(shapely.normalize(shapely.simplify(polygon, 0)).wkt for polygon in polygons)


def locate_centres(
    raster: RasterFile, chosen: NDArray[np.bool_], to_degrees: Transformer | None
) -> NDArray[np.object_]:
    """Return points in the middle of the chosen pixels, longitude first."""
    rows, columns = np.nonzero(chosen)
    a, b, c, d, e, f = raster.georeference.transform[:6]
    x = a * (columns + 0.5) + b * (rows + 0.5) + c
    y = d * (columns + 0.5) + e * (rows + 0.5) + f
    if to_degrees is not None:
        x, y = to_degrees.transform(x, y)
    points: NDArray[np.object_] = shapely.points((x + 180) % 360 - 180, y)
    return points


def assert_separates(
    outline: shapely.Geometry, raster: RasterFile, valid: NDArray[np.bool_], to_degrees: Transformer | None
) -> None:  # fmt: skip
    """Fail unless the outline holds the centres of all valid pixels, and of no others."""
    assert shapely.intersects(outline, locate_centres(raster, valid, to_degrees)).all()
    assert not shapely.intersects(outline, locate_centres(raster, ~valid, to_degrees)).any()


def make_transformer(crs: str) -> Transformer | None:
    if crs == "EPSG:4326":
        return None
    if crs in PIPELINES:
        return Transformer.from_pipeline(PIPELINES[crs])
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


PLACES = {
    "plain degrees": ("EPSG:4326", DEGREES),
    "Dutch grid by EPSG:15934": ("EPSG:28992", RD_TRANSFORM),
    "UTM, south-up": ("EPSG:32631", Affine(1000.0, 0, 500_000, 0, 1000.0, 5_700_000)),
    "rotated": ("EPSG:32631", Affine(800.0, 500, 500_000, 500, -800.0, 5_700_000)),
    "across the antimeridian": ("EPSG:3832", Affine(20_000.0, 0, 2.9e6, 0, -20_000.0, 1e6)),
    "longitudes of 0 to 360": ("EPSG:4326", Affine(1.0, 0, 150.0, 0, -1.0, 30.0)),
    "around the north pole": ("EPSG:3413", Affine(50_000.0, 0, -1.5e6, 0, -50_000.0, 1.5e6)),
    "around the south pole": ("EPSG:3031", Affine(50_000.0, 0, -1.5e6, 0, -50_000.0, 1.5e6)),
}


@pytest.mark.parametrize(("crs", "transform"), PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_the_outline_holds_the_valid_pixels_and_no_others(
    tmp_path: Path, crs: str, transform: Affine, share: float
) -> None:
    # Lumps of three by three pixels give islands, lakes and islands in lakes.
    valid = np.kron(RANDOM.random((20, 20)) < share, np.ones((3, 3))).astype(bool)
    raster, statistics = measure_outline(tmp_path / "a.tif", valid, crs=crs, transform=transform)
    assert statistics.outline_pixels == 1
    assert statistics.valid_outline.is_valid
    assert_separates(statistics.valid_outline, raster, valid, make_transformer(crs))


def test_a_raster_without_missing_pixels_has_its_footprint_as_outline(tmp_path: Path) -> None:
    raster, statistics = measure_outline(tmp_path / "a.tif", np.ones((30, 40), bool))
    assert statistics.valid_outline == raster.georeference.footprint


@pytest.mark.parametrize("missing", range(1, 15))
def test_pixels_that_meet_at_a_pole_are_separate(tmp_path: Path, missing: int) -> None:
    valid = np.ones((20, 20), bool)
    for bit, (top, left) in enumerate([(7, 7), (7, 10), (10, 10), (10, 7)]):
        valid[top : top + 3, left : left + 3] = not missing >> bit & 1
    transform = Affine(50_000.0, 0, -5e5, 0, -50_000.0, 5e5)
    raster, statistics = measure_outline(
        tmp_path / "a.tif", valid, crs="EPSG:3413", transform=transform
    )
    assert_separates(statistics.valid_outline, raster, valid, make_transformer("EPSG:3413"))


def test_a_hole_at_the_pole_is_left_out(tmp_path: Path) -> None:
    valid = np.ones((60, 60), bool)
    valid[25:35, 25:35] = False
    transform = Affine(50_000.0, 0, -1.5e6, 0, -50_000.0, 1.5e6)
    _, statistics = measure_outline(tmp_path / "a.tif", valid, crs="EPSG:3413", transform=transform)
    assert not statistics.valid_outline.intersects(shapely.Point(10, 90))
    assert not statistics.valid_outline.intersects(shapely.Point(-135, 89))
    assert statistics.valid_outline.intersects(shapely.Point(-135, 85))


def test_the_area_in_degrees_is_that_of_the_valid_pixels(tmp_path: Path) -> None:
    valid = RANDOM.random((50, 60)) < 0.6
    _, statistics = measure_outline(tmp_path / "a.tif", valid, crs="EPSG:4326", transform=DEGREES)
    assert statistics.valid_outline.area == pytest.approx(valid.sum() * 1e-4, rel=1e-6)


def test_scattered_pixels_are_drawn_in_larger_squares_that_hold_them_all(tmp_path: Path) -> None:
    valid = RANDOM.random((500, 700)) < 0.2
    raster, statistics = measure_outline(
        tmp_path / "a.tif", valid, crs="EPSG:4326", transform=DEGREES
    )
    assert statistics.outline_pixels > 1
    assert shapely.get_num_coordinates(statistics.valid_outline) <= 5_000
    assert shapely.intersects(statistics.valid_outline, locate_centres(raster, valid, None)).all()
    assert raster.georeference.footprint.buffer(1e-9).covers(statistics.valid_outline)


def test_a_raster_wider_than_the_lattice_is_drawn_in_squares_within_its_footprint(
    tmp_path: Path,
) -> None:
    valid = np.zeros((1025, 3001), bool)
    valid[1000:, 2990:] = valid[5, 7] = True
    raster, statistics = measure_outline(
        tmp_path / "a.tif", valid, tiled=True, crs="EPSG:4326", transform=DEGREES
    )
    assert statistics.outline_pixels == 3
    # Squares of 3 pixels: one around the single pixel; 11 x 25 pixels lie in 12 columns (the last
    # of one pixel, cut off at the edge: 2988..3001) and in the rows 999..1025.
    expected = shapely.union(
        shapely.box(5.06, 51.94, 5.09, 51.97),
        shapely.box(5 + 29.88, 52 - 10.25, 5 + 30.01, 52 - 9.99),
    )
    assert statistics.valid_outline.symmetric_difference(expected).area < 1e-9
    assert raster.georeference.footprint.buffer(1e-9).covers(statistics.valid_outline)


def test_holes_that_read_as_zero_belong_to_the_outline(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", width=64, height=64, nodata=None, crs="EPSG:4326", transform=DEGREES,
        SPARSE_OK=True, tiled=True, blockxsize=16, blockysize=16,
    )  # fmt: skip
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((8, 8), np.nan, "f4"), 1, window=((20, 28), (4, 12)))
    file = find_file(path, [tmp_path])
    statistics = measure(file, read(file), ReadOptions(statistics="exact"))
    assert statistics.valid_outline.area == pytest.approx((64 * 64 - 64) * 1e-4, rel=1e-9)


def test_a_full_disk_of_a_satellite_is_outlined_where_it_shows_the_earth(
    tmp_path: Path,
) -> None:
    crs = "+proj=geos +h=35785831 +lon_0=170 +sweep=x +ellps=GRS80"
    transform = Affine(110_000.0, 0, -5.5e6, 0, -110_000.0, 5.5e6)
    rows, columns = np.mgrid[0.5:100, 0.5:100]
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(
        *(transform @ (columns, rows))
    )
    valid = np.isfinite(longitude)
    valid[40:60, 30:50] = False
    _, statistics = measure_outline(tmp_path / "a.tif", valid, crs=crs, transform=transform)
    points = shapely.points((longitude[valid] + 180) % 360 - 180, latitude[valid])
    assert statistics.valid_outline.is_valid
    assert np.count_nonzero(shapely.intersects(statistics.valid_outline, points)) > 0.999 * len(
        points
    )
    hole = (longitude[45:55, 35:45] + 180) % 360 - 180, latitude[45:55, 35:45]
    assert not shapely.intersects(statistics.valid_outline, shapely.points(*hole)).any()
