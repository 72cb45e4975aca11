"""Lists the objects of a bucket with their sidecars, page by page, in the order of their keys."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import obstore

from pipeline.errors import CatalogueError, NotFound
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.files import StoredFile, is_raster
from pipeline.storage.locations import Location, State
from pipeline.storage.s3 import (
    OBSTORE_ERRORS,
    bucket_and_key,
    encode_etag,
    object_uri,
    open_bucket,
    translate_listing_errors,
    translate_obstore_error,
)
from pipeline.storage.sidecars import (
    SIDECAR_SUFFIXES,
    SidecarNames,
    add_sidecars,
    shortest_stem,
    stem_of,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PAGE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AFTER_SIDECARS = "`"
"""A character that sorts after "." and "_", which follow the stem of a sidecar, and before lower-case letters."""


class StoredObject(NamedTuple):
    """One object of a listing."""

    name: str
    """The last part of its key."""
    size: int
    etag: str
    modified_ns: int

    @property
    def version(self) -> str:
        """Size and ETag, as in fingerprints."""
        return f"{self.size:x}.{self.etag}"


def list_bucket_files(location: Location, roots: AllowedRoots) -> Iterator[StoredFile]:
    """Yield the rasters at a location in a bucket lazily, roughly in the order of their keys.

    A file may come after files whose names begin with its name. Raises NotFound or NotAllowed; CatalogueError or
    TransientError if the bucket cannot be listed.
    """
    roots.check(location.base)
    bucket, prefix = bucket_and_key(location.base)
    if location.pattern:
        yield from _below(bucket, prefix, location)
        return
    # A name with the suffix of a raster is more likely an object, any other name more likely a folder.
    ways = [_named, _below] if is_raster(prefix) else [_below, _named]
    for way in ways:
        files = way(bucket, prefix, location)
        first = next(files, None)
        if first is not None:
            yield first
            yield from files
            return
    raise NotFound("no object has this name or prefix (any more); check it")


def _below(bucket: str, prefix: str, location: Location) -> Iterator[StoredFile]:
    glob, depth = location.glob, len(prefix.split("/")) if prefix else 0

    @lru_cache(64)
    def reach(folder: str) -> State:
        return glob.reach(folder.split("/")[depth:] if folder else ())

    open_folders: list[_Folder] = []
    for folder, item in list_objects(bucket, prefix):
        while open_folders and not f"{folder}/".startswith(open_folders[-1].below):
            yield from open_folders.pop().rest()
        if not open_folders or open_folders[-1].path != folder:
            open_folders.append(_Folder(bucket, folder))
        yield from open_folders[-1].add(item, glob.takes(reach(folder), item.name))
    while open_folders:
        yield from open_folders.pop().rest()


def _named(bucket: str, key: str, _location: Location) -> Iterator[StoredFile]:
    """Yield the object with this key; its folder is listed from just before its stem, to find its sidecars."""
    folder, _, name = key.rpartition("/")
    stem = stem_of(name)
    waiting = _Folder(bucket, folder)
    for parent, item in list_objects(bucket, folder, key[: len(key) - len(name) + len(stem) - 1]):
        if parent == folder:
            if item.name > stem + _AFTER_SIDECARS:
                break
            yield from waiting.add(item, item.name == name)
    yield from waiting.rest()


def list_objects(bucket: str, prefix: str, start: str = "") -> Iterator[tuple[str, StoredObject]]:
    """Yield the folder and the object of each key below a prefix, from after `start` on.

    Raises CatalogueError or TransientError if the bucket cannot be listed.
    """
    with translate_listing_errors(object_uri(bucket, prefix)):
        store, offset = open_bucket(bucket), start or None
        for page in obstore.list(store, prefix or None, offset=offset, chunk_size=_PAGE):
            for meta in page:
                folder, _, name = meta["path"].rpartition("/")
                yield folder, _object(name, meta)


def find_named_object(location: Location, roots: AllowedRoots) -> StoredFile:
    """Return the object at a location, with its sidecars. Raises NotFound, NotAllowed and the errors of a listing."""
    roots.check(location.base)
    bucket, key = bucket_and_key(location.base)
    for file in _named(bucket, key, location):
        return file
    raise NotFound("no object has this name (any more); check it")


def find_object(bucket: str, key: str) -> StoredFile:
    """Return the present state of one object, without its sidecars.

    Raises NotFound, PermissionDenied, CatalogueError or TransientError.
    """
    uri = object_uri(bucket, key)
    try:
        item = _object(key, obstore.head(open_bucket(bucket), key))
    except OBSTORE_ERRORS as error:
        raise translate_obstore_error(error, uri) from error
    return StoredFile(uri, f"/{bucket}/{key}", item.size, item.version, item.modified_ns)


def _object(name: str, meta: "ObjectMeta") -> StoredObject:
    modified = (meta["last_modified"] - _EPOCH) // timedelta(microseconds=1) * 1000
    return StoredObject(name, meta["size"], encode_etag(meta), modified)


class _Folder:
    """Holds the objects of one folder until no more of their sidecars can follow.

    Names are sorted, so a sidecar is near its file. Therefore only few objects wait at a time, even in a large folder.
    """

    def __init__(self, bucket: str, path: str) -> None:
        self.path = path
        self.below = f"{path}/" if path else ""
        self._bucket = bucket
        self._last = ""
        self._waiting: list[StoredObject] = []
        self._sidecars: list[StoredObject] = []

    def add(self, item: StoredObject, wanted: bool) -> Iterator[StoredFile]:
        """Add the next object, and yield the files that need not wait any longer."""
        name = item.name
        if name < self._last:
            raise CatalogueError(
                f"{object_uri(self._bucket, self.path)}: the storage does not list keys in the order of S3, so "
                "sidecars could be missed; use another storage"
            )
        self._last = name
        if self._waiting or self._sidecars:
            yield from self._complete(name)
        if wanted:
            self._waiting.append(item)
        if name.lower().endswith(SIDECAR_SUFFIXES):
            self._sidecars.append(item)

    def _complete(self, name: str) -> list[StoredFile]:
        """Return the files whose sidecars all come before `name`; delete sidecars to which no later file can belong."""
        complete = [item for item in self._waiting if name > stem_of(item.name) + _AFTER_SIDECARS]
        files = [self._file(item) for item in complete]
        if complete:
            self._waiting = [item for item in self._waiting if item not in complete]
        near = (name <= shortest_stem(item.name) + _AFTER_SIDECARS for item in self._sidecars)
        self._sidecars = list(compress(self._sidecars, near))
        return files

    def rest(self) -> Iterator[StoredFile]:
        """Yield the files that are still waiting at the end of the folder."""
        return (self._file(item) for item in self._waiting)

    def _file(self, item: StoredObject) -> StoredFile:
        key = f"{self.below}{item.name}"
        by_name = {sidecar.name: sidecar for sidecar in self._sidecars}
        sidecars = [by_name[name] for name in SidecarNames(by_name).of(item.name)]
        return StoredFile(
            object_uri(self._bucket, key),
            f"/{self._bucket}/{key}",
            item.size,
            add_sidecars(item.version, [sidecar[:3] for sidecar in sidecars]),
            item.modified_ns,
            tuple(sidecar.name for sidecar in sidecars),
        )
