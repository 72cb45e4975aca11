"""A folder that an export writes: what is there, and which of it is ours.

A hidden folder in it holds one record for each part: the digest of what was written, and the names of its files. A
file is recorded before it is put in its place, and only recorded files are ever deleted. So a killed export leaves
whole files, of which the next one knows all.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import orjson

from pipeline.errors import CatalogueError, RunInProgress
from pipeline.export.selection import Part
from pipeline.storage.files import sync_folder

HIDDEN = ".rastersources"
FORMAT_FILE = "format"
UNFINISHED = ""
"""The digest of a part that is being written."""


@dataclass(frozen=True)
class Record:
    """A part as it was written."""

    digest: str = UNFINISHED
    files: Sequence[str] = ()
    """Names relative to the target."""
    gone: Sequence[str] = ()
    """Names of files that are not part of it any more, and are to be deleted."""

    def holds(self, part: Part) -> bool:
        """Return whether a part was written as it is now."""
        return self.digest == part.digest


class Target:
    """A folder that belongs to one export, while it is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hidden = folder / HIDDEN

    def parts(self, kind: str) -> list[int]:
        """Return the numbers of the recorded parts of a kind."""
        names = (path.stem for path in self.hidden.glob(f"{kind}-*.json"))
        return sorted(int(name.rpartition("-")[2]) for name in names)

    def read(self, kind: str, part: int) -> Record:
        """Return the record of a part; an empty one if there is none."""
        try:
            found = orjson.loads(self._record_file(kind, part).read_bytes())
            return Record(found["digest"], found["files"], found["gone"])
        except FileNotFoundError:
            return Record()
        except (orjson.JSONDecodeError, LookupError, TypeError) as error:
            raise CatalogueError(
                f"{self._record_file(kind, part)} is damaged; export to a new folder"
            ) from error

    def write(self, kind: str, part: int, record: Record) -> None:
        """Record a part; forget one without files."""
        if not record.files and not record.gone:
            self._record_file(kind, part).unlink(missing_ok=True)
            return
        with written_beside(self._record_file(kind, part)) as path:
            path.write_bytes(orjson.dumps(record))

    def path(self, name: str) -> Path:
        """Return the path of a file of ours. Raises CatalogueError for a name that leads out of the target."""
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise CatalogueError(f'{self.hidden} names "{name}", which is not below the target')
        return self.folder / pure

    def delete(self, names: Iterable[str]) -> int:
        """Delete files of ours and folders that they leave empty; return how many files were there."""
        count = 0
        for name in names:
            path = self.path(name)
            with suppress(FileNotFoundError):
                path.unlink()
                count += 1
            if path.parent != self.folder:
                with suppress(OSError):  # it is not empty
                    path.parent.rmdir()
        return count

    def _record_file(self, kind: str, part: int) -> Path:
        return self.hidden / f"{part_name(kind, part)}.json"


def part_name(kind: str, part: int) -> str:
    """Return the name of a part, such as `items-000012`."""
    return f"{kind}-{part:06d}"


@contextmanager
def open_target(folder: Path, form: str) -> Iterator[Target]:
    """Lock a target, which is a new or empty folder or one of an earlier export of this form. Raises CatalogueError."""
    hidden = folder / HIDDEN
    marker = hidden / FORMAT_FILE
    if folder.exists() and not folder.is_dir():
        raise CatalogueError(f"{folder} is a file; name a folder")
    if not marker.exists() and not is_new(folder):
        raise CatalogueError(
            f"{folder} holds files of others; name a new folder, an empty one, or that of an earlier export"
        )
    hidden.mkdir(parents=True, exist_ok=True)
    with lock(hidden / "lock", folder):
        if not marker.exists():
            with written_beside(marker) as path:
                path.write_text(form)
        found = marker.read_text()
        if found != form:
            raise CatalogueError(
                f"{folder} is an export to {found}; name another folder for {form}"
            )
        yield Target(folder)


def is_new(folder: Path) -> bool:
    """Return whether a folder holds nothing, or only what an export makes first."""
    first = (HIDDEN, f"{HIDDEN}/lock", f"{HIDDEN}/{FORMAT_FILE}.new")
    return all(str(path.relative_to(folder)) in first for path in folder.rglob("*"))


@contextmanager
def lock(path: Path, target: Path) -> Iterator[None]:
    """Hold the lock of a target until the end of the block. Raises RunInProgress while another export has it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another export writes {target}; wait until it has ended"
            raise RunInProgress(message) from None
        yield


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside this one; what is written there takes its place at the end of the block."""
    beside = path.with_name(f"{path.name}.new")
    yield beside
    put(beside, path)


def put(new: Path, path: Path) -> None:
    """Bring a file to the disk and then to its place."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)
