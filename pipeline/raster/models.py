"""The facts that one GeoTIFF yields: what `read` returns and the rest of the system passes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from affine import Affine
from shapely import MultiPolygon


@dataclass(frozen=True)
class Bounds:
    """A box in WGS 84 degrees; `west > east` means that it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class Operation:
    """The coordinate operation that brought a raster to WGS 84."""

    code: str | None
    """Authority and code, such as `EPSG:15934`; None for an operation without one."""
    name: str
    accuracy: float | None
    """In metres; None when PROJ does not know it."""
    proj_version: str


@dataclass(frozen=True)
class RasterWarning:
    """Something that a person should know of a file that was read all the same."""

    code: str
    """Stable, lower case with underscores, such as `outside_area_of_use`."""
    message: str


@dataclass(frozen=True)
class Band:
    """What differs between the bands of one file."""

    dtype: str
    """numpy code, such as `f4`."""
    nodata: str | None
    """Formatted as `RasterFile.fill_value`; None means that no marker is set."""
    description: str | None
    time: datetime | None


@dataclass(frozen=True)
class Layout:
    """How the pixels lie in the file."""

    compression: str | None
    block_width: int
    block_height: int
    overviews: tuple[int, ...]
    """Decimation factors of the first band, such as (2, 4, 8)."""
    cog: bool
    not_cog_because: tuple[str, ...]
    """Why this is no cloud-optimised GeoTIFF; empty when it is one."""
    mask: str | None
    """`internal`, `alpha` or `sidecar`; None means that there is no mask."""


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: in its own CRS and on the earth."""

    projection: str | None
    """`EPSG:n`; None when the CRS is no EPSG CRS (the WKT is kept)."""
    crs_wkt: str
    """WKT 2 (2019) of the horizontal CRS."""
    transform: Affine
    """Pixel (column, row) to CRS (x, y), for pixel corners."""
    rotated: bool
    """True when the grid's axes are not those of its CRS; origin and upper bound are then the envelope's."""
    origin_x: float
    origin_y: float
    upper_bound_x: float
    upper_bound_y: float
    pixelsize_x: float
    pixelsize_y: float
    """Negative for a north-up raster."""
    bounds: Bounds
    footprint: MultiPolygon
    """The outline of the grid in WGS 84 (x = longitude), densified, cut at the antimeridian."""
    operation: Operation
    warnings: tuple[RasterWarning, ...] = ()


@dataclass(frozen=True)
class Histogram:
    """How many valid pixels there are in each of some equal steps of the value."""

    low: float
    """Lower edge of the first step: the smallest value."""
    high: float
    """Upper edge of the last step, which belongs to it: the largest value."""
    counts: tuple[int, ...]


@dataclass(frozen=True)
class BandStatistics:
    """What the valid, finite pixels of one band are like; None where there are none."""

    valid: int
    """Pixels that were looked at and are neither masked, nodata, NaN nor infinite."""
    valid_share: float
    """`valid` as a part of all pixels that were looked at, 0 to 1."""
    minimum: float | None
    """An int for integer pixels, exact at any size; so are `maximum` and whole percentiles."""
    maximum: float | None
    mean: float | None
    """None also where it is beyond float64; so is the deviation."""
    standard_deviation: float | None
    """Of the whole population: divided by the number of pixels."""
    percentiles: Mapping[int, float]
    """Percent -> value, linear between the two nearest pixels, as numpy's default."""
    histogram: Histogram | None


@dataclass(frozen=True)
class Statistics:
    """What the pixels of one file say."""

    overview: int | None
    """Decimation factor of the overview that was read; None means that every pixel was."""
    bands: tuple[BandStatistics, ...]
    valid_outline: MultiPolygon
    """Where any band has valid pixels, in WGS 84 (x = longitude); empty where none has."""
    outline_pixels: int
    """Side of the squares, in pixels, that the outline is made of; 1 means that it is exact."""

    @property
    def approximate(self) -> bool:
        """Whether an overview stood for the pixels."""
        return self.overview is not None


@dataclass(frozen=True)
class Progress:
    """How far the reading of a file's pixels is."""

    uri: str
    done: int
    """Values that were looked at, counting each pass over the pixels."""
    total: int


@dataclass(frozen=True)
class RasterFile:
    """One GeoTIFF: its header's facts, their provenance and the warnings that stay with it."""

    uri: str
    fingerprint: str
    driver: str
    size: int
    """Bytes of the TIFF itself, without its sidecars."""
    sidecars: tuple[str, ...]
    """Names of the files beside it that were used, such as `x.tif.aux.xml`."""
    width: int
    height: int
    count: int
    dtype: str
    """numpy code of the bands, such as `f4`; the widest when they differ."""
    fill_value: str | None
    """The first band's nodata, formatted by dtype: `-9999.0`, `0`, `nan`."""
    bands: tuple[Band, ...]
    georeference: Georeference
    times: tuple[datetime, ...]
    """UTC, ascending, distinct; empty where nothing says a time."""
    interval: timedelta | None
    """Between three or more equidistant times of this file; None otherwise."""
    datetime: datetime | None
    """The time in the file's own TIFFTAG_DATETIME, which is often the time of writing."""
    area_or_point: str
    layout: Layout
    warnings: tuple[RasterWarning, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Field name -> where its value came from, such as `times` -> `pattern of the file name`."""
    statistics: Statistics | None = None
    """Only where `ReadOptions.statistics` asks for them and they can be had."""


@dataclass(frozen=True)
class TimeRule:
    """How a definition or an argument dates files; all None means that only the file's own tags do."""

    time: datetime | None = None
    """One fixed time for all files; has an offset."""
    pattern: str | None = None
    """Regular expression with a named group `time`, or `year`, `month`, ...; searched in the name, then in the path."""
    time_format: str | None = None
    """strptime format of the group `time`; None means that ISO 8601 and its compact forms are tried."""
    time_zone: str = "UTC"
    """IANA name of the zone of times that carry no offset."""
    from_tag: bool = False
    """TIFFTAG_DATETIME dates the file when nothing better does (declared temporal, or `time = "tag"`)."""


@dataclass(frozen=True)
class AssignedValues:
    """What is said for files that do not say it themselves; nothing by default."""

    crs: str | None = None
    """Authority and code of a CRS that can be used, such as `EPSG:28992`."""
    crs_override: bool = False
    """Whether this CRS counts for files that have another one, or one that cannot be used, too."""
    nodata: str | None = None
    """A number, `nan`, `inf` or `-inf`."""
    by: str = "the command line"
    """Who says so, for provenance and warnings, such as `definition "rain"`."""


@dataclass(frozen=True)
class Budget:
    """What one file may cost; beyond it the file is refused with `over_budget` or `timeout`."""

    header_bytes: int = 64 * 2**20
    ifds: int = 1_000
    tag_bytes: int = 16 * 2**20
    bands: int = 10_000
    pixels: int = 10**14
    seconds: float = 20.0
    """For the header; and, where pixels are read, without any progress."""
    statistics_pixels: int = 4 * 10**9
    """Values that are read for statistics, over all bands: minutes of work."""
    block_bytes: int = 256 * 2**20
    """What has to be unpacked for one block, with the bands that it holds, where pixels are read."""


@dataclass(frozen=True)
class ReadOptions:
    """What reading a file depends on besides the file."""

    time_rule: TimeRule = TimeRule()
    assigned: AssignedValues = AssignedValues()
    crs_policy: str = "lizard"
    """`lizard`: pinned operations and no grids; `best-available`: with the grids that are installed."""
    gcp_residual_pixels: float = 2.0
    """The largest root-mean-square residual of fitted ground control points, in pixels."""
    budget: Budget = Budget()
    statistics: Literal["overview", "exact"] | None = None
    """Whether pixels are read too: those of an overview where there is one, or all."""
