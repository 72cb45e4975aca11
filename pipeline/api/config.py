"""What the API depends on; entry points make it from the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.storage.uploads import DryRunUpload


@dataclass(frozen=True)
class ApiConfig:
    """Where the database is, how the API is reached, and what a request may cost."""

    database_url: str
    private_database: bool = False
    """Whether it is a private cluster on this machine."""
    prepare: bool = True
    """Whether statements may be prepared on the database's side; a pooler that is found out keeps from it too."""
    base_url: str | None = None
    """Public base URL of hyperlinks, such as https://example.org/rasters; None: that of the request."""
    statement_timeout_seconds: float = 30.0
    """Seconds that one query may take."""
    connections: int = 10
    """Most connections to the database at once."""
    clients: int = 500
    """Most connections of clients at once; idle ones are closed for new ones, beyond that 503."""
    page_size: int = 10
    max_page_size: int = 1000
    query_bytes: int = 60_000
    """Longest query string; beyond it 414. The HTTP parser ends at 65535."""
    body_bytes: int = 2**20
    """Longest JSON body; beyond it 413."""
    body_seconds: float = 30.0
    """Time that a client may take to send a JSON body."""
    uploads: str | None = None
    """Folder or `s3://` prefix where files that clients send are kept; None: none are taken."""
    try_upload: Callable[["DryRunUpload"], int] | None = None
    """How many files an upload would replace, for dry runs: raises RasterError or TransientError. None: no dry runs."""
    upload_bytes: int = 10 * 2**30
    """Longest file that clients may send; beyond it 413."""
    upload_reserve_bytes: int = 2**30
    """What uploads leave free on the disk of their folder; below it 507."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the API, with a key and never with a session; `*` stands for all."""
    session_hours: float = 12.0
    """How long a sign-in lasts."""
    sign_in_failures: int = 5
    """Failed sign-ins of a name from an address, within `sign_in_minutes`, after which further ones have to wait."""
    sign_in_minutes: float = 15.0
    """How long failures count, and the longest wait."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks that are believed in whom they ask for (X-Forwarded-For, X-Forwarded-Proto)."""
