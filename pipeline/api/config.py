"""The configuration of the API; entry points make it from the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.definitions.schedule_times import ScheduleEntry
from pipeline.raster import Budget
from pipeline.storage import Root
from pipeline.storage.uploads import DryRunUpload


@dataclass(frozen=True)
class ApiConfig:
    """The database, the address of the API, and the limits of a request."""

    database_url: str
    private_database: bool = False
    """Whether the database is a private cluster on this machine."""
    prepare: bool = True
    """Whether statements may be prepared on the server; a detected pooler prevents it too."""
    base_url: str | None = None
    """Public base URL of hyperlinks, such as https://example.org/rasters; None: that of the request."""
    statement_timeout_seconds: float = 30.0
    """Time limit of one query."""
    list_rows: int = 1_000_000
    """Most raster sources that are sent as GeoJSON, CSV or GeoParquet."""
    list_seconds: float = 600.0
    """Time limit of sending them."""
    connections: int = 10
    """Maximum number of connections to the database, besides those for prepared reads."""
    readers: int = 4
    """Maximum number of connections for prepared reads of lists and details."""
    clients: int = 500
    """Maximum number of client connections; idle ones are closed for new ones, beyond that 503."""
    body_bytes: int = 2**20
    """Longest JSON body; beyond it 413."""
    body_seconds: float = 30.0
    """Time in which a client must send a JSON body."""
    documentation: Path | None = None
    """Folder of the documentation site, which is shown at /docs/; None: it was not built."""
    uploads: str | None = None
    """Folder or `s3://` prefix for uploaded files; None: the server accepts none."""
    try_upload: Callable[[DryRunUpload], int] | None = None
    """Counts the files that an upload would replace; raises RasterError or TransientError. None: no dry runs."""
    schedules: Callable[[], Sequence[ScheduleEntry]] | None = None
    """Returns the definitions of a sources.toml with their schedules; raises CatalogueError. None: none is known."""
    prefect_pages: str | None = None
    """Address of Prefect's pages, to which pages of runs link; None: not known."""
    upload_bytes: int = 10 * 2**30
    """Longest uploaded file; beyond it 413."""
    upload_reserve_bytes: int = 2**30
    """Bytes that uploads leave free on their disk; below it 507."""
    roots: tuple[Root, ...] = ()
    """Folders and prefixes whose files may be read for their pixels; empty: all."""
    budget: Budget = field(default_factory=Budget)
    """Limits of one file whose pixels are read."""
    pixel_seconds: float = 20.0
    """Time limit of one picture, statistics or window of data."""
    pixel_requests: int = 32
    """Requests for pixels that one process has at once."""
    read_pixels: int = 500_000_000
    """Most pixels of files that are unpacked for one picture or window of data, in whole blocks."""
    picture_files: int = 2000
    """Most files that are read for one picture or window of data."""
    data_pixels: int = 25_000_000
    """Most pixels of a window of data that is answered at once."""
    task_pixels: int = 1_000_000_000
    """Most pixels of a window of data that is written for a task."""
    task_seconds: float = 600.0
    """Time limit of a window of data that is written for a task."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the API with a key, never with a session; `*` stands for all."""
    crs_policy: str = "lizard"
    """How the holes of a raster source are placed on the earth."""
    asset_urls: tuple[tuple[str, str], ...] = ()
    """Prefixes of URIs, each with the URL under which everyone who may see a file gets it."""
    map_tiles: str | None = None
    """URL of the tiles behind the maps of the pages, with {z}, {x} and {y}; None: land outlines of our own."""
    map_attribution: str = ""
    """Whom the maps name as the source of these tiles."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of trusted proxies (X-Forwarded-For, X-Forwarded-Proto)."""
