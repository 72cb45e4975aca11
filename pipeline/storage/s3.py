"""Buckets of object storage (S3): names, URIs, connections, and what their errors mean."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_from_bytes

from pipeline.errors import (
    CatalogueError,
    FileChanged,
    NotFound,
    PermissionDenied,
    RastersourcesError,
    TransientError,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

# obstore is imported where it is used: whoever has no bucket does not wait for it.

S3 = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_STATUS = re.compile(r"status code: (\d{3})")
_RETRIES = 10
_SECONDS = 60.0
_NAMELESS = "no key that obstore can name: an empty part, `.`, `..` or a control character"


def bucket_and_key(base: str) -> tuple[str, str]:
    """The two parts of `s3://bucket/key`, which is not percent-encoded.

    Raises CatalogueError where it cannot be the name of an object or prefix.
    """
    bucket, _, key = base.removeprefix(S3).partition("/")
    key = key.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise CatalogueError(f'"{base}" names no bucket; write s3://bucket/prefix')
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\0-\x1f\x7f]", key):
        raise CatalogueError(f'"{base}" is {_NAMELESS}; copy the objects to other keys')
    return bucket, key


def object_uri(bucket: str, key: str) -> str:
    """The `s3://` URI of an object or prefix; every character of the key survives."""
    return f"{S3}{bucket}/{quote_from_bytes(os.fsencode(key))}"


@cache
def open_bucket(bucket: str, seconds: float = _SECONDS) -> "S3Store":
    """A connection to a bucket, by the AWS_* variables of the environment; opened when it is used.

    One request may take `seconds`, and is tried again for as long. Raises CatalogueError where the
    variables cannot be used.
    """
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    try:
        return S3Store(
            bucket,
            client_options={"allow_http": _allow_http(), "timeout": timedelta(seconds=seconds)},
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=seconds)},
        )
    except (BaseError, ValueError) as error:
        raise CatalogueError(
            f"the AWS_ variables for object storage cannot be used: {_brief(error)}"
        ) from error


def _allow_http() -> bool:
    """Whether the endpoint is one of plain http, which has to be said in full. Raises CatalogueError."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if endpoint := os.environ.get(name):
            if not re.match(r"https?://[^/]", endpoint):
                raise CatalogueError(f"{name} is no URL; write https://host or http://host:port")
            return endpoint.startswith("http://")
    return False


@contextmanager
def translate_listing_errors(uri: str) -> Iterator[None]:
    """Turns what goes wrong in a listing into CatalogueError or TransientError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise _listing_error(uri, error) from error


def _listing_error(uri: str, error: Exception) -> RastersourcesError:
    match translate_obstore_error(error, uri):
        case NotFound():
            return CatalogueError(f"{uri}: the bucket is not there; check its name")
        case PermissionDenied():
            return CatalogueError(
                f"{uri} may not be listed; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights"
            )
        case problem:
            return problem


def translate_obstore_error(error: Exception, uri: str) -> RastersourcesError:
    """What an error of obstore means; nothing of the storage's answer is repeated, which may hold keys."""
    text = str(error)
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound("the object is not there (any more); check its name or list again")
    if status in (412, 416):
        return FileChanged("the object changed since it was listed; list and read it again")
    if fault := _fault_of_set_up(error, status):
        return CatalogueError(f"{uri}: {fault}")
    if status in (401, 403):
        return PermissionDenied(
            "these credentials may not read it; check AWS_ACCESS_KEY_ID and its rights"
        )
    reason = short_reason(error)
    return TransientError(
        f"{uri}: the storage does not answer as it should ({reason}); try again later"
    )


def short_reason(error: Exception) -> str:
    """What went wrong, in three words that name no key."""
    found = _STATUS.search(str(error))
    return f"it answers {found[1]}" if found else "the connection fails"


def _fault_of_set_up(error: Exception, status: int | None) -> str:
    """What is wrong with a name or a variable; nothing where that is not at fault."""
    from obstore.exceptions import InvalidPathError

    text = str(error)
    if isinstance(error, InvalidPathError):
        key = text.partition('Path "')[2].partition('"')[0]
        return f"{key[:200]!r} is {_NAMELESS}; copy the object to another key"
    if "/latest/api/token" in text or "/latest/meta-data" in text:
        return "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "BadScheme" in text:
        return "plain http is not allowed; set AWS_ENDPOINT_URL to http://... to allow it"
    if status is not None and status < 500 and status not in (401, 403, 408, 429):
        return f"the storage refuses the request ({status}); check AWS_ENDPOINT_URL and AWS_REGION"
    return ""


def encode_etag(meta: "ObjectMeta") -> str:
    """The ETag without its quotes, as part of a fingerprint. Raises CatalogueError where there is none."""
    etag = meta["e_tag"]
    if not etag:
        raise CatalogueError(
            "the storage gives no ETags, without which changes stay unseen; use another one"
        )
    return quote(etag.strip('"'), safe="")


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
