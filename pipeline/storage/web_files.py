"""Reads files of web servers: their URLs, fingerprints and byte ranges."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from pipeline.errors import CatalogueError, FileChanged, NotAllowed, UnsuitableServer
from pipeline.storage.byte_range import ByteRange
from pipeline.storage.files import LONGEST_URI, WEB, StoredFile, path_of

if TYPE_CHECKING:
    from pipeline.storage.allowed_roots import AllowedRoots
    from pipeline.storage.web import CheckURL

_HOST = re.compile(r"[a-z0-9][a-z0-9._-]{0,252}|[0-9a-f:.]*:[0-9a-f:.]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:@!$&'()*+,;=~"
"""Characters of a path that are not percent-encoded, other than letters, digits, `-`, `.` and `_`."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})")
_LAST_TIME_NS = 2**63 - 1
_SHARE = 0.8
"""Share of a file's time limit for one range and its retries."""
_SECONDS_TO_FIND = 30.0


def web_url(text: str, *, query: bool = False) -> str:
    """Return the URL of a file on a web server in its canonical spelling; with `query` it may have a query.

    Raises CatalogueError.
    """
    shown = shown_uri(text)[:200]
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise CatalogueError(f'"{shown}" is not a URL; write https://host/path') from error
    if f"{parts.scheme}://" not in WEB or not _HOST.fullmatch(host):
        raise CatalogueError(f'"{shown}" does not name a web server; write https://host/path')
    if "@" in parts.netloc:
        raise CatalogueError(
            "the URL contains a user or a password, which would be stored; remove it"
        )
    if not query and (parts.query or "?" in text):
        raise CatalogueError(
            f'"{shown}" has a query, which is often a key that expires; give a URL without a query'
        )
    decoded = unquote(parts.path, errors="surrogateescape")
    if {".", ".."} & set(re.split(r"[/\\]", decoded)) or re.search(r"[\0-\x1f\x7f]", decoded):
        raise CatalogueError(f'"{shown}" has `.`, `..` or a control character; remove it')
    name = f"[{host}]" if ":" in host else host
    where = name if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{name}:{port}"
    query_string = f"?{parts.query}" if parts.query else ""
    path = quote(parts.path or "/", safe=_SAFE, errors="surrogateescape")
    url = f"{parts.scheme}://{where}{path}{query_string}"
    if not query and len(url) > LONGEST_URI:
        raise CatalogueError(f'"{shown}" has more than {LONGEST_URI} characters; shorten it')
    return url


def shown_uri(uri: str) -> str:
    """Return a URI to show and store: without user, password, query and fragment, cut at LONGEST_URI."""
    scheme, colon, rest = uri.partition(":")
    if not rest.startswith("//"):
        return f"{quote(scheme[:20])}{colon}"
    place, asks, _ = rest[2:].partition("#")[0].partition("?")
    host, slash, path = place.partition("/")
    server = quote(host.rpartition("@")[2], safe=":[]")
    shown = f"{quote(scheme)}://{server}{slash}{quote(path, safe='/%', errors='replace')}{asks and '?...'}"
    return shown if len(shown) <= LONGEST_URI else f"{shown[:LONGEST_URI]}..."


def find_web_file(url: str, roots: "AllowedRoots") -> StoredFile:
    """Return the present state of a file on a web server; a redirect within the roots is followed once, like a link.

    It requests one byte, to find size, version and whether the server supports ranges. Raises a RasterError.
    """

    def check(target: str) -> str:
        try:
            checked_url = web_url(target)
            roots.check(checked_url)
        except (CatalogueError, NotAllowed) as error:
            raise NotAllowed(
                f"its server redirects to {shown_uri(target)[:200]}: {error}"
            ) from error
        return checked_url

    roots.check(url)
    part, found, headers = _get(url, 0, 1, _SECONDS_TO_FIND, check)
    modified_ns = min((_modified(headers) or 0) * 10**9, _LAST_TIME_NS)
    return StoredFile(found, path_of(found), part.size, part.version, modified_ns)


def get_web_range(
    uri: str, start: int, stop: int, _version: str | None, seconds: float
) -> ByteRange:
    """Return the bytes from `start` to `stop` of a file on a web server, or fewer at its end.

    The request does not require a version; the caller compares the version of the answer. Raises a RasterError.
    """
    return _get(uri, start, stop, seconds * _SHARE)[0]


def _get(
    url: str, start: int, stop: int, seconds: float, check: "CheckURL | None" = None
) -> tuple[ByteRange, str, Mapping[str, str]]:
    """Return a range, its URL after redirects, and the headers of the answer."""
    # Import here, because most processes read no files from web servers.
    from pipeline.storage.web import refuse_redirects, web_client

    answer = web_client().fetch(
        url,
        seconds=seconds,
        most=stop - start,
        headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
        check=check or refuse_redirects,
    )
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.headers.get("content-encoding", "identity") != "identity" or match is None:
        raise UnsuitableServer(
            "its server does not send the header Content-Range; copy the file elsewhere"
        )
    size = int(match[2])
    if (match[1] is None and size > start) or (match[1] is not None and int(match[1]) != start):
        raise FileChanged.since_listed("the file")
    return ByteRange(answer.body, size, _version_of(answer.headers)), answer.url, answer.headers


def _version_of(headers: Mapping[str, str]) -> str:
    """Return the ETag in the form of fingerprints; without an ETag, the time of the last modification."""
    if etag := headers.get("etag"):
        return quote(etag.replace('"', ""), safe="")
    modified = _modified(headers)
    if modified is None:
        raise UnsuitableServer(
            "its server sends neither ETag nor Last-Modified, so changes cannot be detected; "
            "copy the file elsewhere"
        )
    return f"modified-{modified:x}"


def _modified(headers: Mapping[str, str]) -> int | None:
    """Return the time of the last modification in seconds since 1970."""
    try:
        time = parsedate_to_datetime(headers.get("last-modified", ""))
    except ValueError:
        return None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
