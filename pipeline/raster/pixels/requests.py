"""The requests to a pixel process. This module imports no raster library, so that the API can use it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import CatalogueError
from pipeline.raster.models import Histogram
from pipeline.storage import Root

EPSG_CODE = re.compile(r"EPSG:[0-9]{4,6}")


@dataclass(frozen=True)
class PixelFile:
    """A registered file, with the facts in the catalogue."""

    uri: str
    fingerprint: str
    transform: tuple[float, ...]
    """Affine transform from pixel to CRS: a, b, c, d, e, f."""
    wkt: str
    width: int
    height: int
    dtype: str
    nodata: tuple[str | None, ...]
    """Nodata value of each band, as text."""
    bands: tuple[int, ...]
    """The bands to read, from 1."""
    roots: tuple[Root, ...]
    """The roots below which it may lie."""


@dataclass(frozen=True)
class Window:
    """A north-up grid of pixels in a CRS; the edges are in its units."""

    west: float
    south: float
    east: float
    north: float
    width: int
    height: int
    crs: str | None
    """`EPSG:n`; None means the CRS of the files."""


@dataclass(frozen=True)
class PixelLimits:
    """Limits of one request."""

    seconds: float
    values_read: int
    """Maximum number of values that are decompressed, in whole blocks."""


@dataclass(frozen=True)
class Picture:
    """A PNG of a window; the answer is its bytes."""

    files: Sequence[PixelFile]
    """The files; the last one is on top."""
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
    """At least one file; the last one is on top."""
    window: Window
    nodata: str | None
    """The value where no file has a valid pixel; None means that of the files, or zero if they have none."""


@dataclass(frozen=True)
class Sample:
    """Statistics of the first of the bands to read of each file; the answer is a `SampleStatistics`."""

    files: Sequence[PixelFile]


@dataclass(frozen=True)
class BoundsIn:
    """The bounds of a window in another CRS; the answer is (west, south, east, north) or None."""

    window: Window
    wkt: str


Request = Picture | Export | Sample | BoundsIn


@dataclass(frozen=True)
class SampleStatistics:
    """Statistics of the valid pixels of overviews, or of some blocks of files without overviews."""

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
    """Whether only some of the pixels were read."""


@dataclass(frozen=True)
class ExportedFile:
    """An unnamed file that the pixel process keeps open until it receives the next message."""

    descriptor: int
    """File descriptor in the pixel process."""


class BadParameter(CatalogueError):
    """Correct a parameter of the request."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(name, sentence)
        self.name, self.sentence = name, sentence

    def __str__(self) -> str:
        return self.sentence


def is_epsg_code(text: str) -> bool:
    """Return whether a text has the form EPSG:n. Clients may use no other form.

    Other texts could make PROJ or GDAL open a file.
    """
    return bool(EPSG_CODE.fullmatch(text))
