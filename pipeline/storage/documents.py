"""Reads whole documents, such as those of a STAC catalogue, from a folder, a bucket or a web server."""

import re
from pathlib import Path
from urllib.parse import urljoin

from obstore import get

from pipeline.errors import CatalogueError, NotAllowed, OverBudget, RasterError, Unreachable
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.files import S3, WEB, file_uri, path_of, translate_os_error
from pipeline.storage.local import require_regular
from pipeline.storage.s3 import (
    OBSTORE_ERRORS,
    bucket_and_key,
    open_bucket,
    translate_obstore_error,
)
from pipeline.storage.web_files import web_url

_SECONDS = 120.0
"""Time limit in seconds for one document and its retries."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def resolve_link(base: str, link: str) -> str:
    """Return the URI of a link in the document at `base`; it may have any scheme, or be invalid."""
    if own := _SCHEME.match(link):
        return f"{own[0].lower()}{link[own.end() :]}"
    scheme, _, rest = base.partition("://")
    try:  # urljoin joins paths only of the schemes that it knows
        joined = urljoin(f"http://{rest if scheme != 'file' else f'localhost{rest}'}", link)
    except ValueError:
        return link
    target = joined.removeprefix("http://")
    return f"{scheme}://{target if scheme != 'file' else target.removeprefix('localhost')}"


def document_uri(name: str) -> str:
    """Return the URI of a document that the user gave as a path or a URL. Raises CatalogueError."""
    if name.lower().startswith(WEB):
        return web_url(name, query=True)
    return name if name.startswith((S3, "file://")) else file_uri(Path(name).resolve())


def home_of(uri: str) -> str:
    """Return the root to which the links of a document may always lead: its server, its bucket or its folder."""
    if uri.startswith((S3, *WEB)):
        return "/".join(uri.split("/", 3)[:3]) + "/"
    return path_of(uri).rpartition("/")[0] or "/"


def read_document(
    uri: str, roots: AllowedRoots, most: int, body: bytes | None = None
) -> tuple[str, bytes]:
    """Return the URI of a document, after redirects, and its bytes; POST a body to a web server if there is one.

    Raises a RasterError: NotAllowed outside the roots, OverBudget for more than `most` bytes, NotFound and others.
    Raises TransientError if a bucket does not answer.
    """
    if uri.startswith(WEB):
        return _read_from_web(uri, roots, most, body)
    if uri.startswith(S3):
        roots.check(f"s3:/{path_of(uri)}")
        return uri, _read_object(uri, most)
    if not uri.startswith("file:///") or "\0" in path_of(uri):
        raise NotAllowed(
            "documents are read only from folders, buckets and web servers; give a path, or an s3:// or https:// URL"
        )
    try:
        path = Path(roots.resolve(path_of(uri)))
        status = path.stat()
        require_regular(status)
        _require_small(status.st_size, most)
        return file_uri(path), path.read_bytes()
    except OSError as error:
        raise translate_os_error(error) from error


def _read_from_web(
    uri: str, roots: AllowedRoots, most: int, body: bytes | None
) -> tuple[str, bytes]:
    # Import here, because most processes read no documents from web servers.
    from pipeline.storage.web import web_client

    def check(target: str) -> str:
        try:
            url = web_url(target, query=True)
        except CatalogueError as error:
            raise NotAllowed(str(error)) from error
        roots.check(url.partition("?")[0])
        return url

    headers = {"Accept": "application/geo+json, application/json;q=0.9, */*;q=0.5"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    answer = web_client().fetch(
        check(uri), seconds=_SECONDS, most=most, headers=headers, body=body, check=check
    )
    if answer.status >= 300:
        raise Unreachable(f"its server refuses the request ({answer.status}); check its URL")
    return answer.url, answer.body


def _read_object(uri: str, most: int) -> bytes:
    try:
        bucket, key = bucket_and_key(S3 + path_of(uri)[1:])
    except CatalogueError as error:
        raise NotAllowed(str(error)) from error
    try:
        result = get(open_bucket(bucket), key)
        _require_small(result.meta["size"], most)
        return bytes(result.bytes())
    except RasterError:
        raise
    except OBSTORE_ERRORS as error:
        problem = translate_obstore_error(error, uri)
        if isinstance(
            problem, CatalogueError
        ):  # the bucket of this link, among others, cannot be read
            problem = Unreachable(str(problem))
        raise problem from error


def _require_small(size: int, most: int) -> None:
    if size > most:
        raise OverBudget(f"it has more than {most} bytes; raise RASTERSOURCES_STAC_DOCUMENT_BYTES")
