"""The summary and the progress of an export."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass
class Summary:
    """The content of the target, and what changed in it."""

    files: int = 0
    """Number of raster files in the target."""
    parts_written: int = 0
    parts_unchanged: int = 0
    parts_removed: int = 0
    documents_written: int = 0
    """Documents of a static catalogue."""
    documents_removed: int = 0
    not_public: int = 0
    """Raster files that were left out because the caller may not see their location."""
    missing: int = 0
    """Raster files that were left out because the last run did not find them."""
    warnings: list[str] = field(default_factory=list)
    """Messages for users of a tile index."""


class Progress(Protocol):
    """Shows the progress of an export."""

    def add_total(self, files: int) -> None:
        """Show that there are more files to write."""

    def advance(self, files: int) -> None:
        """Show that more files were written."""
