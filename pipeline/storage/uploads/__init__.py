"""The storage of uploaded files, in a folder or a bucket; an upload is durable before the catalogue records it."""

from pathlib import Path

from pipeline.errors import CatalogueError
from pipeline.storage import literal_location
from pipeline.storage.s3 import bucket_and_key, open_bucket
from pipeline.storage.uploads.bucket import BucketUploadStore
from pipeline.storage.uploads.folder import FolderUploadStore
from pipeline.storage.uploads.store import OpenUpload, UploadStore
from pipeline.storage.uploads.unnamed import DryRunUpload, UnnamedUpload


def open_upload_store(name: str | Path) -> UploadStore:
    """Return the storage in a folder, which the first upload creates, or at `s3://bucket/prefix`.

    Raises CatalogueError for an invalid name, and for a bucket if the AWS_ variables are not usable.
    """
    location = literal_location(name)
    if location.on_web:
        raise CatalogueError(f'"{name}" cannot store files; give a folder or s3://bucket/prefix')
    if location.in_bucket:
        bucket, key = bucket_and_key(location.base)
        open_bucket(bucket)
        return BucketUploadStore(bucket, f"{key}/" if key else "")
    return FolderUploadStore(Path(location.base).resolve())
