"""Stores uploads in a bucket: it sends them in parts as they arrive, and an object appears only when it is complete."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import obstore
from obstore.exceptions import AlreadyExistsError

from pipeline.errors import TransientError
from pipeline.storage import StoredFile
from pipeline.storage.files import READ_BYTES
from pipeline.storage.s3 import object_uri, open_bucket
from pipeline.storage.s3_listing import find_object, list_objects
from pipeline.storage.uploads.store import (
    FILE_NAME,
    MARK_NAME,
    UploadStore,
    mark_text,
    parse_mark,
    translate_errors,
)

PART_BYTES = 8 * 2**20
"""Bytes of one part; S3 accepts 10,000 parts, which is 80 GB."""
PARTS_AT_ONCE = 2
"""Parts that are sent while the next part is filled; these parts and the next one are in memory."""

_ABANDONED = "the upload was abandoned before it was complete; send it again"


class OpenBucketUpload:
    """An upload that is being sent; the object appears when it is committed."""

    def __init__(self, bucket: str, key: str) -> None:
        self.uri = object_uri(bucket, key)
        self.size = 0
        self._writing = Lock()
        self._open = True
        with translate_errors():
            self._writer = obstore.open_writer(
                open_bucket(bucket), key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes; wait while too many parts are being sent."""
        self.size += len(data)
        with self._writing, translate_errors():
            self._require_open()
            self._writer.write(data)

    def commit(self) -> None:
        """Return when the storage has confirmed the object."""
        with self._writing, translate_errors():
            self._require_open()
            self._open = False
            self._writer.close()

    def close(self) -> None:
        """Delete the parts of an upload that was not committed."""
        with self._writing:
            if self._open:
                self._open = False
                # If this fails too, a lifecycle rule of the bucket deletes the parts.
                with suppress(TransientError), translate_errors():
                    self._writer.__exit__(TransientError, TransientError(_ABANDONED), None)

    def _require_open(self) -> None:
        if not self._open:
            raise TransientError(_ABANDONED)


@dataclass(frozen=True)
class BucketUploadStore(UploadStore):
    """A prefix of a bucket with one prefix for each upload."""

    bucket: str
    prefix: str
    """Ends in a slash, or is empty."""

    @property
    def name(self) -> str:
        """The URI of the prefix."""
        return object_uri(self.bucket, self.prefix)

    def owner(self) -> str | None:
        """Read the object `.catalogue`."""
        with translate_errors(), suppress(FileNotFoundError):
            mark = obstore.get(open_bucket(self.bucket), f"{self.prefix}{MARK_NAME}")
            return parse_mark(bytes(mark.bytes()))
        return None

    def mark(self, identity: str, *, replace: bool = False) -> None:
        """Write the object `.catalogue` by a conditional PUT (If-None-Match)."""
        key, text = f"{self.prefix}{MARK_NAME}", mark_text(identity)
        with translate_errors(), suppress(AlreadyExistsError):
            mode: Literal["overwrite", "create"] = "overwrite" if replace else "create"
            obstore.put(open_bucket(self.bucket), key, text, mode=mode)

    def _key(self, upload_id: str) -> str:
        return f"{self.prefix}{upload_id}/{FILE_NAME}"

    def _uri(self, upload_id: str) -> str:
        return object_uri(self.bucket, self._key(upload_id))

    def _open(self, upload_id: str) -> OpenBucketUpload:
        return OpenBucketUpload(self.bucket, self._key(upload_id))

    def _find(self, upload_id: str) -> StoredFile:
        return find_object(self.bucket, self._key(upload_id))

    def _read(self, upload_id: str) -> tuple[int, Iterator[bytes]]:
        response = obstore.get(open_bucket(self.bucket), self._key(upload_id))
        return response.meta["size"], map(bytes, response.stream(min_chunk_size=READ_BYTES))

    def _names(self) -> Iterator[str]:
        for folder, item in list_objects(self.bucket, self.prefix.rstrip("/")):
            if item.name == FILE_NAME:
                yield folder.removeprefix(self.prefix)

    def _delete(self, upload_ids: list[str]) -> None:
        if upload_ids:
            with translate_errors():
                obstore.delete(open_bucket(self.bucket), list(map(self._key, upload_ids)))
