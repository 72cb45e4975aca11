"""Lists the files of folders and the objects of buckets, each once, and finds given files of web servers."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from pipeline.errors import FileChanged, RasterError, Rejection
from pipeline.storage.allowed_roots import AllowedRoots, Root
from pipeline.storage.files import S3, StoredFile, path_of, reject_unlisted, translate_os_error
from pipeline.storage.local import FolderLister, ListedItem
from pipeline.storage.locations import Location, literal_location
from pipeline.storage.s3_listing import list_bucket_files
from pipeline.storage.web_files import find_web_file


def list_files(
    locations: Sequence[Location], roots: Sequence[Root], *, repeat: bool = False
) -> Iterator[ListedItem]:
    """Yield the raster files at `locations`: a given file, or all rasters below a folder or prefix.

    It is lazy, and yields files in the order of `locations`, and by name within a folder. A file is identified by its
    real path. It is yielded once, even if several locations or links lead to it; with `repeat`, once for each location
    that gives it. An unreadable folder yields a Rejection, because the files below it are unknown. A path outside
    `roots` also yields a Rejection. Raises CatalogueError or TransientError if a bucket cannot be listed.
    """
    items = _list_all(locations, AllowedRoots(roots))
    # A single folder or prefix yields no file twice, so it needs no memory for this.
    several = len(locations) > 1 or any(item.pattern and not item.in_bucket for item in locations)
    return unique(items) if several and not repeat else items


def find_registered_file(uri: str, fingerprint: str, roots: Sequence[Root]) -> StoredFile:
    """Return a registered file without reading its content.

    Its folder is listed only if it had sidecars. Raises RasterError, CatalogueError or TransientError.
    """
    if "+" not in fingerprint:
        file = StoredFile(uri, path_of(uri), int(fingerprint.partition(".")[0], 16), fingerprint, 0)
        _require_real_path(file, AllowedRoots(roots))
        return file
    (listed,) = list_files([literal_location(uri)], roots)
    if isinstance(listed, Rejection):
        raise RasterError(listed.message, listed.code)
    if listed.fingerprint != fingerprint:
        raise FileChanged.since_registered()
    return listed


def _require_real_path(file: StoredFile, roots: AllowedRoots) -> None:
    """Raise FileChanged if a link leads elsewhere now, NotAllowed if the file lies outside the roots."""
    if file.is_remote:
        roots.check(f"s3:/{file.real_path}" if file.uri.startswith(S3) else file.uri)
        return
    try:
        if roots.resolve(file.real_path) != file.real_path:
            raise FileChanged.since_registered()
    except OSError as error:
        raise translate_os_error(error) from error


def _list_all(locations: Sequence[Location], roots: AllowedRoots) -> Iterator[ListedItem]:
    folders = FolderLister(roots)
    for location in locations:
        try:
            if location.in_bucket:
                yield from list_bucket_files(location, roots)
            elif location.on_web:
                yield find_web_file(location.base, roots)
            else:
                yield from folders.files_at(location)
        except (RasterError, OSError) as error:
            yield reject_unlisted(location.real_uri, error)


def unique(items: Iterator[ListedItem]) -> Iterator[ListedItem]:
    """Yield each URI once; it stores digests, because a million names would take more memory."""
    seen: set[bytes] = set()
    for item in items:
        digest = blake2b(item.uri.encode(), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield item
