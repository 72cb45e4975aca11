from pathlib import Path

import numpy as np
import pytest
import tifffile

from pipeline.errors import UnsupportedDtype
from tests.support.factory import read_path, write_raster, write_tagged


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32",
     "float64", "complex64", "complex128"],
)  # fmt: skip
def test_dtypes_are_numpy_codes(tmp_path: Path, dtype: str) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", dtype=dtype, nodata=None))
    assert np.dtype(raster.dtype) == np.dtype(dtype)
    assert [band.dtype for band in raster.bands] == [raster.dtype]


def test_the_dtype_of_float16_is_f2(tmp_path: Path) -> None:
    assert read_path(write_tagged(tmp_path / "a.tif", "f2")).dtype == "f2"


def test_complex_integers_have_no_numpy_type(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", dtype="complex_int16", nodata=None)
    with pytest.raises(UnsupportedDtype, match="complex integers"):
        read_path(path)


@pytest.mark.parametrize(("bits", "dtype", "code"), [(1, "uint8", "u1"), (12, "uint16", "u2")])
def test_values_of_few_bits_are_read_into_the_next_type_with_a_warning(
    tmp_path: Path, bits: int, dtype: str, code: str
) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", dtype=dtype, nodata=None, NBITS=bits))
    assert raster.dtype == code
    assert "bit_depth" in [warning.code for warning in raster.warnings]


def test_bands_of_different_types_are_rejected(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", count=3, dtype="uint8", nodata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["BitsPerSample"].overwrite((8, 8, 16))
    with pytest.raises(UnsupportedDtype, match="have different types"):
        read_path(path)
