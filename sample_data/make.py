"""Makes the sample rasters: real dimensions, and made-up values in large cells, so that they take little room.

Run it with `.venv/bin/python sample_data/make.py`; the result is in git.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.windows import Window

FOLDER = Path(__file__).parent
FLOAT32_MAX = 3.4028234663852886e38


CELL = 10.0
"""Width and height in metres of the cells that have a value each."""
BLOCK = 512


@dataclass(frozen=True)
class Sample:
    """A sample: its corners are the lower left and upper right ones in metres of EPSG:28992, its pixel is in metres."""

    name: str
    corners: tuple[float, float, float, float]
    pixel: float
    dtype: str
    nodata: float
    low: float
    high: float
    """Values between which the pixels lie."""
    dry: float = 0.0
    """The share of the values, from the lowest on, that are missing; above 1 the file has no values, to stay small."""


MAASTRICHT = (172724.5, 312709.0, 181453.0, 324743.0)
BLOEMHOF = (93486.0, 433830.0, 94606.0, 434800.0)
BLOEMHOF_BATHYMETRY = (93486.0, 433830.0, 94597.5, 434797.0)

SAMPLES = [
    Sample(
        "1811_maastricht_pet_2023_ahn4", MAASTRICHT, 0.5, "float32", FLOAT32_MAX, 25.0, 43.0, 2.0
    ),
    Sample("bloemhof_s1_20240101T010000Z", BLOEMHOF, 0.5, "float32", -9999.0, -1.6, 0.4, 0.45),
    Sample(
        "bloemhof_s1_20240101T020000.784912Z", BLOEMHOF, 0.5, "float32", -9999.0, -1.6, 0.6, 0.4
    ),
    Sample("bloemhof_bath", BLOEMHOF_BATHYMETRY, 0.5, "float32", -9999.0, -2.5, 3.5),
    Sample("bloemhof_s1_max", BLOEMHOF, 0.5, "float32", -9999.0, -1.6, 0.6, 0.4),
    Sample("bloemhof_ucr_max", BLOEMHOF, 10.0, "float32", -9999.0, 0.0, 1.2, 0.3),
    Sample("bloemhof_rain_20240101T010000Z", BLOEMHOF, 10.0, "float32", -9999.0, 0.0, 12.0, 0.2),
    Sample(
        "bloemhof_rain_20240101T020000.784912Z", BLOEMHOF, 10.0, "float32", -9999.0, 0.0, 12.0, 0.2
    ),
    Sample("bloemhof_rise_velocity", BLOEMHOF, 10.0, "float32", FLOAT32_MAX, 0.0, 2.0, 0.3),
    Sample("bloemhof_mask", BLOEMHOF_BATHYMETRY, 0.5, "uint8", 0, 1, 1, 0.35),
    Sample(
        "bloemhof_future_s1_20240101T010000Z", BLOEMHOF, 0.5, "float32", -9999.0, -1.6, 0.4, 0.45
    ),
    Sample(
        "bloemhof_future_s1_20240101T020000.695312Z",
        BLOEMHOF,
        0.5,
        "float32",
        -9999.0,
        -1.6,
        0.6,
        0.4,
    ),
    Sample("bloemhof_future_bath", BLOEMHOF_BATHYMETRY, 0.5, "float32", -9999.0, -2.5, 3.5),
]


def make(sample: Sample, folder: Path = FOLDER) -> Path:
    """Write a sample; return its path."""
    left, bottom, right, top = sample.corners
    path = folder / f"{sample.name}.tif"
    width, height = round((right - left) / sample.pixel), round((top - bottom) / sample.pixel)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=1,
        dtype=sample.dtype,
        nodata=sample.nodata,
        crs="EPSG:28992",
        transform=from_origin(left, top, sample.pixel, sample.pixel),
        compress="deflate",
        zlevel=9,
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        sparse_ok=True,
    ) as dataset:
        for row in range(0, height, BLOCK):
            for column in range(0, width, BLOCK):
                high, wide = min(BLOCK, height - row), min(BLOCK, width - column)
                x = left + (column + np.arange(wide) + 0.5) * sample.pixel
                y = top - (row + np.arange(high) + 0.5) * sample.pixel
                if sample.dry <= 1:
                    window = Window(column, row, wide, high)
                    dataset.write(values_at(sample, x, y), 1, window=window)
    return path


def values_at(
    sample: Sample, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.generic]:
    """Return smooth values of the cells around these places; they are lowest far from the middle."""
    left, bottom, right, top = sample.corners
    across = (np.floor((x - left) / CELL) * CELL / (right - left) - 0.5)[np.newaxis, :]
    down = (np.floor((top - y) / CELL) * CELL / (top - bottom) - 0.5)[:, np.newaxis]
    waves = np.sin(9 * across + 4 * down) * np.cos(7 * down - 3 * across) + np.sin(
        23 * across * down
    )
    share = np.clip(0.75 + waves / 5 - 1.6 * (across**2 + down**2), 0, 1)
    values = np.round(sample.low + share * (sample.high - sample.low), 2)
    return np.where(share < sample.dry, sample.nodata, values).astype(sample.dtype)


if __name__ == "__main__":
    for sample in SAMPLES:
        make(sample)
