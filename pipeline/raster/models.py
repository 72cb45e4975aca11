"""The options and results of reading a GeoTIFF."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pipeline.raster.budget import Budget

if TYPE_CHECKING:
    from affine import Affine
    from shapely import MultiPolygon


@dataclass(frozen=True)
class Bounds:
    """A box in WGS 84 degrees; it crosses the antimeridian where `west > east`."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class Operation:
    """The coordinate operation from the CRS of a raster to WGS 84."""

    code: str | None
    """Authority and code, such as `EPSG:15934`; None if it has no code."""
    name: str
    accuracy: float | None
    """Accuracy in metres; None if PROJ does not know it."""
    proj_version: str


@dataclass(frozen=True)
class RasterWarning:
    """A problem of a file that was read all the same."""

    code: str
    """A stable code in lower case with underscores, such as `outside_area_of_use`."""
    message: str


@dataclass(frozen=True)
class Band:
    """One band of a file."""

    dtype: str
    """numpy code, such as `f4`."""
    nodata: str | None
    """Formatted as `RasterFile.fill_value`; None if the band has no nodata value."""
    description: str | None
    time: datetime | None


@dataclass(frozen=True)
class Layout:
    """How the pixels are stored in the file."""

    compression: str | None
    block_width: int
    block_height: int
    overviews: tuple[int, ...]
    """Decimation factors of the first band, such as (2, 4, 8)."""
    cog: bool
    not_cog_because: tuple[str, ...]
    """Why the file is not a cloud-optimised GeoTIFF; empty if it is one."""
    mask: str | None
    """`internal`, `alpha` or `sidecar`; None if there is none."""


@dataclass(frozen=True)
class ControlPoint:
    """A ground control point: a position in the image with known coordinates."""

    column: float
    """Pixels from the left edge of the image; 0.5 is the centre of the first column."""
    row: float
    """Pixels from the upper edge of the image."""
    x: float
    """Easting or longitude in the CRS of the control points."""
    y: float


@dataclass(frozen=True)
class Grid:
    """The size of an image, and its geotransform to the CRS of the file."""

    width: int
    height: int
    transform: "Affine | None"
    """Affine transform from pixel (column, row) to CRS (x, y), for pixel corners; None if the file has none."""
    control_points: tuple[ControlPoint, ...] = ()
    has_rpcs: bool = False
    """Whether there are rational polynomial coefficients; they cannot place a raster without a height model."""


@dataclass(frozen=True)
class FileCRS:
    """The CRS of a file as GDAL reports it; without a geotransform, the CRS of the control points."""

    wkt: str | None
    """WKT, preferably WKT 2 (2019) with its IDs; None if the file names no usable CRS."""
    unusable: bool = False
    """Whether the file or a sidecar names a CRS that GDAL cannot read; `wkt` is then None."""


@dataclass(frozen=True)
class Placement:
    """The grid and the CRS of a file, before they are located on the earth."""

    grid: Grid
    crs: FileCRS
    area_or_point: str
    warnings: tuple[RasterWarning, ...] = ()
    """Warnings about contradictions between the keys and the CRS."""


@dataclass(frozen=True)
class Georeference:
    """The location of a raster, in its own CRS and on the earth."""

    projection: str | None
    """`EPSG:n`; None if the CRS has no EPSG code."""
    crs_wkt: str
    """WKT 2 (2019) of the horizontal CRS."""
    transform: "Affine"
    """Affine transform from pixel (column, row) to CRS (x, y), for pixel corners."""
    rotated: bool
    """Whether the axes of the grid differ from those of the CRS; then origin and upper bound are of the envelope."""
    origin_x: float
    origin_y: float
    upper_bound_x: float
    upper_bound_y: float
    pixelsize_x: float
    pixelsize_y: float
    """Negative for a north-up raster."""
    bounds: Bounds
    footprint: "MultiPolygon"
    """The outline of the grid in WGS 84 degrees (x = longitude), densified and cut at the antimeridian."""
    operation: Operation
    warnings: tuple[RasterWarning, ...] = ()


@dataclass(frozen=True)
class Histogram:
    """The number of valid pixels in each of several bins of equal width."""

    low: float
    """Lower edge of the first bin: the minimum."""
    high: float
    """Upper edge of the last bin, which includes it: the maximum."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of the valid, finite pixels of one band; None if there are no such pixels."""

    valid: int
    """Number of pixels that are not masked, nodata, NaN or infinite."""
    valid_share: float
    """`valid` divided by the number of pixels that were read, 0 to 1."""
    minimum: float | None
    """An exact int for integer pixels; so are `maximum`, and percentiles that are integers."""
    maximum: float | None
    mean: float | None
    """None also if it exceeds float64; the same applies to the standard deviation."""
    standard_deviation: float | None
    """Standard deviation of the population: the divisor is the number of pixels."""
    percentiles: Mapping[int, float]
    """Percent -> value, interpolated linearly between the two nearest pixels, as in numpy."""
    histogram: Histogram | None


@dataclass(frozen=True)
class Statistics:
    """Statistics of the pixels of one file."""

    overview: int | None
    """Decimation factor of the overview that was read; None if all pixels were read."""
    bands: tuple[BandStatistics, ...]
    valid_outline: "MultiPolygon"
    """The area in which a band has valid pixels, in WGS 84 degrees (x = longitude); empty if no band has any."""
    outline_pixels: int
    """Side in pixels of the squares of which the outline consists; 1 for an exact outline."""

    @property
    def approximate(self) -> bool:
        """Whether an overview was read instead of the pixels."""
        return self.overview is not None


@dataclass(frozen=True)
class PixelProgress:
    """Progress of reading the pixels of a file."""

    uri: str
    done: int
    """Number of values that were read; each pass over the pixels counts them again."""
    total: int


@dataclass(frozen=True)
class RasterFile:
    """One GeoTIFF: the facts in its header, their provenance and the warnings about it."""

    uri: str
    fingerprint: str
    driver: str
    size: int
    """Bytes of the TIFF itself, without its sidecars."""
    sidecars: tuple[str, ...]
    """Names of the sidecars that were used, such as `x.tif.aux.xml`."""
    width: int
    height: int
    count: int
    dtype: str
    """numpy code of the bands, such as `f4`."""
    fill_value: str | None
    """Nodata of the first band, formatted by dtype: `-9999.0`, `0`, `nan`."""
    bands: tuple[Band, ...]
    georeference: Georeference
    times: tuple[datetime, ...]
    """Distinct times in UTC, ascending; empty if no time is known."""
    interval: timedelta | None
    """The interval of three or more equidistant times in this file, otherwise None."""
    datetime: datetime | None
    """The time in TIFFTAG_DATETIME, often the time of writing."""
    area_or_point: str
    layout: Layout
    warnings: tuple[RasterWarning, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Field name -> origin of its value, such as `times` -> `pattern of the file name`."""
    statistics: Statistics | None = None
    """None unless `ReadOptions.statistics` requests them and they can be computed."""


@dataclass(frozen=True)
class TimeRule:
    """How files get their time from a definition or an argument; by default only from the tags of the file."""

    time: datetime | None = None
    """One fixed time for all files, with an offset."""
    pattern: str | None = None
    """Regular expression with a named group `time`, or `year`, `month`, ...; searched in the name, then in the path."""
    time_format: str | None = None
    """strptime format of the group `time`; None for ISO 8601 and its compact forms."""
    time_zone: str = "UTC"
    """IANA name of the zone of times without an offset."""
    from_tag: bool = False
    """Whether a file without another time gets TIFFTAG_DATETIME (declared temporal, or `time = "tag"`)."""


@dataclass(frozen=True)
class AssignedValues:
    """A CRS and a nodata value for files without them; by default there are none."""

    crs: str | None = None
    """Authority and code of a usable CRS, such as `EPSG:28992`."""
    crs_override: bool = False
    """Whether the CRS also replaces another or an unusable CRS of a file."""
    nodata: str | None = None
    """A number, `nan`, `inf` or `-inf`."""
    by: str = "the command line"
    """Their origin, for provenance and warnings, such as `definition "rain"`."""


@dataclass(frozen=True)
class ReadOptions:
    """All options on which the record of a file depends."""

    time_rule: TimeRule = TimeRule()
    assigned: AssignedValues = AssignedValues()
    crs_policy: str = "lizard"
    """`lizard`: pinned operations without grid files; `best-available`: also operations with installed grid files."""
    gcp_residual_pixels: float = 2.0
    """The largest root-mean-square residual of fitted ground control points, in pixels."""
    budget: Budget = field(default_factory=Budget)
    statistics: Literal["overview", "exact"] | None = None
    """Which pixels are read for statistics: those of an overview if there is one, or all; None: no pixels."""
