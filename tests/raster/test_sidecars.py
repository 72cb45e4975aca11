import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine

from pipeline.errors import MissingCRS, NoGrid, OverBudget
from pipeline.raster import AssignedValues, Budget, RasterFile, ReadOptions
from tests.support.factory import RD_TRANSFORM, place_tags, read_path, write_raster, write_tagged

WORLD_FILE = "10\n0\n0\n-10\n155005\n462995\n"
"""RD_TRANSFORM: pixel sizes and rotations, then the middle of the upper left pixel."""


def warning_codes(raster: RasterFile) -> list[str]:
    return [warning.code for warning in raster.warnings]


def test_an_aux_xml_replaces_crs_and_transform_and_gives_warnings(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32631</SRS>"
        "<GeoTransform>500000, 20, 0, 5800000, 0, -20</GeoTransform></PAMDataset>"
    )
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() == 32631
    raster = read_path(path)
    assert raster.georeference.projection == "EPSG:32631"
    assert raster.georeference.origin_x == 500_000
    assert raster.sidecars == ("a.tif.aux.xml",)
    assert raster.provenance["transform"] == raster.provenance["projection"] == "sidecar .aux.xml"
    assert {"sidecar_transform", "sidecar_projection"} <= set(warning_codes(raster))


def test_an_aux_xml_that_replaces_nothing_gives_no_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    raster = read_path(path)
    assert raster.georeference.projection == "EPSG:28992"
    assert warning_codes(raster) == []


@pytest.mark.parametrize("suffix", ["tfw", "tifw", "wld"])
def test_a_world_file_places_a_file_without_tags(tmp_path: Path, suffix: str) -> None:
    path = write_raster(tmp_path / "a.tif", transform=None)
    with pytest.raises(NoGrid):
        read_path(path)
    (tmp_path / f"a.{suffix}").write_text(WORLD_FILE)
    raster = read_path(path)
    assert raster.georeference.transform == RD_TRANSFORM
    assert raster.provenance["transform"] == f"sidecar a.{suffix}"
    assert "sidecar_transform" in warning_codes(raster)


def test_the_tags_of_a_file_precede_its_world_file(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    raster = read_path(path)
    assert raster.georeference.transform == RD_TRANSFORM
    assert raster.provenance["transform"] == "tags ModelPixelScale and ModelTiepoint"


def test_a_world_file_does_not_give_a_crs(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None, transform=None)
    (tmp_path / "a.tfw").write_text(WORLD_FILE)
    with pytest.raises(MissingCRS):
        read_path(path)


def test_a_crs_of_the_definition_does_not_come_from_the_world_file(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None, transform=None)
    (tmp_path / "a.tfw").write_text(WORLD_FILE)
    raster = read_path(path, ReadOptions(assigned=AssignedValues("EPSG:28992", by="the test")))
    assert warning_codes(raster) == ["sidecar_transform", "crs_assigned"]
    assert raster.provenance["projection"] == "crs of the test"


def test_an_aux_xml_that_is_not_xml_gives_a_warning(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset>")
    assert "sidecar_unreadable" in warning_codes(read_path(path))


def test_an_aux_xml_larger_than_a_tag_may_be_is_over_the_budget(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset>" + " " * 2000 + "</PAMDataset>")
    with pytest.raises(OverBudget):
        read_path(path, ReadOptions(budget=Budget(tag_bytes=1000)))


def test_sidecars_do_not_count_in_the_size(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    without_sidecar = read_path(path)
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    with_sidecar = read_path(path)
    assert without_sidecar.size == with_sidecar.size == path.stat().st_size
    assert without_sidecar.fingerprint != with_sidecar.fingerprint


@pytest.mark.parametrize("cached", [False, True])
def test_points_are_shifted_by_half_a_pixel(tmp_path: Path, cached: bool) -> None:
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 2, 3072, 0, 1, 28992)
    path = write_tagged(tmp_path / "a.tif", "u1", keys=keys)
    raster = read_path(path)
    if cached:  # from the cache of these keys
        raster = read_path(path)
    # The tie point, at 155000, 463000, is the middle of a pixel of ten metres.
    assert raster.georeference.transform == Affine(10, 0, 154_995, 0, -10, 463_005)
    assert raster.area_or_point == "Point"


@pytest.mark.parametrize("identity", [(1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0)])
def test_an_identity_transform_in_the_tags_counts_as_none(
    tmp_path: Path, identity: tuple[float, ...]
) -> None:
    path = tmp_path / "a.tif"
    tags = [(34264, "d", 16, identity, True), place_tags()[2]]
    tifffile.imwrite(path, np.zeros((10, 10), "u1"), extratags=tags, metadata=None)
    with pytest.raises(NoGrid):
        read_path(path)


SCENE = "LC08_L1TP_190023_20260809_20260816_02_T1"
MTL = """GROUP = L1_METADATA_FILE
  GROUP = PRODUCT_METADATA
    SPACECRAFT_ID = "LANDSAT_8"
    DATE_ACQUIRED = 2026-08-09
    SCENE_CENTER_TIME = {time}
  END_GROUP = PRODUCT_METADATA
END_GROUP = L1_METADATA_FILE
END
"""
PRODUCT_FILES = {
    f"{SCENE}_MTL.txt": MTL.format(time="09:43:40.4089500Z"),
    "summary.txt": "Scs_SceneID=x",
    f"{SCENE}_B5.pass": "satellite=EROS",
    f"{SCENE}_B5.rpc": "LINE_OFF: 1",
    f"{SCENE}_B5.pvl": "x = y",
    f"{SCENE}_B5.txt": "AUX_SATELLITE_NAME KOMPSAT",
    f"{SCENE}_B5_metadata.xml": "<re:EarthObservation/>",
    f"{SCENE}_B5.vrt": "<VRTDataset/>",
}


@pytest.mark.parametrize("aux", ["", "<Metadata><MDI key='LAYER_TYPE'>athematic</MDI></Metadata>"])
def test_an_unlisted_product_file_is_never_read(tmp_path: Path, aux: str) -> None:
    path = write_raster(tmp_path / f"{SCENE}_B5.TIF")
    if aux:
        (tmp_path / f"{path.name}.aux.xml").write_text(f"<PAMDataset>{aux}</PAMDataset>")
    without_product_files = read_path(path)
    for name, text in PRODUCT_FILES.items():
        (tmp_path / name).write_text(text)
    with rasterio.open(path) as dataset:  # GDAL finds the acquisition time in the MTL
        assert dataset.tags(ns="IMAGERY")["ACQUISITIONDATETIME"].startswith("2026-08-09")
    assert read_path(path) == without_product_files


@pytest.mark.parametrize("with_aux", [False, True])
def test_a_listed_product_file_is_read_for_every_file(tmp_path: Path, with_aux: bool) -> None:
    path = write_raster(tmp_path / "a.tif")
    imd = tmp_path / "a.IMD"
    text = 'BEGIN_GROUP = IMAGE_1\n\tsatId = "QB02";\n\tfirstLineTime = {};\nEND_GROUP = IMAGE_1\nEND;\n'
    imd.write_text(text.format("2008-05-01T10:00:00.000000Z"))
    if with_aux:
        (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    first = read_path(path)
    assert first.times == (datetime(2008, 5, 1, 10, tzinfo=UTC),)
    assert "a.IMD" in first.sidecars
    imd.write_text(text.format("2009-05-01T10:00:00.000000Z"))
    os.utime(imd, (1, 1))
    second = read_path(path)
    assert second.times == (datetime(2009, 5, 1, 10, tzinfo=UTC),)
    assert second.fingerprint != first.fingerprint


@pytest.mark.parametrize("time", ['"2008-05-01T10:00:00Z"', "2008-05-01 10:00"])
def test_an_unreadable_time_in_a_product_file_is_not_1970(tmp_path: Path, time: str) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.IMD").write_text(
        f"BEGIN_GROUP = IMAGE_1\n\tfirstLineTime = {time};\nEND_GROUP = IMAGE_1\nEND;\n"
    )
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGERY")["ACQUISITIONDATETIME"] == "1970-01-01 00:00:00"
    raster = read_path(path)
    assert raster.times == ()
    assert "unreadable_time" in warning_codes(raster)


@pytest.mark.parametrize("name", ["a.Tfw", "A.TFW", "a.tFW"])
def test_a_sidecar_is_used_with_its_name_in_any_case(tmp_path: Path, name: str) -> None:
    path = write_raster(tmp_path / "a.tif", transform=None)
    (tmp_path / name).write_text(WORLD_FILE)
    raster = read_path(path)
    assert raster.georeference.transform == RD_TRANSFORM
    assert raster.sidecars == (name,)


def test_a_file_with_a_name_that_is_not_utf_8_has_its_sidecars(tmp_path: Path) -> None:
    plain = write_raster(tmp_path / "a.tif", transform=None)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.tif"))
    plain.rename(path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.tfw")).write_text(WORLD_FILE)
    raster = read_path(path)
    assert raster.georeference.transform == RD_TRANSFORM
    assert [os.fsencode(name) for name in raster.sidecars] == [b"\xff\xfe.tfw"]


def test_an_aux_xml_that_is_not_xml_is_not_read_in_part(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32631</SRS><Metadata><MDI key=A>x</MDI></Metadata></PAMDataset>"
    )
    with rasterio.open(path) as dataset:
        assert dataset.crs.to_epsg() == 32631  # GDAL forgives the missing quotes
    raster = read_path(path)
    assert raster.georeference.projection == "EPSG:28992"
    assert warning_codes(raster) == ["sidecar_unreadable"]


def test_reading_leaves_no_links_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    path = write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    read_path(path)
    assert list(temporary.iterdir()) == []
