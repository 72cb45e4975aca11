"""Buckets of object storage (S3): names, URIs, connections and errors."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from obstore.exceptions import BaseError, InvalidPathError
from obstore.store import S3Store

from pipeline.errors import (
    CatalogueError,
    FileChanged,
    NotFound,
    PermissionDenied,
    RastersourcesError,
    TransientError,
)
from pipeline.storage.files import S3, encode_name

if TYPE_CHECKING:
    from obstore import ObjectMeta

OBSTORE_ERRORS = (BaseError, OSError, ValueError)
"""The errors that obstore raises: its own, and Python's for missing objects and wrong arguments."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_STATUS = re.compile(r"status code: (\d{3})")
_RETRIES = 10
_SECONDS = 60.0
_BAD_KEY = "not a key that obstore accepts: an empty part, `.`, `..` or a control character"


def bucket_and_key(base: str) -> tuple[str, str]:
    """Split `s3://bucket/key`, which is not percent-encoded.

    Raises CatalogueError if it cannot be an object or prefix.
    """
    bucket, _, key = base.removeprefix(S3).partition("/")
    key = key.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise CatalogueError(
            f'"{base}" does not name a bucket; write s3://bucket/prefix, with a bucket of at least two characters'
        )
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\0-\x1f\x7f]", key):
        raise CatalogueError(f'"{base}" is {_BAD_KEY}; copy the objects to other keys')
    return bucket, key


def object_uri(bucket: str, key: str) -> str:
    """Return the `s3://` URI of an object or prefix."""
    return f"{S3}{bucket}/{encode_name(key)}"


@cache
def open_bucket(bucket: str, seconds: float = _SECONDS) -> S3Store:
    """Return a connection to a bucket from the environment variables AWS_*. It connects when it is used.

    A request may take `seconds`, and all its retries together another `seconds`. Raises CatalogueError if the variables
    are invalid.
    """
    limit = timedelta(seconds=seconds)
    try:
        return S3Store(
            bucket,
            client_options={"allow_http": _allow_http(), "timeout": limit},
            retry_config={"max_retries": _RETRIES, "retry_timeout": limit},
        )
    except (BaseError, ValueError) as error:
        brief = str(error).partition("\n")[0][:200]
        raise CatalogueError(
            f"the AWS_ variables for object storage are invalid: {brief}"
        ) from error


def _allow_http() -> bool:
    """Return whether the endpoint uses plain http. Raises CatalogueError for an invalid URL."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if endpoint := os.environ.get(name):
            if not re.match(r"https?://[^/]", endpoint):
                raise CatalogueError(f"{name} is not a URL; write https://host or http://host:port")
            return endpoint.startswith("http://")
    return False


@contextmanager
def translate_listing_errors(uri: str) -> Iterator[None]:
    """Raise CatalogueError or TransientError for errors of a listing."""
    try:
        yield
    except OBSTORE_ERRORS as error:
        problem = translate_obstore_error(error, uri)
        if isinstance(problem, NotFound):
            problem = CatalogueError(f"{uri}: the bucket does not exist; check its name")
        elif isinstance(problem, PermissionDenied):
            rights = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their permissions"
            problem = CatalogueError(f"{uri} may not be listed; {rights}")
        raise problem from error


def translate_obstore_error(error: Exception, uri: str) -> RastersourcesError:
    """Return our error for an error of obstore; it contains nothing of the answer, because that may have keys."""
    text = str(error)
    match = _STATUS.search(text)
    status = int(match[1]) if match else None
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound("the object does not exist (any more); check its name")
    if status in (412, 416):
        return FileChanged.since_listed("the object")
    if fault := _fault_of_set_up(error, status):
        return CatalogueError(f"{uri}: {fault}")
    if status in (401, 403):
        return PermissionDenied(
            "these credentials may not read it; check AWS_ACCESS_KEY_ID and its permissions"
        )
    reason = short_reason(error)
    return TransientError(f"{uri}: the storage does not work now ({reason}); try again later")


def short_reason(error: Exception) -> str:
    """Return a short reason for an error, without any key."""
    match = _STATUS.search(str(error))
    return f"it answers {match[1]}" if match else "the connection fails"


def _fault_of_set_up(error: Exception, status: int | None) -> str:
    """Return what is wrong with a name or a variable; empty if they are not the cause."""
    text = str(error)
    if isinstance(error, InvalidPathError):
        key = text.partition('Path "')[2].partition('"')[0]
        return f"{key[:200]!r} is {_BAD_KEY}; copy the object to another key"
    if "/latest/api/token" in text or "/latest/meta-data" in text:
        return "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "BadScheme" in text:
        return "plain http is not allowed; set AWS_ENDPOINT_URL to http://... to allow it"
    if status is not None and status < 500 and status not in (401, 403, 408, 429):
        return f"the storage refuses the request ({status}); check AWS_ENDPOINT_URL and AWS_REGION"
    return ""


def encode_etag(meta: "ObjectMeta") -> str:
    """Return the ETag in the form of fingerprints. Raises CatalogueError if there is none."""
    etag = meta["e_tag"]
    if not etag:
        raise CatalogueError(
            "the storage sends no ETags, so changes cannot be detected; use another storage"
        )
    return quote(etag.strip('"'), safe="")
