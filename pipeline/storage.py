"""Lists raster files with what identifies their present content: size, times and sidecars."""

import errno
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from pipeline.errors import (
    NotAFile,
    NotAllowed,
    NotFound,
    PermissionDenied,
    RasterError,
    Rejection,
    Unreadable,
)

RASTER_SUFFIXES = (".tif", ".tiff")
"""What is picked up from folders, in any case; a file that is named outright may have any name."""

# What GDAL looks for beside x.tif, in any case: x.tif.ovr, x.tfw, x_RPC.TXT and so on
# (its GTiff driver, gcore/gdalpamdataset.cpp and gcore/mdreader).
_APPENDED = (".aux.xml", ".ovr", ".msk", ".msk.ovr", ".ovr.msk", ".aux")
_REPLACING = (".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".xml", ".aux", ".rpb", ".imd")
_AFTER_STEM = ("_rpc.txt", "_metadata.txt")
_SIDECARS = (*_APPENDED, *_REPLACING, *_AFTER_STEM)


@dataclass(frozen=True)
class StoredFile:
    """One file at rest, as it was when it was listed."""

    uri: str
    """`file:///absolute/path`, percent-encoded; the one name under which the file is known."""
    path: Path
    """Absolute, without symlinks."""
    size: int
    """Bytes of the file itself, without its sidecars."""
    fingerprint: str
    """Changes when the file or one of its sidecars changes: sizes and modification times."""
    sidecars: tuple[str, ...] = ()
    """Names of the files beside it from which GDAL may take metadata, sorted."""


def list_files(paths: Iterable[Path], roots: Sequence[Path]) -> Iterator[StoredFile | Rejection]:
    """The raster files at `paths`: files as given, folders with all that is below them.

    Lazy; in the order of `paths`, and by name within a folder. Symlinks are resolved: a file is
    known by its real path, which must lie in one of `roots`. A folder yields each of its files
    once, whichever links lead there; a file that is named twice is yielded twice.
    """
    allowed = _Roots(roots)
    folder = _Folder("", ())
    for path in paths:
        try:
            real = allowed.resolve(path)
            if real.is_dir():
                yield from _Walk(allowed).files(str(real))
                continue
            if folder.path != str(real.parent):
                folder = _Folder(str(real.parent), os.listdir(real.parent))  # noqa: PTH208
            yield folder.file(real.name, real.stat(), allowed)
        except (RasterError, OSError) as error:
            yield _rejection(path, error)


def stored_file(path: Path, roots: Sequence[Path]) -> StoredFile:
    """The one file at `path`, whatever its name.

    Raises NotFound, PermissionDenied, NotAFile, NotAllowed or Unreadable.
    """
    allowed = _Roots(roots)
    try:
        real = allowed.resolve(path)
        siblings = os.listdir(real.parent)  # noqa: PTH208 - names, not paths
        return _Folder(str(real.parent), siblings).file(real.name, real.stat(), allowed)
    except OSError as error:
        raise translated(error) from error


def present_fingerprint(file: StoredFile) -> str:
    """The fingerprint of the file and its known sidecars as they are now.

    Raises NotFound, PermissionDenied or Unreadable.
    """
    try:
        status = file.path.lstat()
        return _fingerprint(status, _statuses(str(file.path.parent), file.sidecars))
    except OSError as error:
        raise translated(error) from error


def own_fingerprint(status: os.stat_result) -> str:
    """The part of a fingerprint that is the file's own; the sidecars' follows after a plus sign."""
    return f"{status.st_size:x}.{status.st_mtime_ns:x}"


def file_uri(path: str | Path) -> str:
    """The `file://` URI of an absolute path; every byte of the name survives."""
    return "file://" + quote_from_bytes(os.fsencode(path))


def translated(error: OSError) -> RasterError:
    """What an error of the file system means for the file."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return NotFound("the file is not there (any more); check its name or list again")
        case PermissionError():
            return PermissionDenied("this user may not read it; change its permissions")
        case IsADirectoryError():
            return NotAFile("this is a folder; name a file")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound("the name leads nowhere: a loop of links, or too long; mend the link")
    return Unreadable(f"the file system reports {error.strerror or error}; check the disk")


def rejection(file: StoredFile, error: RasterError) -> Rejection:
    """The refusal of a listed file as a fact."""
    return Rejection(file.uri, error.code, error.message, file.fingerprint, file.size)


class _Roots:
    """The folders that may be read, without symlinks."""

    def __init__(self, roots: Sequence[Path]) -> None:
        resolved = [str(root.resolve()) for root in roots]
        self._exact = frozenset(resolved)
        self._below = tuple(root.rstrip("/") + "/" for root in resolved)

    def resolve(self, path: Path | str) -> Path:
        """The real path. Raises NotAllowed where it lies outside the roots, and OSError."""
        real = os.path.realpath(path, strict=True)
        self.check(real)
        return Path(real)

    def check(self, real: str) -> None:
        if not real.startswith(self._below) and real not in self._exact:
            raise NotAllowed("it lies outside the folders that may be read; allow its folder")


class _Folder:
    """A folder and the names of the sidecars in it."""

    def __init__(self, path: str, names: Iterable[str]) -> None:
        self.path = path
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            lower = name.lower()
            if lower.endswith(_SIDECARS):
                self._index(name, lower)

    def _index(self, name: str, lower: str) -> None:
        for suffix in _APPENDED:
            if lower.endswith(suffix):
                self._by_name[lower.removesuffix(suffix)].append(name)
        for suffix in (*_REPLACING, *_AFTER_STEM):
            if lower.endswith(suffix):
                self._by_stem[lower.removesuffix(suffix)].append(name)

    def file(self, name: str, status: os.stat_result, allowed: _Roots) -> StoredFile:
        """The file of this name and status; raises NotAFile or, for its sidecars, NotAllowed."""
        path = f"{self.path.rstrip('/')}/{name}"
        _require_regular(status)
        sidecars = self._sidecars(name.lower())
        for sidecar in sidecars:
            _check_sidecar(f"{self.path}/{sidecar}", allowed)
        fingerprint = _fingerprint(status, _statuses(self.path, sidecars))
        return StoredFile(file_uri(path), Path(path), status.st_size, fingerprint, sidecars)

    def _sidecars(self, lower: str) -> tuple[str, ...]:
        if not self._by_name and not self._by_stem:
            return ()
        stem = lower.rpartition(".")[0] or lower
        found = {*self._by_name.get(lower, ()), *self._by_stem.get(stem, ())}
        return tuple(sorted(found))


class _Walk:
    """All raster files below one folder, each once."""

    def __init__(self, allowed: _Roots) -> None:
        self._allowed = allowed
        self._folders: set[str] = set()
        self._linked: set[str] = set()

    def files(self, top: str) -> Iterator[StoredFile | Rejection]:
        """The raster files below `top`, and what could not be listed."""
        pending: list[Iterator[StoredFile | Rejection | str]] = [iter((top,))]
        # A stack, as folders can be nested more deeply than Python may recurse.
        while pending:
            item = next(pending[-1], None)
            if item is None:
                pending.pop()
            elif not isinstance(item, str):
                yield item
            elif item not in self._folders:
                self._folders.add(item)
                pending.append(self._entries(item, top))

    def _entries(self, path: str, top: str) -> Iterator[StoredFile | Rejection | str]:
        """The files of one folder, and the paths of the folders in it."""
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield _rejection(path, error)
            return
        folder = _Folder(path, (entry.name for entry in entries))
        for entry in entries:
            try:
                found = self._entry(entry, folder, top)
            except (RasterError, OSError) as error:
                yield _rejection(entry.path, error)
            else:
                if found is not None:
                    yield found

    def _entry(self, entry: os.DirEntry[str], folder: _Folder, top: str) -> StoredFile | str | None:
        if entry.is_symlink():
            return self._link(entry, top)
        if entry.is_dir(follow_symlinks=False):
            return entry.path
        if not entry.name.lower().endswith(RASTER_SUFFIXES) or entry.path in self._linked:
            return None
        return folder.file(entry.name, entry.stat(follow_symlinks=False), self._allowed)

    def _link(self, entry: os.DirEntry[str], top: str) -> StoredFile | str | None:
        """What a symlink leads to, unless the walk comes there by itself."""
        named = entry.name.lower().endswith(RASTER_SUFFIXES)
        try:
            real = self._allowed.resolve(entry.path)
        except (NotAllowed, OSError):
            if named or entry.is_dir():
                raise
            return None
        if real.is_dir():
            return None if self._comes_by(f"{real}/", top) else str(real)
        by_itself = real.name.lower().endswith(RASTER_SUFFIXES) and self._comes_by(str(real), top)
        if not named or by_itself or str(real) in self._linked:
            return None
        self._linked.add(str(real))
        return stored_file(real, [real.parent])

    def _comes_by(self, real: str, top: str) -> bool:
        return real.startswith(f"{top.rstrip('/')}/") or real.rpartition("/")[0] in self._folders


def _check_sidecar(path: str, allowed: _Roots) -> None:
    """GDAL opens sidecars by itself, so that they must be as harmless as the file."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        status = allowed.resolve(path).stat()
    _require_regular(status)


def _require_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotAFile("this is a folder; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile("this is a pipe, socket or device; name a file")


def _statuses(folder: str, names: Sequence[str]) -> list[tuple[str, os.stat_result]]:
    """Of the sidecars that are still there; one that went away changes the fingerprint."""
    statuses = []
    for name in names:
        with suppress(FileNotFoundError):
            statuses.append((name, os.stat(f"{folder}/{name}")))  # noqa: PTH116
    return statuses


def _fingerprint(status: os.stat_result, sidecars: list[tuple[str, os.stat_result]]) -> str:
    """Size and modification time in nanoseconds, and a digest of the sidecars' where there are."""
    own = own_fingerprint(status)
    if not sidecars:
        return own
    parts = "".join(f"{name}\0{s.st_size}\0{s.st_mtime_ns}\0" for name, s in sidecars)
    digest = hashlib.blake2b(parts.encode(errors="surrogateescape"), digest_size=8)
    return f"{own}+{digest.hexdigest()}"


def _rejection(path: Path | str, error: RasterError | OSError) -> Rejection:
    problem = translated(error) if isinstance(error, OSError) else error
    return Rejection(file_uri(Path(path).absolute()), problem.code, problem.message)
