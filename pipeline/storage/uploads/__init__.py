"""Our own storage of uploaded files, in a folder or a bucket: each under our own name, durable before it counts."""

from pathlib import Path

from pipeline.storage import literal_location
from pipeline.storage.uploads.bucket import BucketUploadStore
from pipeline.storage.uploads.folder import FolderUploadStore
from pipeline.storage.uploads.store import OpenUpload, UploadStore
from pipeline.storage.uploads.unnamed import DryRunUpload, UnnamedUpload

__all__ = [
    "BucketUploadStore",
    "DryRunUpload",
    "FolderUploadStore",
    "OpenUpload",
    "UnnamedUpload",
    "UploadStore",
    "open_upload_store",
]


def open_upload_store(where: str | Path) -> UploadStore:
    """The deposit in a folder, which is made with the first file, or at `s3://bucket/prefix`.

    Raises CatalogueError for a name that is none.
    """
    place = literal_location(where)
    return (
        BucketUploadStore.at(place)
        if place.in_bucket
        else FolderUploadStore(Path(place.base).resolve())
    )
