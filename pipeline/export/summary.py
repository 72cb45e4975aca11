"""What an export did, and how far it is."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass
class Summary:
    """What the target holds, and what changed in it."""

    files: int = 0
    """Raster files that it holds."""
    parts_written: int = 0
    parts_unchanged: int = 0
    parts_removed: int = 0
    documents_written: int = 0
    """Of a static catalogue."""
    documents_removed: int = 0
    not_public: int = 0
    """Raster files that are left out, because the caller may not know where they are."""
    missing: int = 0
    """Raster files that are left out, because the last run did not find them."""
    notices: list[str] = field(default_factory=list)
    """What the reader of a tile index should know."""


class Progress(Protocol):
    """Sees how far an export is."""

    def add_total(self, files: int) -> None:
        """Learn of more files to write."""

    def advance(self, files: int) -> None:
        """Learn of files that are written."""
