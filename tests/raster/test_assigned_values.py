"""A CRS and a nodata value from a definition, the command line or an upload, for files without them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from pipeline.errors import CatalogueError, MissingCRS, NoGrid, RasterError, UnsupportedCRS
from pipeline.raster import AssignedValues, RasterFile, ReadOptions
from pipeline.raster.stated_values import check_assigned_values, normalize_crs, normalize_nodata
from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import RD, ascii_tag, read_path, write_raster, write_tagged

NO_KEYS = (1, 1, 0, 1, 1025, 0, 1, 1)
"""GeoTIFF keys that only tell that pixels are areas."""
MERCATOR_TO_THE_POLE = (
    1, 1, 0, 11, 1024, 0, 1, 1, 1025, 0, 1, 1, 2048, 0, 1, 4267, 3072, 0, 1, 32767, 3074, 0, 1, 32767, 3075, 0, 1, 7,
    3076, 0, 1, 9001, 3080, 34736, 1, 1, 3081, 34736, 1, 0, 3092, 34736, 1, 2, 3082, 34736, 1, 3,
)  # fmt: skip
"""A user-defined CRS that GDAL cannot read: its natural origin is the pole."""


def read_assigned(path: Path, **assigned: Any) -> RasterFile:
    return read_path(path, ReadOptions(assigned=AssignedValues(**assigned, by='definition "rain"')))


def warning_codes(raster: RasterFile) -> list[str]:
    return [warning.code for warning in raster.warnings]


def test_an_assigned_crs_places_a_file_like_its_own(tmp_path: Path) -> None:
    assigned = read_assigned(write_raster(tmp_path / "a.tif", crs=None), crs=RD)
    own = read_path(write_raster(tmp_path / "b.tif", crs=RD))
    assert replace(assigned.georeference, crs_wkt="") == replace(
        own.georeference, crs_wkt="", warnings=assigned.georeference.warnings
    )
    assert pyproj.CRS(assigned.georeference.crs_wkt) == pyproj.CRS(RD)
    assert assigned.georeference.operation.code == "EPSG:15934"
    assert assigned.provenance["projection"] == 'crs of definition "rain"'
    (warning,) = assigned.warnings
    assert warning.code == "crs_assigned"
    assert RD in warning.message
    assert 'definition "rain"' in warning.message


def test_assigning_the_same_crs_gives_no_warning(tmp_path: Path) -> None:
    raster = read_assigned(write_raster(tmp_path / "a.tif"), crs=RD, crs_override=True)
    assert (warning_codes(raster), raster.provenance["projection"]) == ([], "GeoKeys")


def test_a_file_keeps_another_crs_unless_it_is_overridden(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs="EPSG:28991")
    kept = read_assigned(path, crs=RD)
    assert (kept.georeference.projection, warning_codes(kept)) == (
        "EPSG:28991",
        ["crs_kept", "outside_area_of_use"],
    )
    assert kept.provenance["projection"] == "GeoKeys"
    overridden = read_assigned(path, crs=RD, crs_override=True)
    assert (overridden.georeference.projection, warning_codes(overridden)) == (
        RD,
        ["crs_overridden"],
    )
    assert "EPSG:28991" in overridden.warnings[0].message
    assert overridden.provenance["projection"] == 'crs of definition "rain"'


@pytest.mark.parametrize("kind", ["engineering", "unintelligible", "no text"])
def test_an_unusable_crs_does_not_count_as_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    if kind == "engineering":
        write_raster(path, crs='LOCAL_CS["harbour",UNIT["metre",1]]')
    elif kind == "unintelligible":
        doubles = (34736, "d", 4, (30.0, -90.0, 0.83, 0.0), True)
        write_tagged(path, "u1", doubles, keys=MERCATOR_TO_THE_POLE)
    else:
        name = b"caf\xe9 / unknown|"
        keys = (
            1,
            1,
            0,
            4,
            1024,
            0,
            1,
            1,
            1025,
            0,
            1,
            1,
            3072,
            0,
            1,
            32767,
            3073,
            34737,
            len(name),
            0,
        )
        write_tagged(path, "u1", (34737, "s", 0, name, True), keys=keys)
    for options in ({}, {"crs": RD}):
        with pytest.raises((UnsupportedCRS, MissingCRS)):
            read_assigned(path, **options)
    raster = read_assigned(path, crs=RD, crs_override=True)
    assert (raster.georeference.projection, warning_codes(raster)) == (RD, ["crs_overridden"])
    with pytest.raises((UnsupportedCRS, MissingCRS)):  # the readings above do not change this
        read_assigned(path, crs=RD)


def test_keys_without_a_crs_count_as_missing(tmp_path: Path) -> None:
    """GDAL writes such keys for every raster of points without a CRS, and reads an unnamed local CRS."""
    point = write_raster(tmp_path / "b.tif", crs=None, tags={"AREA_OR_POINT": "Point"})
    for path in (write_tagged(tmp_path / "a.tif", keys=NO_KEYS), point):
        raster = read_assigned(path, crs=RD)
        assert (raster.georeference.projection, warning_codes(raster)) == (RD, ["crs_assigned"])


def test_an_assigned_crs_is_not_cached_for_the_next_file(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None)
    read_assigned(path, crs=RD)
    assert read_assigned(path, crs="EPSG:32631").georeference.projection == "EPSG:32631"
    with pytest.raises(MissingCRS):
        read_path(path)


def test_a_file_without_a_transform_has_no_grid_with_any_crs(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None, transform=None)
    with pytest.raises(NoGrid):
        read_assigned(path, crs=RD, crs_override=True)


def test_a_world_file_and_an_assigned_crs_place_a_file(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", crs=None, transform=None)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n155005\n462995\n")
    own = read_path(write_raster(tmp_path / "b.tif"))
    assert read_assigned(path, crs=RD).georeference.bounds == own.georeference.bounds


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("EPSG:28992", "EPSG:28992"),
        (" epsg:28992 ", "EPSG:28992"),
        ("EPSG:7415", "EPSG:7415"),
        ("EPSG:4326", "EPSG:4326"),
        ("esri:102039", "ESRI:102039"),
        ("ogc:crs84", "OGC:CRS84"),
        ("IGNF:LAMB93", "IGNF:LAMB93"),
    ],
)
def test_every_authority_of_proj_is_accepted(text: str, code: str) -> None:
    assert normalize_crs(text) == code


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a CRS; write its authority and code"),
        ("28992", "is not a CRS; write its authority and code"),
        ("RD New", "is not a CRS; write its authority and code"),
        ("+proj=longlat", "is not a CRS; write its authority and code"),
        ("EPSG:28992+5709", "is not a CRS; write its authority and code"),
        ("EPSG:0", "PROJ has no CRS EPSG:0"),
        ("EPSG:15934", "PROJ has no CRS EPSG:15934"),
        ("NOBODY:1", "PROJ has no CRS NOBODY:1"),
        ("EPSG:4978", "EPSG:4978 cannot be used: .* has no place on earth"),
        ("EPSG:5709", "EPSG:5709 cannot be used: .* has no place on earth"),
        ("IAU_2015:49900", "IAU_2015:49900 cannot be used: PROJ has no operation"),
        ("EPSG:" + "1" * 5000, "is not a CRS; write its authority and code"),
    ],
)
def test_an_unusable_crs_is_rejected_with_a_message(text: str, sentence: str) -> None:
    with pytest.raises(CatalogueError, match=f"^{sentence}"):
        normalize_crs(text)
    with pytest.raises(CatalogueError, match=f"^--crs: {sentence}"):
        check_assigned_values(text, None)


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("float32", "-9999", "-9999.0"),
        ("float32", "nan", "nan"),
        ("float32", "-3.4e38", str(float(np.float32(-3.4e38)))),
        ("uint8", "255", "255"),
        ("uint64", "18446744073709551615", "18446744073709551615"),
        ("int64", "-9223372036854775808", "-9223372036854775808"),
        ("int16", "-9999.0", "-9999"),
    ],
)
def test_nodata_is_assigned_to_a_file_that_has_none(
    tmp_path: Path, dtype: str, text: str, value: str
) -> None:
    path = write_raster(tmp_path / "a.tif", nodata=None, dtype=dtype, count=2)
    raster = read_assigned(path, nodata=text)
    assert [band.nodata for band in raster.bands] == [value, value]
    assert (raster.fill_value, warning_codes(raster)) == (value, ["nodata_assigned"])
    assert raster.provenance["fill_value"] == 'nodata of definition "rain"'


@pytest.mark.parametrize(
    ("dtype", "text"), [("uint8", "-9999"), ("uint8", "nan"), ("int16", "0.5"), ("float32", "1e39")]
)
def test_nodata_that_no_pixel_can_have_is_not_assigned(
    tmp_path: Path, dtype: str, text: str
) -> None:
    raster = read_assigned(write_raster(tmp_path / "a.tif", nodata=None, dtype=dtype), nodata=text)
    assert (raster.fill_value, warning_codes(raster)) == (None, ["nodata_not_assigned"])
    assert "fill_value" not in raster.provenance


def test_a_file_keeps_its_own_nodata(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", nodata=-1)
    other = read_assigned(path, nodata="-9999")
    assert (other.fill_value, warning_codes(other)) == ("-1.0", ["nodata_kept"])
    same = read_assigned(path, nodata="-1")
    assert (same.fill_value, warning_codes(same)) == ("-1.0", [])


def test_unreadable_nodata_does_not_count_as_missing(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "a.tif", "f4", ascii_tag(42113, "none"))
    raster = read_assigned(path, nodata="0")
    assert (raster.fill_value, warning_codes(raster)) == (None, ["nodata_unreadable"])


@pytest.mark.parametrize("text", ["", "none", "1,5", "--1", "0x10", "1e999", "9" * 50, "infinite"])
def test_nodata_that_is_not_a_number_is_rejected(text: str) -> None:
    with pytest.raises(CatalogueError, match=r"is not a number|is larger than any pixel"):
        normalize_nodata(text)


@pytest.mark.parametrize(
    ("text", "value"), [("-NaN", "nan"), ("+inf", "inf"), (" -9999 ", "-9999"), ("+1E3", "1e3")]
)
def test_nodata_keeps_its_spelling(text: str, value: str) -> None:
    assert normalize_nodata(text) == value


def inspect(*arguments: str | Path, status: int = 0) -> list[dict[str, Any]]:
    done = run([*RASTERSOURCES, "inspect", "--json", *arguments], status=status)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_inspect_and_its_statistics_use_assigned_values(tmp_path: Path) -> None:
    values = np.full((1, 10, 10), 5.0)
    values[0, :4] = -1
    path = write_raster(tmp_path / "a.tif", crs=None, nodata=None, values=values)
    (record,) = inspect(path, "--crs", "epsg:28992", "--nodata", "-1", "--stats")
    assert (record["projection"], record["fill_value"]) == (RD, "-1.0")
    assert [warning["code"] for warning in record["warnings"]] == [
        "crs_assigned",
        "nodata_assigned",
    ]
    (band,) = record["statistics"]["bands"]
    assert (band["valid_count"], band["min"]) == (60, 5.0)
    assert (inspect(path, status=1)[0]["error"]["code"]) == "missing_crs"
    other = write_raster(tmp_path / "b.tif", crs="EPSG:28991")
    (record,) = inspect(other, "--crs", RD, "--crs-override")
    assert record["projection"] == RD


def test_holes_of_a_sparse_file_are_zeros_as_in_gdal(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", nodata=None, SPARSE_OK=True)
    for nodata, valid in (("-1", 100), ("0", 0)):
        (record,) = inspect(path, "--nodata", nodata, "--exact")
        assert record["statistics"]["bands"][0]["valid_count"] == valid


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--crs", "EPSG:1"], "crs: PROJ has no CRS EPSG:1"),
        (["--crs", "RD"], "crs: is not a CRS; write its authority and code, such as EPSG:CODE"),
        (["--nodata", "much"], "nodata: is not a number"),
        (["--crs-override"], "--crs-override: needs "),
    ],
)
def test_wrong_arguments_give_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    path = write_raster(tmp_path / "a.tif")
    for command in (["inspect"], ["register", "--organisation", "A"]):
        done = run([*RASTERSOURCES, *command, path, *arguments], status=1)
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = run([*RASTERSOURCES, "register", "--config", "other.toml", *arguments], status=1)
    assert "need PATH" in done.stderr


def test_rejection_codes_stay_the_same_with_assigned_values(tmp_path: Path) -> None:
    with pytest.raises(RasterError) as caught:
        read_assigned(write_raster(tmp_path / "a.tif", crs=None), nodata="0")
    assert caught.value.code == "missing_crs"
