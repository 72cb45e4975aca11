"""Reads byte ranges of objects in buckets."""

from typing import TYPE_CHECKING
from urllib.parse import unquote

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from pipeline.errors import FileChanged
from pipeline.storage.byte_range import ByteRange
from pipeline.storage.files import S3, path_of
from pipeline.storage.s3 import (
    OBSTORE_ERRORS,
    bucket_and_key,
    encode_etag,
    open_bucket,
    translate_obstore_error,
)

if TYPE_CHECKING:
    from obstore import GetOptions

_SHARE_OF_RETRIES = 0.4
"""Share of a file's time limit for one request and its retries; the last attempt may take as long again."""


def get_object_range(
    uri: str, start: int, stop: int, version: str | None, seconds: float
) -> ByteRange:
    """Return the bytes from `start` to `stop` of an object, or fewer at its end; require a version if there is one.

    Raises FileChanged, NotFound, PermissionDenied, TransientError or CatalogueError.
    """
    bucket, key = bucket_and_key(S3 + path_of(uri)[1:])
    store = open_bucket(bucket, seconds * _SHARE_OF_RETRIES)
    try:
        return _get_range(store, key, start, stop, version)
    except OBSTORE_ERRORS as error:
        raise translate_obstore_error(error, uri) from error


def _get_range(store: S3Store, key: str, start: int, stop: int, version: str | None) -> ByteRange:
    if version is not None and version.startswith("0."):
        return _empty_range(store, key)
    options: GetOptions = {"range": (start, stop)}
    if version is not None:
        options["if_match"] = f'"{unquote(version.partition(".")[2])}"'
    try:
        result = obstore.get(store, key, options=options)
        data = bytes(result.bytes())
    except BaseError as error:
        if version is None and isinstance(translate_obstore_error(error, ""), FileChanged):
            return _empty_range(store, key)  # an empty object has no range
        raise
    return ByteRange(data, result.meta["size"], encode_etag(result.meta))


def _empty_range(store: S3Store, key: str) -> ByteRange:
    meta = obstore.head(store, key)
    return ByteRange(b"", meta["size"], encode_etag(meta))
