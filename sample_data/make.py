"""Makes the sample rasters: real dimensions, no pixels (sparse), so that all of them take a few kilobytes.

Run it with `.venv/bin/python sample_data/make.py`; the result is in git.
"""

from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.transform import from_origin

FOLDER = Path(__file__).parent
FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True)
class Sample:
    """One file: lower-left and upper-right corner in EPSG:28992 metres, pixel size in metres."""

    name: str
    corners: tuple[float, float, float, float]
    pixel: float
    dtype: str
    nodata: float


MAASTRICHT = (172724.5, 312709.0, 181453.0, 324743.0)
BLOEMHOF = (93486.0, 433830.0, 94606.0, 434800.0)
BLOEMHOF_BATHYMETRY = (93486.0, 433830.0, 94597.5, 434797.0)

SAMPLES = [
    Sample("1811_maastricht_pet_2023_ahn4", MAASTRICHT, 0.5, "float32", FLOAT32_MAX),
    Sample("bloemhof_s1_20240101T010000Z", BLOEMHOF, 0.5, "float32", -9999.0),
    Sample("bloemhof_s1_20240101T020000.784912Z", BLOEMHOF, 0.5, "float32", -9999.0),
    Sample("bloemhof_bath", BLOEMHOF_BATHYMETRY, 0.5, "float32", -9999.0),
    Sample("bloemhof_s1_max", BLOEMHOF, 0.5, "float32", -9999.0),
    Sample("bloemhof_ucr_max", BLOEMHOF, 10.0, "float32", -9999.0),
    Sample("bloemhof_rain_20240101T010000Z", BLOEMHOF, 10.0, "float32", -9999.0),
    Sample("bloemhof_rain_20240101T020000.784912Z", BLOEMHOF, 10.0, "float32", -9999.0),
    Sample("bloemhof_rise_velocity", BLOEMHOF, 10.0, "float32", FLOAT32_MAX),
    Sample("bloemhof_mask", BLOEMHOF_BATHYMETRY, 0.5, "uint8", 0),
    Sample("bloemhof_future_s1_20240101T010000Z", BLOEMHOF, 0.5, "float32", -9999.0),
    Sample("bloemhof_future_s1_20240101T020000.695312Z", BLOEMHOF, 0.5, "float32", -9999.0),
    Sample("bloemhof_future_bath", BLOEMHOF_BATHYMETRY, 0.5, "float32", -9999.0),
]


def make(sample: Sample, folder: Path = FOLDER) -> Path:
    """Write one sample; its path."""
    left, bottom, right, top = sample.corners
    path = folder / f"{sample.name}.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=round((right - left) / sample.pixel),
        height=round((top - bottom) / sample.pixel),
        count=1,
        dtype=sample.dtype,
        nodata=sample.nodata,
        crs="EPSG:28992",
        transform=from_origin(left, top, sample.pixel, sample.pixel),
        compress="deflate",
        tiled=True,
        blockxsize=512,
        blockysize=512,
        sparse_ok=True,
    ):
        pass
    return path


if __name__ == "__main__":
    for sample in SAMPLES:
        make(sample)
