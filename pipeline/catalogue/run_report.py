"""What a run did: the numbers and the refusals that commands print, flows show and sync_runs keeps."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.errors import Rejection


@dataclass
class RunReport:
    """What a run did, or a part of it."""

    registered: int = 0
    """Files read and written; those that moved are among them."""
    unchanged: int = 0
    moved: int = 0
    """Files that were known under another URI."""
    missing: int = 0
    """Files that were known and are not there: now marked as missing, or removed."""
    withheld: int = 0
    """Files that people deleted from the catalogue, which are not brought back."""
    settling: int = 0
    """Files that are too young to be read."""
    bytes: int = 0
    """Size of the registered files together."""
    rejected: list[Rejection] = field(default_factory=list)
    """Files that were refused now, or earlier and are as they were."""

    @property
    def listed(self) -> int:
        """All files that were looked at."""
        return self.registered + self.unchanged + self.withheld + self.settling + len(self.rejected)

    @property
    def reasons(self) -> dict[str, int]:
        """Reason code -> how many files were refused for it, the most frequent first."""
        return dict(Counter(rejection.code for rejection in self.rejected).most_common())

    def add(self, other: "RunReport") -> None:
        """Take in the report of another part."""
        self.registered += other.registered
        self.unchanged += other.unchanged
        self.moved += other.moved
        self.missing += other.missing
        self.withheld += other.withheld
        self.settling += other.settling
        self.bytes += other.bytes
        self.rejected += other.rejected
