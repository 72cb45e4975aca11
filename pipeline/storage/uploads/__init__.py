"""Our own storage of uploaded files, in a folder or a bucket: each under our own name, durable before it counts."""

from pathlib import Path

from pipeline.storage import named_place
from pipeline.storage.uploads.bucket import BucketDeposit
from pipeline.storage.uploads.folder import FolderDeposit
from pipeline.storage.uploads.store import Deposit, Incoming
from pipeline.storage.uploads.unnamed import NamelessIncoming, TrialUpload

__all__ = [
    "BucketDeposit",
    "Deposit",
    "FolderDeposit",
    "Incoming",
    "NamelessIncoming",
    "TrialUpload",
    "deposit_at",
]


def deposit_at(where: str | Path) -> Deposit:
    """The deposit in a folder, which is made with the first file, or at `s3://bucket/prefix`.

    Raises CatalogueError for a name that is none.
    """
    place = named_place(where)
    return BucketDeposit.at(place) if place.in_bucket else FolderDeposit(Path(place.base).resolve())
