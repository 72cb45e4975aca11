"""Uploaded files in a bucket: sent on in parts as they arrive, there as a whole or not at all."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Literal
from uuid import uuid4

from pipeline.errors import NotAllowed, TransientError
from pipeline.storage import Location, StoredFile
from pipeline.storage.s3 import bucket_and_key, object_uri, open_bucket, short_reason
from pipeline.storage.s3_listing import find_object, list_objects
from pipeline.storage.uploads.store import FILE_NAME, MARK_NAME, UPLOAD_ID, mark_text, parse_mark

PART_BYTES = 8 * 2**20
"""Of one part; S3 takes 10,000 of them, which is 80 GB."""
PARTS_AT_ONCE = 2
"""On their way while the next one fills: so many and one more are in memory."""

_GIVEN_UP = "the file was given up while it was received; send it again"


class OpenBucketUpload:
    """An object that is being received; it is not there before it is kept."""

    def __init__(self, bucket: str, key: str) -> None:
        import obstore

        self.uri = object_uri(bucket, key)
        self.size = 0
        self._writing = Lock()
        self._open = True
        with _translate_errors():
            self._writer = obstore.open_writer(
                open_bucket(bucket), key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, data: bytes | memoryview) -> None:
        """Append; waits while too much is on its way."""
        self.size += len(data)
        with self._writing, _translate_errors():
            self._require_open()
            self._writer.write(data)

    def keep(self) -> None:
        """Return when the storage has confirmed the whole."""
        with self._writing, _translate_errors():
            self._require_open()
            self._open = False
            self._writer.close()

    def close(self) -> None:
        """Take back the parts of what was not kept."""
        with self._writing:
            if self._open:
                self._open = False
                # Where even this fails, a rule of the bucket removes parts that were never completed.
                with suppress(TransientError), _translate_errors():
                    self._writer.__exit__(TransientError, TransientError(_GIVEN_UP), None)

    def _require_open(self) -> None:
        if not self._open:
            raise TransientError(_GIVEN_UP)


@dataclass(frozen=True)
class BucketUploadStore:
    """A prefix of a bucket."""

    bucket: str
    prefix: str
    """Ends in a slash, or is empty."""

    @staticmethod
    def at(place: Location) -> "BucketUploadStore":
        """The deposit at a place; raises CatalogueError where the storage cannot be used at all."""
        bucket, key = bucket_and_key(place.base)
        open_bucket(bucket)
        return BucketUploadStore(bucket, f"{key}/" if key else "")

    @property
    def name(self) -> str:
        """Its URI."""
        return object_uri(self.bucket, self.prefix)

    def owner(self) -> str | None:
        """By the object `.catalogue`."""
        import obstore

        with _translate_errors(), suppress(FileNotFoundError):
            found = obstore.get(open_bucket(self.bucket), f"{self.prefix}{MARK_NAME}")
            return parse_mark(bytes(found.bytes()))
        return None

    def mark(self, identity: str, *, replace: bool = False) -> None:
        """By a conditional PUT (If-None-Match): of several that want to, one succeeds."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        key, text = f"{self.prefix}{MARK_NAME}", mark_text(identity)
        mode: Literal["overwrite", "create"] = "overwrite" if replace else "create"
        with _translate_errors(), suppress(AlreadyExistsError):
            obstore.put(open_bucket(self.bucket), key, text, mode=mode)

    def new_uri(self) -> str:
        """Below a prefix of its own."""
        return object_uri(self.bucket, f"{self.prefix}{uuid4().hex}/{FILE_NAME}")

    def receive(self, uri: str) -> OpenBucketUpload:
        """A new object, whose parts are sent as they come."""
        key = self._key(uri)
        assert key is not None, uri
        return OpenBucketUpload(self.bucket, key)

    def bytes_free(self, announced: Mapping[str, int], ahead: int | None = None) -> None:
        """A bucket has no disk that could be full."""

    def holds(self, uri: str) -> bool:
        """By its prefix and name."""
        return self._key(uri) is not None

    def file(self, uri: str) -> StoredFile:
        """As the storage describes it now."""
        key = self._key(uri)
        if key is None:
            raise NotAllowed("it lies outside the storage of uploads; send it again")
        return find_object(self.bucket, key)

    def uris(self) -> Iterator[str]:
        """By a listing of the prefix."""
        for folder, found in list_objects(self.bucket, self.prefix.rstrip("/")):
            uri = object_uri(self.bucket, f"{folder}/{found.name}")
            if self.holds(uri):
                yield uri

    def discard(self, uris: Iterable[str]) -> None:
        """In one request for many."""
        import obstore

        keys = [key for uri in uris if (key := self._key(uri))]
        if keys:
            with _translate_errors():
                obstore.delete(open_bucket(self.bucket), keys)

    def _key(self, uri: str) -> str | None:
        """The key of a file of ours: all that is not our own in it is the uuid."""
        name = uri.removesuffix(f"/{FILE_NAME}").rpartition("/")[2]
        key = f"{self.prefix}{name}/{FILE_NAME}"
        return key if UPLOAD_ID.fullmatch(name) and object_uri(self.bucket, key) == uri else None


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turns errors of the storage into TransientError: the client can do nothing about them."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise TransientError(
            f"the storage of uploads does not work now ({short_reason(error)}); try again later"
        ) from error
