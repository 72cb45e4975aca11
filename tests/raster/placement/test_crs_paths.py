"""PROJ and GDAL open the files that a CRS names; a CRS with a path is not passed to them."""

from xml.sax.saxutils import escape, quoteattr

import pytest

from pipeline.errors import Rejection, UnsupportedCRS
from pipeline.raster import RasterFile, ReadOptions
from pipeline.raster.models import AssignedValues
from pipeline.raster.placement.crs import horizontal_crs
from tests.raster.test_gdal_restrictions import Trap, trap
from tests.support.factory import ascii_tag
from tests.support.reading import read_all

__all__ = ["trap"]

BESSEL = '"Bessel 1841",6377397.155,299.1528128'
GEOGCS = f'GEOGCS["g",DATUM["d",SPHEROID[{BESSEL}]@],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]#]'
MERCATOR = (
    'PROJECTION["Mercator_1SP"],PARAMETER["central_meridian",0],PARAMETER["scale_factor",1],'
    'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]'
)
BASE = f'BASEGEOGCRS["g",DATUM["d",ELLIPSOID[{BESSEL}]]]'
AXES = (
    'CS[ellipsoidal,2],AXIS["longitude",east],AXIS["latitude",north],ANGLEUNIT["degree",0.01745329]'
)
GRID_TEXT = (
    'METHOD["NTv2",ID["EPSG",9615]],PARAMETERFILE["Latitude and longitude difference file","{}"]'
)


def geographic_wkt(datum: str = "", more: str = "") -> str:
    return GEOGCS.replace("@", datum).replace("#", more)


def projected_wkt(base: str, more: str = "") -> str:
    return f'PROJCS["p",{base},{MERCATOR}{more}]'


def derived_wkt(method: str) -> str:
    return f'GEOGCRS["x",{BASE},DERIVINGCONVERSION["c",{method}],{AXES}]'


def bound_wkt(source: str) -> str:
    target = f'GEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257]],{AXES}]'
    return (
        f'BOUNDCRS[SOURCECRS[{source}],TARGETCRS[{target}],ABRIDGEDTRANSFORMATION["t",{GRID_TEXT}]]'
    )


PLAIN = f'GEOGCRS["g",DATUM["d",ELLIPSOID[{BESSEL}]],{AXES}]'
WKT = {
    "the grid of a datum": geographic_wkt(',EXTENSION["PROJ4_GRIDS","{}"]'),
    "the grid of a projected CRS": projected_wkt(geographic_wkt(',EXTENSION["PROJ4_GRIDS","@null,@{}"]')),
    "words in small letters": projected_wkt(geographic_wkt(',extension["proj4_grids","{}"]')),
    "round brackets": projected_wkt(geographic_wkt(',EXTENSION("PROJ4_GRIDS","{}")')),
    "a PROJ string": geographic_wkt("", ',EXTENSION["PROJ4","+proj=longlat +ellps=bessel +nadgrids={}"]'),
    "spaces in it": projected_wkt(
        geographic_wkt(), ',EXTENSION["PROJ4","+proj=merc +ellps=bessel +nadgrids = {}"]'
    ),
    "a remark": PLAIN[:-1] + ',REMARK["PROJ CRS string: +proj=longlat +ellps=bessel +nadgrids={}"]]',
    "a file of definitions": projected_wkt(geographic_wkt(), ',EXTENSION["PROJ4","+init={}:4326"]'),
    "a pipeline": projected_wkt(
        geographic_wkt(), ',EXTENSION["PROJ4","+proj=pipeline +step +proj=hgridshift +grids={}"]'
    ),
    "a bound CRS": bound_wkt(PLAIN),
    "a bound bound CRS": bound_wkt(bound_wkt(PLAIN)),
    "a derived CRS": derived_wkt(GRID_TEXT),
    "a method of PROJ": derived_wkt('METHOD["PROJ ob_tran o_proj=longlat nadgrids={}"]'),
    "a triangulation": derived_wkt('METHOD["PROJ tinshift file={}"]'),
    "a method's definitions": derived_wkt('METHOD["PROJ merc init={}:4326"]'),
    "a long method": derived_wkt(
        'METHOD["PROJ-based operation method: +proj=pipeline +step +proj=hgridshift +grids={}"]'
    ),
    "a geoid": f'COMPD_CS["c",{geographic_wkt()},VERT_CS["v",VERT_DATUM["v",2005,EXTENSION["PROJ4_GRIDS","{{}}"]],'
    'UNIT["metre",1]]]',
}  # fmt: skip
PROJ = {
    "nadgrids": "+proj=longlat +ellps=bessel +nadgrids={} +type=crs",
    "optional": "+proj=utm +zone=31 +ellps=bessel +nadgrids=@{} +type=crs",
    "geoidgrids": "+proj=utm +zone=31 +ellps=bessel +geoidgrids={} +vunits=m +type=crs",
    "init": "+init={}:4326",
    "bare init": "init={}:4326",
    "file": "+proj=tinshift +file={} +type=crs",
    "oblique": "+proj=ob_tran +o_proj=tinshift +file={} +o_lat_p=40 +ellps=bessel +type=crs",
    "pipeline": "+proj=pipeline +step +proj=hgridshift +grids={} +type=crs",
    "json": '{{"type":"GeographicCRS","name":"x","remarks":"PROJ CRS string: +proj=longlat +nadgrids={}"}}',
}
TARGETS = ("{path}", "../canaries/canary.tif", "{fifo}", "{url}/x.gsb", "/not/there.gsb")


def write_keys(trap: Trap, name: str, wkt: str) -> None:
    """Write a GeoTIFF with an ESRI definition as its citation, as GDAL does for CRSs that keys cannot describe."""
    text = f"ESRI PE String = {trap.text(wkt)}|"
    citation = (3073, 34737, len(text), 0)
    keys = (1, 1, 0, 3, 1024, 0, 1, 32767, 3072, 0, 1, 32767, *citation)
    trap.raster(name, ascii_tag(34737, text), keys=keys)


def read_rejections(trap: Trap) -> list[Rejection]:
    trap.arm()
    outcomes = list(read_all(trap.files(), ReadOptions()))
    assert all(isinstance(outcome, Rejection) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Rejection)]


def assert_equal_messages(rejections: list[Rejection]) -> None:
    """Assert that all messages are equal, so that they do not reveal which files exist."""
    assert {rejection.code for rejection in rejections} == {"unsupported_crs"}
    assert len({rejection.message for rejection in rejections}) == 1
    assert "names a file by its path" in rejections[0].message


@pytest.mark.parametrize("wkt", WKT.values(), ids=WKT)
def test_a_file_named_in_the_crs_of_the_keys_is_not_opened(trap: Trap, wkt: str) -> None:
    for index, target in enumerate(TARGETS):
        write_keys(trap, f"{index}.tif", wkt.replace("{}", target))
    assert_equal_messages(read_rejections(trap))


@pytest.mark.parametrize("text", [*WKT.values(), *PROJ.values()], ids=[*WKT, *PROJ])
def test_a_file_named_in_the_crs_of_an_aux_xml_is_not_opened(trap: Trap, text: str) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif")
        definition = escape(trap.text(text.replace("{}", target)))
        trap.write(f"{index}.tif.aux.xml", f"<PAMDataset><SRS>{definition}</SRS></PAMDataset>")
    assert_equal_messages(read_rejections(trap))


@pytest.mark.parametrize(
    "xml",
    [
        "<PAMDataset><srs>{}</srs></PAMDataset>",
        "<PAMDataset><SRS><![CDATA[{}]]></SRS></PAMDataset>",
        "<pamdataset SRS={quoted}/>",
        '<PAMDataset><GCPList Projection={quoted}><GCP Id="1" Pixel="0" Line="0" X="0" Y="0"/></GCPList></PAMDataset>',
        "<GeodataXform><SpatialReference><WKT>{}</WKT></SpatialReference></GeodataXform>",
        '<PAMDataset><Metadata domain="xml:ESRI" format="xml"><GeodataXform><SpatialReference><WKT>{}</WKT>'
        "</SpatialReference></GeodataXform></Metadata></PAMDataset>",
    ],
)
def test_a_path_anywhere_in_an_aux_xml_is_rejected(trap: Trap, xml: str) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif")
        wkt = trap.text(WKT["the grid of a projected CRS"].replace("{}", target))
        text = xml.replace("{quoted}", quoteattr(wkt)).replace("{}", wkt)
        (trap.folder / f"{index}.tif.aux.xml").write_text(text)
    assert_equal_messages(read_rejections(trap))


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="cp037"?>'])
def test_xml_that_gdal_would_read_differently_is_hidden_from_it(
    trap: Trap, declaration: str
) -> None:
    trap.raster("a.tif")
    wkt = escape(trap.text(WKT["a bound CRS"].replace("{}", "{fifo}")))
    hidden = f"<!DOCTYPE PAMDataset [<!ENTITY e ']><PAMDataset><SRS>{wkt}</SRS></PAMDataset>'>]>"
    trap.write("a.tif.aux.xml", f"{declaration}{hidden}<PAMDataset/>")
    trap.arm()
    (outcome,) = read_all(trap.files(), ReadOptions())
    assert isinstance(outcome, RasterFile)
    assert "sidecar_unreadable" in {warning.code for warning in outcome.warnings}


def test_a_path_alone_is_not_a_crs(trap: Trap) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif")
        trap.write(f"{index}.tif.aux.xml", f"<PAMDataset><SRS>{target}</SRS></PAMDataset>")
    trap.arm()
    assert len(list(read_all(trap.files(), ReadOptions()))) == len(TARGETS)


@pytest.mark.parametrize("text", [*WKT.values(), *PROJ.values()], ids=[*WKT, *PROJ])
def test_a_file_named_in_a_stored_crs_is_not_opened(trap: Trap, text: str) -> None:
    trap.arm()
    for target in TARGETS:
        with pytest.raises(UnsupportedCRS, match="names a file by its path"):
            horizontal_crs(trap.text(text.replace("{}", target)))


def test_a_crs_that_overrides_one_with_a_path_opens_nothing(trap: Trap) -> None:
    for index, target in enumerate(TARGETS):
        write_keys(trap, f"{index}.tif", WKT["a bound CRS"].replace("{}", target))
    trap.arm()
    options = ReadOptions(assigned=AssignedValues("EPSG:28992", True, None, "the command line"))
    for outcome in read_all(trap.files(), options):
        assert isinstance(outcome, RasterFile)
        assert outcome.georeference.projection == "EPSG:28992"


def test_slashes_in_names_and_grids_without_paths_are_accepted() -> None:
    null = "+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +x_0=0 +y_0=0 +k=1 +units=m +nadgrids=@null +wktext"
    wkt = projected_wkt(geographic_wkt(), f',EXTENSION["PROJ4","{null}"]')
    assert horizontal_crs(wkt.replace('"p"', '"WGS 84 / Pseudo-Mercator"')).crs.is_projected
    for grid in ("rdtrans2008.gsb", "@null", "@nzgd2kgrid0005.gsb"):
        wkt = projected_wkt(geographic_wkt(f',EXTENSION["PROJ4_GRIDS","{grid}"]'))
        assert horizontal_crs(wkt.replace('"p"', '"Amersfoort / RD New"')).crs.is_bound
