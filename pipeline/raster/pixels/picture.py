"""Draws pictures: the values of one band by a colour map, or three bands as red, green and blue."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnsupportedDtype
from pipeline.raster.pixels.colormaps import COLORMAPS
from pipeline.raster.pixels.mosaic import Mosaic
from pipeline.raster.pixels.nearest import grids_of, whole
from pipeline.raster.pixels.png import write_palette_png, write_rgba_png
from pipeline.raster.pixels.requests import Picture
from pipeline.raster.pixels.values import Pixels

Bytes = npt.NDArray[np.uint8]
COLOURS = 255
"""Number of colours of a colour map; the index after the last one is transparent."""


def draw(picture: Picture, mosaic: Mosaic) -> bytes:
    """Return a picture as PNG. Raises UnsupportedDtype for complex numbers, and the errors of `Mosaic.read`."""
    if not picture.files:
        shape = picture.window.height, picture.window.width
        return write_palette_png(np.full(shape, COLOURS, np.uint8), ramp(picture.colormap))
    if picture.files[0].dtype.startswith("c"):
        raise UnsupportedDtype("complex numbers have no colours; request the data instead")
    grids = grids_of(picture.window, picture.files, approximate=True)
    pixels = mosaic.read(grids, whole(picture.window))
    if len(picture.files[0].bands) >= 3:
        return write_rgba_png(_colours_of(pixels))
    return write_palette_png(indices_of(pixels, picture.low, picture.high), ramp(picture.colormap))


def indices_of(pixels: Pixels, low: float, high: float) -> Bytes:
    """Return the index of the colour of each value of the first band; values beyond the range get the end colours."""
    values, valid = pixels.values[0], pixels.valid[0]
    if values.dtype.kind == "f":
        valid = valid & ~np.isnan(values)
    numbers = np.where(valid, values, low).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # Use halves, because the difference of two numbers may exceed the largest number.
        share = (numbers / 2 - low / 2) / (high / 2 - low / 2) if high > low else numbers * 0 + 0.5
    steps = np.clip(np.nan_to_num(share), 0, 1) * (COLOURS - 1)
    return np.where(valid, np.rint(steps), COLOURS).astype(np.uint8)


@lru_cache
def ramp(colormap: str) -> Bytes:
    """Return the RGBA colours of a colour map, followed by a transparent one: colours x 4."""
    anchors = np.array(
        [list(bytes.fromhex(colour)) for colour in COLORMAPS[colormap].split()], np.float64
    )
    places = np.linspace(0, len(anchors) - 1, COLOURS)
    channels = [
        np.interp(places, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)
    ]
    colours = np.zeros((COLOURS + 1, 4), np.uint8)
    colours[:COLOURS, :3] = np.rint(np.stack(channels, axis=1))
    colours[:COLOURS, 3] = 255
    return colours


def _colours_of(pixels: Pixels) -> Bytes:
    alpha = np.where(pixels.valid.all(axis=0), 255, 0).astype(np.uint8)
    return np.stack([*pixels.values[:3], alpha], axis=-1)
