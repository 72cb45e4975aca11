"""Lists the files of folders: each once by its real path, with its sidecars, inside the roots."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import NotAFile, NotAllowed, RasterError, Rejection
from pipeline.storage.allowed_roots import AllowedRoots, Root
from pipeline.storage.files import RASTER_SUFFIXES, StoredFile, file_uri, translate_os_error
from pipeline.storage.locations import Glob, Location
from pipeline.storage.sidecars import SidecarNames, add_sidecars

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
"""Names that look the same in a URI."""

ListedItem = StoredFile | Rejection
State = frozenset[int] | None
"""That of a glob in a folder; None where all rasters below are meant."""
Visit = tuple[str, State]
"""A folder to be listed."""


class FolderLister:
    """The files of places in folders; a folder that is meant whole is walked once for all of them."""

    def __init__(self, allowed: AllowedRoots) -> None:
        self._allowed = allowed
        self._walked: set[str] = set()
        self._siblings = _Folder("/", ())

    def files_at(self, place: Location) -> Iterator[ListedItem]:
        """The files of a place, and what could not be listed below it.

        Raises RasterError or OSError where the place itself cannot be looked at.
        """
        real = self._allowed.resolve(place.base)
        if place.pattern or os.path.isdir(real):
            glob = place.glob if place.pattern else None
            yield from _Walk(self._allowed, self._walked, real, glob).files()
            return
        folder, _, name = real.rpartition("/")
        if self._siblings.path != (folder or "/"):
            self._siblings = _listed(folder or "/")
        yield self._siblings.file(name, os.stat(real), self._allowed)


def find_file(path: Path, roots: Sequence[Root]) -> StoredFile:
    """The one file at `path`, whatever its name.

    Raises NotFound, PermissionDenied, NotAFile, NotAllowed or Unreadable.
    """
    allowed = AllowedRoots(roots)
    try:
        return _named(allowed.resolve(path), allowed)
    except OSError as error:
        raise translate_os_error(error) from error


def current_fingerprint(file: StoredFile) -> str:
    """The fingerprint of the file and its known sidecars as they are now.

    Raises NotFound, PermissionDenied or Unreadable.
    """
    try:
        status = os.lstat(file.location)
        return _fingerprint(status, file.location.rpartition("/")[0] + "/", file.sidecars)
    except OSError as error:
        raise translate_os_error(error) from error


def own_fingerprint(status: os.stat_result) -> str:
    """The part of a fingerprint that is the file's own; the sidecars' follows after a plus sign."""
    return f"{status.st_size:x}.{status.st_mtime_ns:x}"


class _Walk:
    """All raster files below one folder, or what a glob matches there."""

    def __init__(
        self, allowed: AllowedRoots, walked: set[str], top: str, glob: Glob | None
    ) -> None:
        self._allowed = allowed
        self._walked = walked
        self._top = top
        self._glob = glob
        self._linked: set[str] = set()

    def files(self) -> Iterator[ListedItem]:
        """The files, and what could not be listed."""
        glob = self._glob
        tops: list[Visit] = [] if glob else [(self._top, None)]
        if glob:
            tops = self._visits(self._top, glob.start, glob)
        pending: list[Iterator[ListedItem | Visit]] = [iter(tops)]
        # A stack, as folders can be nested more deeply than Python may recurse.
        while pending:
            item = next(pending[-1], None)
            if item is None:
                pending.pop()
            elif not isinstance(item, tuple):
                yield item
            elif item[1] is not None:
                pending.append(self._entries(*item))
            elif item[0] not in self._walked:
                self._walked.add(item[0])
                pending.append(self._entries(*item))

    def _entries(self, path: str, state: State) -> Iterator[ListedItem | Visit]:
        """The files of one folder, and the folders in it."""
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            yield reject_unlisted(file_uri(path), error)
            return
        folder = _Folder(path, (entry.name for entry in entries))
        while entries:
            entry = entries.pop()  # with the status that it keeps: a folder may hold a million
            try:
                if state is None:
                    yield from self._entry(entry, folder)
                elif self._glob and (after := self._glob.after(state, entry.name)):
                    yield from self._matched(entry, folder, state, after, self._glob)
            except (RasterError, OSError) as error:
                yield reject_unlisted(file_uri(self._unseen(entry.path)), error)

    def _entry(self, entry: os.DirEntry[str], folder: "_Folder") -> Iterable[ListedItem | Visit]:
        if entry.is_symlink():
            return self._link(entry)
        if entry.is_dir(follow_symlinks=False):
            return ((entry.path, None),)
        if not entry.name.lower().endswith(RASTER_SUFFIXES) or entry.path in self._linked:
            return ()
        return (folder.file(entry.name, entry.stat(follow_symlinks=False), self._allowed),)

    def _link(self, entry: os.DirEntry[str]) -> Iterable[ListedItem | Visit]:
        """What a symlink leads to, unless the walk comes there by itself."""
        named = entry.name.lower().endswith(RASTER_SUFFIXES)
        real = self._resolved(entry, file=named, folder=True)
        if real is None:
            return ()
        if os.path.isdir(real):
            return () if self._comes_by(f"{real}/") else ((real, None),)
        by_itself = real.lower().endswith(RASTER_SUFFIXES) and self._comes_by(real)
        if not named or by_itself or real in self._linked:
            return ()
        self._linked.add(real)
        return (_named(real, self._allowed),)

    def _resolved(self, entry: os.DirEntry[str], *, file: bool, folder: bool) -> str | None:
        """Where a symlink leads; None where that cannot be said and neither a file nor a folder is meant.

        Raises NotAllowed or OSError. A link that leads nowhere may have led to a folder, unless the walk comes to where
        that was.
        """
        try:
            return self._allowed.resolve(entry.path)
        except NotAllowed:
            if file or (folder and entry.is_dir()):
                raise
        except OSError:
            if file or (folder and not self._sees(os.path.realpath(entry.path), entry.path)):
                raise
        return None

    def _unseen(self, path: str) -> str:
        """The path under which that is known which could not be looked at: where a link leads.

        It is the link's own where the walk sees by itself whether anything is there.
        """
        real = os.path.realpath(path)
        return path if self._sees(real, path) else real

    def _sees(self, real: str, path: str) -> bool:
        """Whether the walk sees what is at a real path, or in the folder of the link that leads there."""
        return os.path.dirname(real) == os.path.dirname(path) or self._comes_by(real)

    def _comes_by(self, real: str) -> bool:
        """Whether the walk comes to a file, or to a folder that ends with a slash: one above it is walked whole."""
        while len(real) > 1:
            real = os.path.dirname(real)
            if real in self._walked:
                return True
        return False

    def _matched(
        self,
        entry: os.DirEntry[str],
        folder: "_Folder",
        before: frozenset[int],
        after: frozenset[int],
        glob: Glob,
    ) -> Iterable[ListedItem | Visit]:
        """What an entry adds whose name brings the glob from one state to the other."""
        meant = glob.takes_file(after)
        if entry.is_symlink():
            linked = glob.after(before, entry.name, linked=True)
            real = self._resolved(entry, file=meant, folder=bool(linked))
            if real and os.path.isdir(real):
                return self._visits(real, linked, glob)
            return (_named(real, self._allowed),) if real and meant else ()
        if entry.is_dir(follow_symlinks=False):
            return self._visits(entry.path, after, glob)
        if not meant:
            return ()
        return (folder.file(entry.name, entry.stat(follow_symlinks=False), self._allowed),)

    def _visits(self, path: str, state: frozenset[int], glob: Glob) -> list[Visit]:
        """A folder that is meant is walked whole; a glob that goes on below it is followed too."""
        below = glob.below(state)
        return [
            *([(path, None)] if glob.takes_folder(state) else []),
            *([(path, below)] if below else []),
        ]


class _Folder:
    """A folder and the names of the sidecars in it."""

    def __init__(self, path: str, names: Iterable[str]) -> None:
        self.path = path
        self._below = path.rstrip("/") + "/"
        self._uri_below = file_uri(self._below)
        self._sidecars = SidecarNames(names)

    def file(self, name: str, status: os.stat_result, allowed: AllowedRoots) -> StoredFile:
        """The file of this name and status; raises NotAFile or, for its sidecars, NotAllowed."""
        location = self._below + name
        _require_regular(status)
        uri = self._uri_below + name if _PLAIN.fullmatch(name) else file_uri(location)
        sidecars = self._sidecars.of(name)
        for sidecar in sidecars:
            _check_sidecar(self._below + sidecar, allowed)
        fingerprint = _fingerprint(status, self._below, sidecars)
        return StoredFile(uri, location, status.st_size, fingerprint, status.st_mtime_ns, sidecars)


def _named(real: str, allowed: AllowedRoots) -> StoredFile:
    """The file of a real path, whatever its name."""
    folder, _, name = real.rpartition("/")
    return _listed(folder or "/").file(name, os.stat(real), allowed)


def _listed(folder: str) -> _Folder:
    return _Folder(folder, os.listdir(folder))


def _check_sidecar(path: str, allowed: AllowedRoots) -> None:
    """GDAL opens sidecars by itself, so that they must be as harmless as the file."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        status = os.stat(allowed.resolve(path))
    _require_regular(status)


def _require_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotAFile("this is a folder; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile("this is a pipe, socket or device; name a file")


def _fingerprint(status: os.stat_result, below: str, sidecars: Sequence[str]) -> str:
    """Of the file, and of the sidecars that are still there; one that went away changes it."""
    own = own_fingerprint(status)
    if not sidecars:
        return own
    parts = []
    for name in sidecars:
        with suppress(FileNotFoundError):
            beside = os.stat(below + name)
            parts.append((name, beside.st_size, beside.st_mtime_ns))
    return add_sidecars(own, parts)


def reject_unlisted(uri: str, error: RasterError | OSError) -> Rejection:
    """A file or folder that cannot be listed, as a fact."""
    problem = translate_os_error(error) if isinstance(error, OSError) else error
    return Rejection(uri, problem.code, problem.message)
