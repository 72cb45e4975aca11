"""Lists the files of folders with their sidecars, each once according to its real path."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import NotAFile, RasterError, Rejection
from pipeline.storage.allowed_roots import AllowedRoots, Root
from pipeline.storage.files import StoredFile, file_uri, reject_unlisted, translate_os_error
from pipeline.storage.locations import Glob, Location, State
from pipeline.storage.sidecars import SidecarNames, add_sidecars

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
"""A regular expression for names that need no encoding in a URI."""

ListedItem = StoredFile | Rejection
Visit = tuple[str, State]
"""A folder to list, and the state of the glob in it."""


class FolderLister:
    """Lists the files of locations in folders; it walks a folder once, even if several locations contain it."""

    def __init__(self, roots: AllowedRoots) -> None:
        self.roots = roots
        self.walked: set[str] = set()
        """Folders of which all rasters were listed."""
        self._siblings = _Folder("", ())

    def files_at(self, location: Location) -> Iterator[ListedItem]:
        """Yield the files of a location, and a rejection for each file or folder that cannot be listed.

        Raises RasterError or OSError if the location itself cannot be read.
        """
        real = self.roots.resolve(location.base)
        if location.pattern or os.path.isdir(real):
            yield from _Walk(self, real, location.glob).files()
        else:
            yield self.file(real)

    def file(self, real: str) -> StoredFile:
        """Return the file with a real path. Raises NotAFile, NotAllowed or OSError."""
        folder, _, name = real.rpartition("/")
        if self._siblings.path != (folder or "/"):
            self._siblings = _Folder(folder or "/", os.listdir(folder or "/"))
        return self._siblings.file(name, os.stat(real), self.roots)


def find_file(path: Path, roots: Sequence[Root]) -> StoredFile:
    """Return the file at `path`, with any suffix.

    Raises NotFound, PermissionDenied, NotAFile, NotAllowed or Unreadable.
    """
    allowed = AllowedRoots(roots)
    try:
        return FolderLister(allowed).file(allowed.resolve(path))
    except OSError as error:
        raise translate_os_error(error) from error


def current_fingerprint(file: StoredFile) -> str:
    """Return the present fingerprint of the file and its listed sidecars.

    Raises NotFound, PermissionDenied or Unreadable.
    """
    try:
        status = os.lstat(file.real_path)
        return _fingerprint(status, file.real_path.rpartition("/")[0] + "/", file.sidecars)
    except OSError as error:
        raise translate_os_error(error) from error


def own_fingerprint(status: os.stat_result) -> str:
    """Return the fingerprint of a file without sidecars: its size and modification time."""
    return f"{status.st_size:x}.{status.st_mtime_ns:x}"


class _Walk:
    """Walks the files below a folder that match a glob.

    It does not follow links to folders. A link to a file yields that file.
    """

    def __init__(self, lister: FolderLister, top: str, glob: Glob) -> None:
        self._lister = lister
        self._top = top
        self._glob = glob
        self._linked: set[str] = set()

    def files(self) -> Iterator[ListedItem]:
        """Yield the files, and a rejection for each file or folder that cannot be listed."""
        # A stack, because folders can be nested more deeply than Python may recurse.
        pending = [self._entries(self._top, self._glob.start)]
        while pending:
            item = next(pending[-1], None)
            if item is None:
                pending.pop()
            elif isinstance(item, tuple):
                pending.append(self._entries(*item))
            else:
                yield item

    def _entries(self, path: str, state: State) -> Iterator[ListedItem | Visit]:
        """Yield the files of one folder, and the folders in it."""
        if state == self._glob.whole:
            if path in self._lister.walked:
                return
            self._lister.walked.add(path)
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            yield reject_unlisted(file_uri(path), error)
            return
        folder = _Folder(path, (entry.name for entry in entries))
        while entries:
            entry = entries.pop()  # frees its status, because a folder may have a million files
            try:
                yield from self._entry(entry, folder, state)
            except (RasterError, OSError) as error:
                yield reject_unlisted(file_uri(self._rejected_path(entry.path)), error)

    def _entry(
        self, entry: os.DirEntry[str], folder: "_Folder", state: State
    ) -> Iterable[ListedItem | Visit]:
        wanted, inside = self._glob.takes(state, entry.name), self._glob.inside(state, entry.name)
        if wanted and entry.is_symlink():
            return self._link(entry.path)
        if inside and entry.is_dir(follow_symlinks=False):
            return ((entry.path, inside),)
        if wanted and not entry.is_dir(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            return (folder.file(entry.name, status, self._lister.roots),)
        return ()

    def _link(self, path: str) -> Iterable[StoredFile]:
        """Return the target of a link, unless the walk lists it anyway."""
        real = self._lister.roots.resolve(path)
        if os.path.isdir(real) or real in self._linked or self._lists(real):
            return ()
        self._linked.add(real)
        return (self._lister.file(real),)

    def _rejected_path(self, path: str) -> str:
        """Return the path to report for an unreadable entry: the target of its link, under which it may be registered.

        If the walk lists the target anyway, return the path of the link itself, so that a deleted target is missing.
        """
        real = os.path.realpath(path)
        return path if self._lists(real) else real

    def _lists(self, real: str) -> bool:
        """Return whether the walk reaches a file without following a link."""
        below = self._top.rstrip("/") + "/"
        *folders, name = real.removeprefix(below).split("/")
        return real.startswith(below) and self._glob.takes(self._glob.reach(folders), name)


class _Folder:
    """A folder with the names of its sidecars."""

    def __init__(self, path: str, names: Iterable[str]) -> None:
        self.path = path
        self._below = path.rstrip("/") + "/"
        self._uri_below = file_uri(self._below)
        self._sidecars = SidecarNames(names)

    def file(self, name: str, status: os.stat_result, roots: AllowedRoots) -> StoredFile:
        """Return the file with this name and status. Raises NotAFile, or NotAllowed for a sidecar."""
        path = self._below + name
        require_regular(status)
        uri = self._uri_below + name if _PLAIN.fullmatch(name) else file_uri(path)
        sidecars = self._sidecars.of(name)
        for sidecar in sidecars:
            _check_sidecar(self._below + sidecar, roots)
        fingerprint = _fingerprint(status, self._below, sidecars)
        return StoredFile(uri, path, status.st_size, fingerprint, status.st_mtime_ns, sidecars)


def _check_sidecar(path: str, roots: AllowedRoots) -> None:
    """Check a sidecar like the file itself, because GDAL opens it."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        status = os.stat(roots.resolve(path))
    require_regular(status)


def require_regular(status: os.stat_result) -> None:
    """Raise NotAFile for a folder, pipe, socket or device."""
    if stat.S_ISDIR(status.st_mode):
        raise NotAFile("this is a folder; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile("this is a pipe, socket or device; name a file")


def _fingerprint(status: os.stat_result, below: str, sidecars: Sequence[str]) -> str:
    """Return the fingerprint of a file and the sidecars that still exist."""
    parts = []
    for name in sidecars:
        with suppress(FileNotFoundError):
            sidecar = os.stat(below + name)
            parts.append((name, sidecar.st_size, sidecar.st_mtime_ns))
    return add_sidecars(own_fingerprint(status), parts)
