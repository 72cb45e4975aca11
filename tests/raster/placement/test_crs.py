"""The CRS of a raster, read from its WKT."""

import re

import pytest
import rasterio
from pyproj import CRS

from pipeline.errors import MissingCRS, UnsupportedCRS
from pipeline.raster.placement.crs import horizontal_crs


def gdal_wkt(definition: object) -> str:
    """Return the WKT of a file with this CRS."""
    wkt: str = rasterio.CRS.from_user_input(definition).to_wkt(version="WKT2_2019")
    return wkt


def remove_codes(wkt: str) -> str:
    shorter = re.sub(r',\s*ID\["[^"]*",[^\[\]]*\]', "", wkt)
    return shorter if shorter == wkt else remove_codes(shorter)


@pytest.mark.parametrize("code", [28992, 4326, 3857, 2193, 31467, 32633, 2053, 32661, 4807])
@pytest.mark.parametrize("version", ["WKT1_GDAL", "WKT2_2019"])
def test_a_code_that_the_file_names_is_its_projection(code: int, version: str) -> None:
    wkt = rasterio.CRS.from_epsg(code).to_wkt(version=version)
    assert horizontal_crs(wkt).projection == f"EPSG:{code}"


@pytest.mark.parametrize("code", [28992, 4326, 3857, 2193, 3035, 31370, 32633])
def test_a_definition_without_a_code_gets_it_if_every_parameter_agrees(code: int) -> None:
    assert horizontal_crs(remove_codes(gdal_wkt(code))).projection == f"EPSG:{code}"


@pytest.mark.parametrize("code", [28992, 26946, 2193, 31467, 3035, 4326])
def test_esri_wkt_is_matched_with_any_order_of_axes(code: int) -> None:
    esri = CRS.from_epsg(code).to_wkt("WKT1_ESRI")
    assert horizontal_crs(esri).projection == f"EPSG:{code}"
    morphed = rasterio.CRS.from_wkt(esri, morph_from_esri_dialect=True)
    assert horizontal_crs(gdal_wkt(morphed)).projection == f"EPSG:{code}"


@pytest.mark.parametrize(
    ("definition", "projection"),
    [
        ("+proj=utm +zone=31 +datum=WGS84", "EPSG:32631"),
        ("+proj=longlat +datum=WGS84", "EPSG:4326"),
        ("OGC:CRS84", "EPSG:4326"),
    ],
)
def test_a_proj_definition_with_a_known_datum_is_matched(definition: str, projection: str) -> None:
    assert horizontal_crs(gdal_wkt(definition)).projection == projection


@pytest.mark.parametrize(
    "definition",
    [
        # EPSG:3035 and EPSG:3411 with another datum, which is only an ellipsoid.
        "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m",
        "+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +a=6378273 +b=6356889.449 +units=m",
        # The Netherlands by parameters: only a shift describes the datum.
        "+proj=sterea +lat_0=52.15616055555555 +lon_0=5.38763888888889 +k=0.9999079 +x_0=155000 "
        "+y_0=463000 +ellps=bessel +towgs84=565.2369,50.0087,465.658,-0.406857,0.350733,"
        "-1.87035,4.0812 +units=m",
        # EPSG:5070 by its parameters, with the name or the code of another authority.
        "ESRI:102039",
        "ESRI:54030",
    ],
)
def test_a_crs_only_similar_to_an_epsg_crs_has_no_projection(definition: str) -> None:
    crs = horizontal_crs(gdal_wkt(definition))
    assert crs.projection is None
    assert crs.wkt


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("155000", "155100"),
        ("6377397.155", "6377397.2"),
        ('DATUM["Amersfoort"', 'DATUM["Elsewhere"'),
        ("28992", "99992"),
    ],
)
def test_a_code_whose_parameters_the_file_overrides_is_not_its_projection(
    right: str, wrong: str
) -> None:
    wkt = gdal_wkt(28992)
    assert right in wkt
    crs = horizontal_crs(wkt.replace(right, wrong))
    assert crs.projection is None
    assert [warning.code for warning in crs.warnings] == ["crs_differs_from_code"]


@pytest.mark.parametrize(
    ("code", "projection"),
    [(7415, "EPSG:28992"), (5554, "EPSG:25831"), (4979, "EPSG:4326"), (9518, "EPSG:4326")],
)
def test_the_horizontal_part_of_compound_and_3d_crss_counts(code: int, projection: str) -> None:
    crs = horizontal_crs(gdal_wkt(code))
    assert crs.projection == projection
    assert len(CRS.from_wkt(crs.wkt).axis_info) == 2


def test_a_datum_shift_beside_a_code_does_not_hide_the_code() -> None:
    bound = CRS.from_user_input("+proj=utm +zone=31 +ellps=intl +towgs84=-87,-98,-121 +type=crs")
    definition = bound.to_json_dict()
    definition["source_crs"] = CRS.from_epsg(28992).to_json_dict()
    assert horizontal_crs(CRS.from_json_dict(definition).to_wkt()).projection == "EPSG:28992"


def test_a_datum_shift_without_code_is_kept() -> None:
    wkt = gdal_wkt("+proj=utm +zone=25 +south +ellps=intl +towgs84=-206,172,-6")
    assert horizontal_crs(wkt).wkt.startswith("BOUNDCRS")


@pytest.mark.parametrize("wkt", [None, ""])
def test_a_missing_crs_is_rejected(wkt: str | None) -> None:
    with pytest.raises(MissingCRS, match="gdal_edit"):
        horizontal_crs(wkt)


@pytest.mark.parametrize(
    "wkt",
    [
        'LOCAL_CS["somewhere",UNIT["metre",1]]',
        CRS.from_epsg(4978).to_wkt(),
        CRS.from_epsg(5709).to_wkt(),
        "nonsense",
    ],
    ids=["engineering", "geocentric", "vertical", "not WKT"],
)
def test_a_crs_that_is_not_tied_to_the_earth_is_rejected(wkt: str | None) -> None:
    with pytest.raises(UnsupportedCRS):
        horizontal_crs(wkt)


@pytest.mark.parametrize("code", [28992, 4326, 7415, 2193])
def test_the_wkt_of_a_result_reads_as_the_same_crs(code: int) -> None:
    first = horizontal_crs(gdal_wkt(code))
    again = horizontal_crs(first.wkt)
    assert (again.projection, again.wkt) == (first.projection, first.wkt)


@pytest.mark.parametrize(
    ("definition", "period"),
    [
        ("EPSG:4326", 360.0),
        ("EPSG:4807", 400.0),
        # 2 pi times the equatorial radius of WGS 84.
        ("EPSG:3857", 40075016.68557849),
        ("EPSG:3832", 40075016.68557849),
    ],
)
def test_cylindrical_crss_repeat_after_one_turn(definition: str, period: float) -> None:
    cycle = horizontal_crs(gdal_wkt(definition)).cycle
    assert cycle is not None
    assert cycle.period == pytest.approx(period, rel=1e-12)
    assert cycle.longitude is not None


@pytest.mark.parametrize("definition", ["EPSG:28992", "EPSG:32631", "EPSG:3035", "EPSG:8857"])
def test_other_projections_do_not_repeat(definition: str) -> None:
    assert horizontal_crs(gdal_wkt(definition)).cycle is None
