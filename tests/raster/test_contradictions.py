"""A contradiction in a file gives a warning. We use the value that GDAL uses, and the provenance names it."""

import re
from pathlib import Path

import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from pipeline.errors import NoGrid
from pipeline.raster import RasterFile
from tests.support.commands import REPOSITORY
from tests.support.factory import RD_TRANSFORM, read_path, write_raster
from tests.support.handmade_tiff import (
    KEYS,
    MATRIX,
    METADATA,
    SCALE,
    TIE,
    USER,
    HandmadeTiff,
    Row,
    Values,
    make_tiff,
    write_keys,
)

ORIGIN = (0.0, 0.0, 0.0, 155_000.0, 463_000.0, 0.0)
TEN_METRES = (10.0, 10.0, 0.0)
CORNERS = ((0, 0), (100, 0), (100, 100), (0, 100))
SCALE_ORIGIN = "tags ModelPixelScale and ModelTiepoint"
OTHER_GRID = Affine(20.0, 0.0, 100_000.0, 0.0, -20.0, 400_000.0)
WORLD = "20\n0\n0\n-20\n100010\n399990\n"
"""The world file of OTHER_GRID, which locates the middle of the upper left pixel."""


def matrix_of(transform: Affine) -> tuple[float, ...]:
    a, b, c, d, e, f = transform[:6]
    return (a, b, 0, c, d, e, 0, f, *(0,) * 4, 0, 0, 0, 1.0)


def ties_on(transform: Affine) -> list[float]:
    return [number for place in CORNERS for number in (*place, 0, *(transform @ place), 0)]


def make_image(
    scale: Values | None = None, tie: Values | None = None, matrix: Values | None = None
) -> HandmadeTiff:
    image = make_tiff()
    for tag, values in ((SCALE, scale), (TIE, tie), (MATRIX, matrix)):
        image.tags.pop(tag, None)
        if values is not None:
            image.tags[tag] = (12, values)
    return image


def write_aux(path: Path, content: str) -> None:
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{content}</PAMDataset>")


def contradiction_codes(raster: RasterFile) -> set[str]:
    """Return the codes of the warnings about contradictions."""
    codes = {warning.code for warning in raster.warnings}
    return {
        code
        for code in codes
        if code.endswith(("_ignored", "_disagree", "_from_code", "metadata_unreadable"))
    }


def read_as_gdal(path: Path) -> RasterFile:
    """Read a file; assert that its grid is that of GDAL."""
    raster = read_path(path)
    with rasterio.open(path) as dataset:
        assert raster.georeference.transform == dataset.transform
    return raster


# The grid


@pytest.mark.parametrize("point", [False, True])
def test_a_matrix_that_contradicts_the_scale_gives_a_warning(tmp_path: Path, point: bool) -> None:
    image = make_image(TEN_METRES, ORIGIN, matrix_of(OTHER_GRID))
    if point:
        image.tags[KEYS] = (3, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 2, 3072, 0, 1, 28992))
    raster = read_as_gdal(image.write(tmp_path / "a.tif"))
    assert raster.provenance["transform"] == SCALE_ORIGIN
    assert contradiction_codes(raster) == {"transform_ignored"}
    image.tags[MATRIX] = (12, matrix_of(RD_TRANSFORM))
    assert contradiction_codes(read_as_gdal(image.write(tmp_path / "b.tif"))) == set()


def test_a_matrix_alone_is_used(tmp_path: Path) -> None:
    path = make_image(matrix=matrix_of(OTHER_GRID)).write(tmp_path / "a.tif")
    raster = read_as_gdal(path)
    assert raster.provenance["transform"] == "tag ModelTransformation"
    assert contradiction_codes(raster) == set()


@pytest.mark.parametrize(
    ("scale", "matrix"), [(TEN_METRES, None), (None, matrix_of(RD_TRANSFORM))], ids=["scale", "matrix"]
)  # fmt: skip
def test_tie_points_off_the_grid_give_a_warning(
    tmp_path: Path, scale: Values | None, matrix: Values | None
) -> None:
    other = Affine(20.0, 0.0, 155_000.0, 0.0, -20.0, 463_000.0)
    raster = read_as_gdal(make_image(scale, ties_on(other), matrix).write(tmp_path / "a.tif"))
    assert raster.georeference.transform == RD_TRANSFORM
    assert contradiction_codes(raster) == {"tie_points_disagree"}
    consistent = make_image(scale, ties_on(RD_TRANSFORM), matrix).write(tmp_path / "b.tif")
    assert contradiction_codes(read_as_gdal(consistent)) == set()


def test_a_tie_point_that_is_not_finite_gives_a_warning(tmp_path: Path) -> None:
    ties = [*ORIGIN, 1.0, 1.0, 0.0, float("nan"), 463_000.0, 0.0]
    path = make_image(TEN_METRES, ties).write(tmp_path / "a.tif")
    assert contradiction_codes(read_as_gdal(path)) == {"tie_points_disagree"}


@pytest.mark.parametrize("matrix", [None, matrix_of(OTHER_GRID)])
def test_a_scale_without_a_tie_point_does_not_place_a_file(
    tmp_path: Path, matrix: tuple[float, ...] | None
) -> None:
    path = make_image(TEN_METRES, matrix=matrix).write(tmp_path / "a.tif")
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path) as dataset:
        assert dataset.transform == Affine(10, 0, 0, 0, -10, 0)  # GDAL makes it up
    for _ in range(2):
        with pytest.raises(NoGrid):
            read_path(path)


def test_a_world_file_that_contradicts_the_tags_gives_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text(WORLD)
    raster = read_as_gdal(path)
    assert raster.provenance["transform"] == SCALE_ORIGIN
    assert contradiction_codes(raster) == {"transform_ignored"}
    (tmp_path / "a.tfw").write_text("10.0000001\n0\n0\n-10\n155005.0001\n462995\n")
    assert contradiction_codes(read_as_gdal(path)) == set()


def test_a_sidecar_geotransform_that_contradicts_the_tags_gives_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_aux(path, "<GeoTransform>155000, 20, 0, 463000, 0, -20</GeoTransform>")
    raster = read_as_gdal(path)
    assert raster.provenance["transform"] == "sidecar .aux.xml"
    assert contradiction_codes(raster) == {"transform_ignored"}
    write_aux(path, "<GeoTransform>155000, 10, 0, 463000, 0, -10</GeoTransform>")
    assert contradiction_codes(read_as_gdal(path)) == set()


def control_points_xml(crs: str, transform: Affine) -> str:
    points = "".join(
        f'<GCP Id="{n}" Pixel="{column}" Line="{row}" X="{x}" Y="{y}"/>'
        for n, (column, row) in enumerate(CORNERS)
        for x, y in [transform @ (column, row)]
    )
    return f'<GCPList Projection="{crs}">{points}</GCPList>'


UTM = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_800_000.0)


def test_control_points_of_a_sidecar_do_not_change_the_crs_of_a_grid(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=100, height=100)
    without_points = read_path(path)
    write_aux(path, control_points_xml("EPSG:32631", UTM))
    raster = read_as_gdal(path)
    assert raster.georeference.projection == "EPSG:28992"
    assert raster.georeference.bounds == without_points.georeference.bounds
    assert raster.provenance["projection"] == "GeoKeys"
    assert contradiction_codes(raster) == {"control_points_ignored"}


def test_control_points_of_a_sidecar_place_a_file_without_a_grid(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=100, height=100, crs=None, transform=None)
    write_aux(path, control_points_xml("EPSG:32631", UTM))
    raster = read_path(path)
    assert raster.georeference.transform.almost_equals(UTM, 1e-6)
    assert raster.georeference.projection == "EPSG:32631"
    assert raster.provenance["transform"] == "ground control points of sidecar .aux.xml"
    assert contradiction_codes(raster) == set()


@pytest.mark.parametrize("sidecar", ["world", "points"])
def test_control_points_that_a_sidecar_replaces_give_a_warning(
    tmp_path: Path, sidecar: str
) -> None:
    path = make_image(tie=ties_on(RD_TRANSFORM)).write(tmp_path / "a.tif")
    if sidecar == "world":
        (tmp_path / "a.tfw").write_text(WORLD)
    else:
        write_aux(path, control_points_xml("EPSG:28992", OTHER_GRID))
    raster = read_path(path)
    assert raster.georeference.transform.almost_equals(OTHER_GRID, 1e-6)
    assert contradiction_codes(raster) == {"control_points_ignored"}


# The CRS


def test_a_sidecar_crs_that_contradicts_the_keys_gives_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    write_aux(path, "<SRS>EPSG:32631</SRS>")
    raster = read_path(path)
    assert raster.georeference.projection == "EPSG:32631"
    assert contradiction_codes(raster) == {"crs_ignored"}
    assert any("EPSG:28992" in warning.message for warning in raster.warnings)
    write_aux(path, "<SRS>EPSG:28992</SRS>")
    assert contradiction_codes(read_path(path)) == set()


def test_a_sidecar_crs_beside_unreadable_keys_gives_no_warning(
    tmp_path: Path,
) -> None:
    path = write_keys(tmp_path / "a.tif", (1024, 1), (1025, 1), (3072, USER))
    write_aux(path, "<SRS>EPSG:28992</SRS>")
    assert contradiction_codes(read_path(path)) == set()


PROJECTED: tuple[Row, ...] = ((1024, 1), (1025, 1), (3072, 28992))


@pytest.mark.parametrize(
    "rows",
    [
        [(3076, 9002)],
        [(3076, 9003)],
        [(3076, USER), (3077, 0.5)],
        [(2056, 7030)],
        [(2050, 6326)],
        [(2048, 4326)],
        [(3075, 1)],
    ],
    ids=["foot", "US foot", "a unit of its own", "ellipsoid", "datum", "base CRS", "method"],
)
def test_parameters_that_gdal_applies_over_a_code_give_a_warning(
    tmp_path: Path, rows: list[Row]
) -> None:
    path = write_keys(tmp_path / "a.tif", *PROJECTED, *rows)
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_wkt() != rasterio.CRS.from_epsg(28992).to_wkt()
    for _ in range(2):  # the second time from the cache of keys
        raster = read_path(path)
        assert raster.georeference.projection is None
        assert contradiction_codes(raster) == {"crs_differs_from_code"}


@pytest.mark.parametrize(
    "row",
    [(3082, 0.0), (3083, 5.0), (3081, 51.0), (3080, 4.0), (3092, 1.0), (3088, 5.0)],
    ids=["easting", "northing", "latitude", "longitude", "scale", "central longitude"],
)
def test_parameters_that_gdal_ignores_beside_a_code_give_a_warning(
    tmp_path: Path, row: Row
) -> None:
    path = write_keys(tmp_path / "a.tif", *PROJECTED, row)
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() == 28992
    for _ in range(2):
        raster = read_path(path)
        assert raster.georeference.projection == "EPSG:28992"
        assert contradiction_codes(raster) == {"crs_keys_ignored"}


@pytest.mark.parametrize(
    "rows",
    [
        # EPSG:28992 by its own parameters, in degrees and in grads.
        [(3072, 28992), (3080, 5.38763888888889), (3081, 52.1561605555556), (3082, 155_000.0),
         (3083, 463_000.0), (3092, 0.9999079), (3076, 9001), (2054, 9102)],
        [(3072, 28992), (3080, 5.98626543209877), (2054, 9105)],
        # Long Island in US survey feet: a false easting of 300000 metres, or 984250 feet.
        [(3072, 2263), (3082, 984_250.0), (3076, 9003)],
        [(3072, 2263), (3082, 984_250.0)],
        [(3072, 2263), (3082, 300_000.0)],
        # NTF (Paris): a longitude from Paris.
        [(3072, 27572), (3080, 0.0)],
        [(3072, 32631), (3076, 9001), (2054, 9102), (2056, 7030), (2050, 6326), (2048, 4326)],
    ],
    ids=str,
)  # fmt: skip
def test_parameters_equal_to_those_of_the_code_give_no_warning(
    tmp_path: Path, rows: list[Row]
) -> None:
    path = write_keys(tmp_path / "a.tif", (1024, 1), (1025, 1), *rows)
    raster = read_path(path)
    assert raster.georeference.projection == f"EPSG:{rows[0][1]}"
    assert contradiction_codes(raster) == set()


def test_a_deprecated_code_that_gdal_replaces_gives_no_warning(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "a.tif", (1024, 1), (1025, 1), (3072, 3349))
    raster = read_path(path)
    assert raster.georeference.projection == "EPSG:3832"
    assert contradiction_codes(raster) == set()


def test_keys_of_a_geographic_and_a_projected_crs_give_a_warning(tmp_path: Path) -> None:
    image = make_image((0.1, 0.1, 0.0), (0.0, 0.0, 0.0, 5.0, 52.0, 0.0))
    rows = [(1024, 2), (1025, 1), (2048, 4258), (3072, 32631)]
    raster = read_path(write_keys(tmp_path / "a.tif", *rows, image=image))
    assert raster.georeference.projection == "EPSG:4258"
    assert contradiction_codes(raster) == {"crs_keys_ignored"}


# Metadata and pixels


@pytest.mark.parametrize(
    "text",
    [
        '<GDALMetadata><Item name="TIME" sample="0">2024-01-01T12:00:00Z</Item>',
        "garbage",
        '<Other><Item name="TIME" sample="0">2024-01-01T12:00:00Z</Item></Other>',
        '<GDALMetadata><Item name="A">a & b</Item></GDALMetadata>',
    ],
)
def test_metadata_that_are_not_gdals_xml_give_a_warning(tmp_path: Path, text: str) -> None:
    image = make_tiff()
    image.tags[METADATA] = (2, text.encode() + b"\0")
    raster = read_path(image.write(tmp_path / "a.tif"))
    assert raster.times == ()
    assert contradiction_codes(raster) == {"metadata_unreadable"}


@pytest.mark.parametrize(
    "text",
    ["", " ", "<GDALMetadata/>", '<GDALMetadata><Item name="TIME" sample="0">2024</Item></GDALMetadata>'],
)  # fmt: skip
def test_metadata_that_gdal_reads_give_no_warning(tmp_path: Path, text: str) -> None:
    image = make_tiff()
    image.tags[METADATA] = (2, text.encode() + b"\0")
    assert contradiction_codes(read_path(image.write(tmp_path / "a.tif"))) == set()


@pytest.mark.parametrize("own", ["Area", "Point"])
@pytest.mark.parametrize("other", ["Area", "Point"])
@pytest.mark.parametrize("in_sidecar", [False, True])
def test_area_or_point_that_contradicts_the_keys_gives_a_warning(
    tmp_path: Path, own: str, other: str, in_sidecar: bool
) -> None:
    image = make_tiff()
    kind = 1 if own == "Area" else 2
    image.tags[KEYS] = (3, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, kind, 3072, 0, 1, 28992))
    if not in_sidecar:
        item = f'<GDALMetadata><Item name="AREA_OR_POINT">{other}</Item></GDALMetadata>'
        image.tags[METADATA] = (2, item.encode() + b"\0")
    path = image.write(tmp_path / "a.tif")
    if in_sidecar:
        write_aux(path, f'<Metadata><MDI key="AREA_OR_POINT">{other}</MDI></Metadata>')
    for _ in range(2):
        raster = read_as_gdal(path)
        assert raster.area_or_point == own
        assert contradiction_codes(raster) == (set() if own == other else {"area_or_point_ignored"})


def test_points_in_the_metadata_alone_are_not_lost_in_the_cache(tmp_path: Path) -> None:
    image = make_tiff()
    image.tags[KEYS] = (3, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 28992))
    plain = image.write(tmp_path / "plain.tif")
    image.tags[METADATA] = (
        2,
        b'<GDALMetadata><Item name="AREA_OR_POINT">Point</Item></GDALMetadata>\0',
    )
    path = image.write(tmp_path / "a.tif")
    read_path(plain)  # the cache has its keys then
    assert read_path(path).area_or_point == "Point"


def test_every_warning_about_a_file_is_documented() -> None:
    page = (REPOSITORY / "docs" / "warnings.md").read_text()
    source = "".join(
        path.read_text() for path in (REPOSITORY / "pipeline" / "raster").rglob("*.py")
    )
    codes = set(re.findall(r'(?:RasterWarning|_warn)\((?:description, )?\s*"([a-z_]+)"', source))
    assert len(codes) > 25
    assert {code for code in codes if f"`{code}`" not in page} == set()
