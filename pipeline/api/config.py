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
    """The database, the address of the API, and the limits of a request.

    Fields without a description are settings; `pipeline/settings.py` describes them.
    """

    database_url: str
    private_database: bool = False
    """Whether the database is a private cluster on this machine."""
    prepare: bool = True
    base_url: str | None = None
    statement_timeout_seconds: float = 30.0
    list_rows: int = 1_000_000
    list_seconds: float = 600.0
    connections: int = 10
    """Maximum number of connections to the database, not counting those for prepared reads."""
    readers: int = 4
    """Maximum number of connections for prepared reads of lists and details."""
    clients: int = 500
    """Maximum number of client connections. An idle connection is closed for a new one; if none is idle: 503."""
    body_bytes: int = 2**20
    body_seconds: float = 30.0
    """Time in which a client must send a JSON body."""
    documentation: Path | None = None
    """Folder of the documentation site that is shown at /docs/; None: the site was not built."""
    uploads: str | None = None
    """Folder or `s3://` prefix for uploaded files; None: the server accepts no uploads."""
    dry_run_upload: Callable[[DryRunUpload], int] | None = None
    """Counts the files that an upload would replace; raises RasterError or TransientError. None: no dry runs."""
    schedules: Callable[[], Sequence[ScheduleEntry]] | None = None
    """Returns the definitions of a sources.toml with schedules; raises CatalogueError. None: no file is served."""
    prefect_pages: str | None = None
    """URL of Prefect's pages, to which pages of runs link; None: unknown."""
    upload_bytes: int = 10 * 2**30
    upload_reserve_bytes: int = 2**30
    roots: tuple[Root, ...] = ()
    budget: Budget = field(default_factory=Budget)
    """Limits of one file whose pixels are read."""
    pixel_seconds: float = 20.0
    pixel_requests: int = 32
    """Maximum number of simultaneous requests for pixels in one process."""
    read_pixels: int = 500_000_000
    picture_files: int = 2000
    data_pixels: int = 25_000_000
    task_pixels: int = 1_000_000_000
    task_seconds: float = 600.0
    cors_origins: tuple[str, ...] = ()
    crs_policy: str = "lizard"
    asset_urls: tuple[tuple[str, str], ...] = ()
    map_tiles: str | None = None
    map_attribution: str = ""
    proxies: tuple[str, ...] = ()
