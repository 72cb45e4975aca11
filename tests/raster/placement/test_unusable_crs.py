"""An unusable CRS and a missing CRS are different rejections."""

from pathlib import Path

import pytest
import rasterio

from pipeline.errors import MissingCRS, UnsupportedCRS
from tests.support.commands import REPOSITORY
from tests.support.factory import RD_KEYS, read_path, write_raster
from tests.support.handmade_tiff import KEYS, USER, Row, make_tiff, write_keys


def write_aux(path: Path, content: str) -> Path:
    path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{content}</PAMDataset>")
    return path


MERCATOR: tuple[Row, ...] = (
    (1024, 1), (1025, 1), (2048, 4267), (3072, USER), (3074, USER), (3075, 7), (3076, 9001),
    (3080, 30.0), (3081, -90.0), (3082, 0.0), (3083, 0.0), (3092, 0.83),
)  # fmt: skip
"""Mercator with a latitude of origin at a pole, which GDAL cannot read."""


def test_keys_that_gdal_cannot_read_are_an_unsupported_crs(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "a.tif", *MERCATOR)
    with rasterio.open(path) as dataset:
        assert dataset.crs is None
    for _ in range(2):  # the second time from the cache of keys
        with pytest.raises(UnsupportedCRS, match="names a CRS"):
            read_path(path)


@pytest.mark.parametrize(
    "rows",
    [
        [(1024, 1)],
        [(1024, USER)],
        [(1024, 3), (2048, 4978)],
        [(1024, 1), (3072, 1)],
        [(1024, 1), (3072, 60_000)],
        [(1024, 1), (3072, USER), (3073, "ESRI PE String = PROJCS[" + "x" * 900)],
        [(1024, 1), (2048, 4326), (3072, USER), (3074, USER), (3075, 99)],
        [(1024, 1), (2048, USER)],
    ],
    ids=str,
)
def test_a_crs_that_is_described_badly_is_unsupported(tmp_path: Path, rows: list[Row]) -> None:
    path = write_keys(tmp_path / "a.tif", (1025, 1), *rows)
    with pytest.raises(UnsupportedCRS, match="EPSG:CODE") as caught:
        read_path(path)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("srs", ["nonsense", 'LOCAL_CS["x",UNIT["metre",1]]', "EPSG:999999"])
@pytest.mark.parametrize("own", ["EPSG:28992", None])
def test_an_unusable_crs_in_a_sidecar_is_unsupported(
    tmp_path: Path, srs: str, own: str | None
) -> None:
    path = write_aux(write_raster(tmp_path / "a.tif", crs=own), f"<SRS>{srs}</SRS>")
    with pytest.raises(UnsupportedCRS):
        read_path(path)


def test_an_unusable_crs_of_arcgis_in_a_sidecar_is_unsupported(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None)
    wkt = '<SpatialReference><WKT>PROJCS["x",GEOGCS[</WKT></SpatialReference>'
    write_aux(
        path,
        f'<Metadata domain="xml:ESRI" format="xml"><GeodataXform>{wkt}</GeodataXform></Metadata>',
    )
    with pytest.raises(UnsupportedCRS):
        read_path(path)


@pytest.mark.parametrize(
    "rows",
    [[], [(1025, 1)], [(1025, 2)], [(1024, 0)], [(1025, 1), (1026, "a title")], [(1025, 1), (4096, 5709)]],
    ids=str,
)  # fmt: skip
def test_keys_without_a_crs_count_as_missing(tmp_path: Path, rows: list[Row]) -> None:
    path = write_keys(tmp_path / "a.tif", *rows)
    with pytest.raises(MissingCRS, match="EPSG:CODE"):
        read_path(path)


def test_a_point_raster_that_gdal_wrote_without_a_crs_has_none(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None, tags={"AREA_OR_POINT": "Point"})
    with rasterio.open(path) as dataset:
        assert dataset.crs is not None  # GDAL makes one up
    with pytest.raises(MissingCRS):
        read_path(path)


def test_no_advice_names_the_code_of_one_country() -> None:
    for path in [*(REPOSITORY / "pipeline").rglob("*.py"), *(REPOSITORY / "docs").glob("*.md")]:
        assert "a_srs EPSG:2" not in path.read_text(), path


def test_keys_of_another_type_are_ignored_as_in_gdal(tmp_path: Path) -> None:
    image = make_tiff()
    image.tags[KEYS] = (12, [float(key) for key in RD_KEYS])
    with pytest.raises(MissingCRS):
        read_path(image.write(tmp_path / "a.tif"))
