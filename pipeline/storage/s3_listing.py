"""Lists the objects of a bucket: sorted as the bucket sorts them, page by page, each with its sidecars."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import CatalogueError, NotFound, Rejection
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.files import RASTER_SUFFIXES, StoredFile
from pipeline.storage.locations import Location
from pipeline.storage.s3 import (
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
_BEHIND = "`"
"""Follows "." and "_", with which a sidecar goes on behind the stem, and precedes all small letters."""


class StoredObject(NamedTuple):
    """What a listing says of one object."""

    name: str
    """The last part of its key."""
    size: int
    etag: str
    modified_ns: int

    @property
    def version(self) -> str:
        """Size and ETag, as in fingerprints."""
        return f"{self.size:x}.{self.etag}"


def list_bucket_files(place: Location, allowed: AllowedRoots) -> Iterator[StoredFile | Rejection]:
    """The objects of a place. Raises CatalogueError or TransientError where the listing fails.

    Lazy, in the order of the bucket; a file may come behind those whose names begin with its own.
    """
    allowed.check(place.base)
    bucket, prefix = bucket_and_key(place.base)
    if place.pattern:
        yield from _below(bucket, prefix, place)
        return
    # A name that ends as a raster's does is looked up first, any other one is a folder's first.
    looks = [_named, _below] if prefix.lower().endswith(RASTER_SUFFIXES) else [_below, _named]
    for look in looks:
        found = look(bucket, prefix, place)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
            return
    raise NotFound("nothing lies there (any more); check its name or list again")


def _below(bucket: str, prefix: str, place: Location) -> Iterator[StoredFile]:
    wanted = _Wanted(place, prefix)
    open_folders: list[_Folder] = []
    for folder, found in list_objects(bucket, prefix):
        while open_folders and not f"{folder}/".startswith(open_folders[-1].below):
            yield from open_folders.pop().rest()
        if not open_folders or open_folders[-1].path != folder:
            open_folders.append(_Folder(bucket, folder))
        yield from open_folders[-1].add(found, wanted(folder, found.name))
    while open_folders:
        yield from open_folders.pop().rest()


def _named(bucket: str, key: str, _place: Location) -> Iterator[StoredFile]:
    """The one object of this key, found by listing its folder from just before its name."""
    folder, _, name = key.rpartition("/")
    start = key[: len(key) - len(name) + len(stem_of(name)) - 1]
    waiting = _Folder(bucket, folder)
    for where, found in list_objects(bucket, folder, start):
        if where == folder:
            if found.name > stem_of(name) + _BEHIND:
                break
            yield from waiting.add(found, found.name == name)
    yield from waiting.rest()


def list_objects(bucket: str, prefix: str, start: str = "") -> Iterator[tuple[str, StoredObject]]:
    """Folder and object, for all that lies below a prefix, or those of them that follow `start`.

    Raises CatalogueError or TransientError where the listing fails.
    """
    import obstore

    uri = object_uri(bucket, prefix)
    with translate_listing_errors(uri):
        pages = obstore.list(
            open_bucket(bucket), prefix or None, offset=start or None, chunk_size=_PAGE
        )
        for page in pages:
            for meta in page:
                folder, _, name = meta["path"].rpartition("/")
                yield folder, _object(name, meta)


def find_object(bucket: str, key: str) -> StoredFile:
    """One object as it is now, without what may lie beside it.

    Raises NotFound, PermissionDenied, CatalogueError or TransientError.
    """
    import obstore
    from obstore.exceptions import BaseError

    uri = object_uri(bucket, key)
    try:
        found = _object(key, obstore.head(open_bucket(bucket), key))
    except (BaseError, OSError, ValueError) as error:
        raise translate_obstore_error(error, uri) from error
    return StoredFile(uri, f"/{bucket}/{key}", found.size, found.version, found.modified_ns)


def _object(name: str, meta: "ObjectMeta") -> StoredObject:
    modified = (meta["last_modified"] - _EPOCH) // timedelta(microseconds=1) * 1000
    return StoredObject(name, meta["size"], encode_etag(meta), modified)


class _Wanted:
    """Whether an object is meant by a place, by the folder that it lies in and its name."""

    def __init__(self, place: Location, prefix: str) -> None:
        self._glob = place.glob if place.pattern else None
        self._depth = len(prefix.split("/")) if prefix else 0
        self._reached = lru_cache(64)(self._reach)

    def __call__(self, folder: str, name: str) -> bool:
        if self._glob is None:
            return name.lower().endswith(RASTER_SUFFIXES)
        state, whole = self._reached(folder)
        if whole and name.lower().endswith(RASTER_SUFFIXES):
            return True
        return bool(state) and self._glob.takes_file(self._glob.after(state, name))

    def _reach(self, folder: str) -> tuple[frozenset[int], bool]:
        """The state of the glob in a folder, and whether the folder is meant with all below it."""
        glob = self._glob
        assert glob is not None
        state, whole = glob.start, glob.takes_folder(glob.start)
        for name in folder.split("/")[self._depth :] if folder else ():
            after = glob.after(state, name)
            whole = whole or glob.takes_folder(after)
            state = glob.below(after)
        return state, whole


class _Folder:
    """Objects of one folder that wait until no sidecar of theirs can follow.

    In the order of names a sidecar lies near its file, so that few wait at a time, however many
    objects the folder has.
    """

    def __init__(self, bucket: str, path: str) -> None:
        self.path = path
        self.below = f"{path}/" if path else ""
        self._bucket = bucket
        self._last = ""
        self._waiting: list[StoredObject] = []
        self._sidecars: list[StoredObject] = []

    def add(self, found: StoredObject, wanted: bool) -> Iterator[StoredFile]:
        """Take the next object; those that need not wait longer."""
        name = found.name
        if name < self._last:
            raise CatalogueError(
                f"{object_uri(self._bucket, self.path)}: the storage does not list keys in their order, "
                "as S3 does; sidecars could be missed"
            )
        self._last = name
        if self._waiting or self._sidecars:
            yield from self._released(name)
        if wanted:
            self._waiting.append(found)
        if name.lower().endswith(SIDECAR_SUFFIXES):
            self._sidecars.append(found)

    def _released(self, name: str) -> list[StoredFile]:
        done = [one for one in self._waiting if name > stem_of(one.name) + _BEHIND]
        files = [self._file(one) for one in done]
        if done:
            self._waiting = [one for one in self._waiting if one not in done]
        if self._sidecars:
            self._sidecars = [
                one for one in self._sidecars if name <= shortest_stem(one.name) + _BEHIND
            ]
        return files

    def rest(self) -> Iterator[StoredFile]:
        """Those that still wait, when the folder is at its end."""
        return (self._file(one) for one in self._waiting)

    def _file(self, found: StoredObject) -> StoredFile:
        key = f"{self.below}{found.name}"
        sidecars = self._beside(found.name) if self._sidecars else ()
        parts = [(one.name, one.size, one.etag) for one in sidecars]
        return StoredFile(
            object_uri(self._bucket, key),
            f"/{self._bucket}/{key}",
            found.size,
            add_sidecars(found.version, parts),
            found.modified_ns,
            tuple(one.name for one in sidecars),
        )

    def _beside(self, name: str) -> Sequence[StoredObject]:
        by_name = {one.name: one for one in self._sidecars}
        return [by_name[sidecar] for sidecar in SidecarNames(by_name).of(name)]
