"""What the pixel process is asked for. It imports no raster library, so that the API can make requests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import CatalogueError
from pipeline.raster.models import Histogram
from pipeline.storage import Root

_EPSG = re.compile(r"EPSG:[0-9]{4,6}")


@dataclass(frozen=True)
class PixelFile:
    """A registered file, as the catalogue knows it."""

    uri: str
    fingerprint: str
    transform: tuple[float, ...]
    """Pixel to CRS: a, b, c, d, e, f of affine."""
    wkt: str
    width: int
    height: int
    dtype: str
    nodata: tuple[str | None, ...]
    """Of each band, as text."""
    bands: tuple[int, ...]
    """The bands to read, from 1."""
    roots: tuple[Root, ...]
    """Where it may lie."""


@dataclass(frozen=True)
class Window:
    """A north-up grid of pixels, in a CRS."""

    west: float
    south: float
    east: float
    north: float
    width: int
    height: int
    crs: str | None
    """`EPSG:n`; None for that of the files."""


@dataclass(frozen=True)
class PixelLimits:
    """Limits of one request."""

    seconds: float
    values_read: int
    """Values that are unpacked, in whole blocks."""


@dataclass(frozen=True)
class Picture:
    """A PNG of a window; the answer is its bytes."""

    files: Sequence[PixelFile]
    """The last one lies on top."""
    window: Window
    colormap: str
    low: float
    """The value of the first colour."""
    high: float
    """The value of the last colour."""


@dataclass(frozen=True)
class Export:
    """A GeoTIFF of a window; the answer is an `ExportedFile`."""

    files: Sequence[PixelFile]
    """At least one; the last one lies on top."""
    window: Window
    nodata: str | None
    """The value where no file has a valid pixel; None for that of the files, or zero where they have none."""


@dataclass(frozen=True)
class Sample:
    """Statistics of the files' first bands to be read; the answer is a `SampleStatistics`."""

    files: Sequence[PixelFile]


@dataclass(frozen=True)
class BoundsIn:
    """The bounds of a window in another CRS; the answer is (west, south, east, north), or None if it has none."""

    window: Window
    wkt: str


Request = Picture | Export | Sample | BoundsIn


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the valid pixels of overviews, or of some blocks of files without them."""

    valid: int
    """Number of valid pixels that were read."""
    valid_share: float
    minimum: float | None
    maximum: float | None
    mean: float | None
    standard_deviation: float | None
    percentiles: dict[int, float]
    histogram: Histogram | None
    approximate: bool
    """Whether not all pixels of all files were read."""


@dataclass(frozen=True)
class ExportedFile:
    """A file without a name, which the pixel process holds open until it gets the next message."""

    descriptor: int
    """Of the pixel process."""


class BadParameter(CatalogueError):
    """Correct a parameter of the request."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(name, sentence)
        self.name, self.sentence = name, sentence

    def __str__(self) -> str:
        return self.sentence


def is_epsg_code(text: str) -> bool:
    """Return whether a text has the form EPSG:n, the only one in which clients may name a CRS.

    Other texts could make PROJ or GDAL open a file.
    """
    return bool(_EPSG.fullmatch(text))
