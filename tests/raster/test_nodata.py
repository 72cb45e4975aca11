from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.raster.nodata import parse_nodata
from tests.support.factory import ascii_tag, read_path, write_raster, write_tagged

LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


@pytest.mark.parametrize(
    ("text", "dtype", "value"),
    [
        ("-9999", "f4", "-9999.0"),
        ("-9999", "f8", "-9999.0"),
        ("255", "u1", "255"),
        ("-9999.0", "i2", "-9999"),
        ("1e3", "u2", "1000"),
        (" 7 \n", "u1", "7"),
        ("-9999,-9999", "f4", "-9999.0"),
        ("-9999 -9999 -9999", "f4", "-9999.0"),
        ("3.4028235e+38", "f4", str(LARGEST_FLOAT32)),
        ("-3.4028234663852886e+38", "f4", str(-LARGEST_FLOAT32)),
        ("-1.7976931348623157e+308", "f8", "-1.7976931348623157e+308"),
        ("65504", "f2", "65504.0"),
        ("0", "c8", "0.0"),
    ],
)
def test_nodata_is_formatted_by_dtype(text: str, dtype: str, value: str) -> None:
    nodata = parse_nodata(text, dtype)
    assert (nodata.value, nodata.warnings) == (value, ())


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "nan(ind)", "-1.#IND", "1.#QNAN00"])
def test_nodata_may_be_nan_in_any_spelling(text: str) -> None:
    assert parse_nodata(text, "f4").value == "nan"


@pytest.mark.parametrize(
    ("text", "value"),
    [("inf", "inf"), ("-Infinity", "-inf"), ("-1.#INF", "-inf"), ("+inf", "inf")],
)
def test_nodata_may_be_infinite(text: str, value: str) -> None:
    nodata = parse_nodata(text, "f4")
    assert (nodata.value, nodata.warnings) == (value, ())


@pytest.mark.parametrize(
    ("text", "dtype", "value"),
    [
        ("-30000", "u1", "-30000"),
        ("256", "u1", "256"),
        ("nan", "u1", "nan"),
        ("0.5", "i2", "0.5"),
        ("1e39", "f4", "1e+39"),
        ("-1.7976931348623157e+308", "f4", "-1.7976931348623157e+308"),
        ("-1.7976931348623157e+308", "i4", "-1.7976931348623157e+308"),
        ("70000", "f2", "70000.0"),
        ("9223372036854775808", "i8", "9223372036854775808"),
    ],
)
def test_nodata_that_no_pixel_can_have_is_kept_with_a_warning(
    text: str, dtype: str, value: str
) -> None:
    nodata = parse_nodata(text, dtype)
    assert nodata.value == value
    assert [warning.code for warning in nodata.warnings] == ["nodata_out_of_range"]


@pytest.mark.parametrize("text", ["none", "n/a", "--", "nano", "1" * 5000, "e5", "infinite"])
def test_nodata_that_is_not_a_number_is_ignored_with_a_warning(text: str) -> None:
    nodata = parse_nodata(text, "f4")
    assert nodata.value is None
    assert [warning.code for warning in nodata.warnings] == ["nodata_unreadable"]


@pytest.mark.parametrize(
    "text",
    [
        "-3,4028230607370965e+038",
        "-9999,0",
        "-9999,5",
        "1e-3,5",
        ",5",
        "+7,25",
        "1,5 2,5",
        "255,255",
        "1,234.5",
    ],
)
def test_a_decimal_comma_is_read_as_in_gdal(tmp_path: Path, text: str) -> None:
    path = write_tagged(tmp_path / "a.tif", "f8", ascii_tag(42113, text))
    with rasterio.open(path) as dataset:
        expected = dataset.nodata
    raster = read_path(path)
    assert raster.fill_value is not None
    assert float(raster.fill_value) == expected
    has_warning = "nodata_decimal_comma" in [warning.code for warning in raster.warnings]
    assert has_warning == (text != "1e-3,5")  # in GDAL the comma ends this number


@pytest.mark.parametrize("text", ["-1,5f", "3,4e+38x", "0,5nan"])
def test_a_number_is_never_cut_at_its_comma(text: str) -> None:
    assert parse_nodata(text, "f4").value is None


@pytest.mark.parametrize(("in_sidecar", "ignored"), [("-1", True), ("-9999.0", False)])
def test_nodata_that_a_sidecar_replaces_gives_a_warning(
    tmp_path: Path, in_sidecar: str, ignored: bool
) -> None:
    path = write_raster(tmp_path / "a.tif", nodata=-9999)
    band = f'<PAMRasterBand band="1"><NoDataValue>{in_sidecar}</NoDataValue></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    with rasterio.open(path) as dataset:
        assert dataset.nodata == float(in_sidecar)
    raster = read_path(path)
    assert raster.provenance["fill_value"] == "sidecar .aux.xml"
    assert ("nodata_ignored" in [warning.code for warning in raster.warnings]) == ignored


@pytest.mark.parametrize("text", [None, "", "  "])
def test_missing_nodata_stays_missing(text: str | None) -> None:
    assert (parse_nodata(text, "f4").value, parse_nodata(text, "f4").warnings) == (None, ())


@pytest.mark.parametrize(
    ("dtype", "nodata", "value"),
    [
        ("int8", -128, "-128"),
        ("uint16", 65535, "65535"),
        ("float64", float("nan"), "nan"),
        ("float32", float("-inf"), "-inf"),
        ("int64", -(2**63), "-9223372036854775808"),  # rasterio reads it back as -9.0
    ],
)
def test_nodata_of_a_file_comes_from_its_tag(
    tmp_path: Path, dtype: str, nodata: float, value: str
) -> None:
    assert (
        read_path(write_raster(tmp_path / "a.tif", dtype=dtype, nodata=nodata)).fill_value == value
    )


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("i8", str(1 - 2**63)),
        ("u8", str(2**53 + 1)),
        ("u8", str(2**64 - 1)),
        ("u1", "-99"),
    ],
)
def test_nodata_is_exact_where_gdal_or_rasterio_lose_digits(
    tmp_path: Path, dtype: str, value: str
) -> None:
    path = write_tagged(tmp_path / "a.tif", dtype, ascii_tag(42113, value))
    with rasterio.open(path) as dataset:
        assert dataset.nodata is None or str(int(dataset.nodata)) != value
    assert read_path(path).fill_value == value


def test_a_file_without_nodata_has_no_fill_value(tmp_path: Path) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", nodata=None))
    assert raster.fill_value is None
    assert "fill_value" not in raster.provenance


def test_nodata_values_of_the_bands_are_kept_apart(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", count=3, nodata=-9999)
    band = '<PAMRasterBand band="2"><NoDataValue>-1</NoDataValue></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    with rasterio.open(path) as dataset:
        assert dataset.nodatavals == (-9999, -1, -9999)
    raster = read_path(path)
    assert [band.nodata for band in raster.bands] == ["-9999.0", "-1.0", "-9999.0"]
    assert raster.fill_value == "-9999.0"
    assert "nodata_differs" in [warning.code for warning in raster.warnings]


def test_nodata_equals_the_value_of_the_pixels(tmp_path: Path) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", nodata=-9999.9))
    assert raster.fill_value is not None
    assert np.float32(-9999.9) == float(raster.fill_value)
