"""What a storage of uploaded files must be able to do."""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from pipeline.storage import StoredFile

NAME = "raster.tif"
"""Of every file; the folder or prefix that it lies in has a name of its own."""
OURS = re.compile("[0-9a-f]{32}")
"""That name; whatever else lies in the storage is left alone."""
SECONDS_AT_REST = 60
"""After which a file that nobody knows and nobody writes belongs to no one."""


class Incoming(Protocol):
    """A file that is being received."""

    uri: str
    size: int
    """Bytes so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises TransientError where the storage takes no more, or when it was closed meanwhile."""

    def keep(self) -> None:
        """Return when the file is whole and durable; raises TransientError."""

    def close(self) -> None:
        """Give it out of hand, also while a thread writes to it; what was not kept may vanish."""


class Deposit(Protocol):
    """A storage that holds uploaded files and nothing else."""

    def receive(self) -> Incoming:
        """A new, empty file; raises TransientError when it cannot be made."""

    def holds(self, uri: str) -> bool:
        """Whether a file is one of ours, by its name."""

    def file(self, uri: str) -> StoredFile:
        """A file of ours as it is now. Raises RasterError, for one elsewhere NotAllowed, or TransientError."""

    def uris(self) -> Iterator[str]:
        """All that is here, whole or not; raises TransientError."""

    def at_rest(self, uris: Iterable[str], seconds: float = SECONDS_AT_REST) -> list[str]:
        """Those that are here and that nobody has been writing for so long; raises TransientError."""

    def discard(self, uris: Iterable[str]) -> None:
        """Delete those that are ours; files elsewhere are left alone. Raises TransientError."""
