"""The target folder of an export, with records of the files that exports wrote to it.

A hidden folder in it has a record for each part: the digest of the part, and the names of its files. A file is recorded
before it is renamed into place, and only recorded files are deleted. So a killed export leaves complete files, all of
which are recorded for the next export.
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
    """The record of a written part."""

    digest: str = UNFINISHED
    files: Sequence[str] = ()
    """Names relative to the target."""
    gone: Sequence[str] = ()
    """Names of former files of the part that must be deleted."""

    def holds(self, part: Part) -> bool:
        """Return whether the present state of a part was written."""
        return self.digest == part.digest


class Target:
    """The locked folder of an export."""

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
            record = orjson.loads(self._record_file(kind, part).read_bytes())
            return Record(record["digest"], record["files"], record["gone"])
        except FileNotFoundError:
            return Record()
        except (orjson.JSONDecodeError, LookupError, TypeError) as error:
            raise CatalogueError(
                f"{self._record_file(kind, part)} is damaged; export to a new folder"
            ) from error

    def write(self, kind: str, part: int, record: Record) -> None:
        """Write the record of a part; delete the record of a part without files."""
        if not record.files and not record.gone:
            self._record_file(kind, part).unlink(missing_ok=True)
            return
        with written_beside(self._record_file(kind, part)) as path:
            path.write_bytes(orjson.dumps(record))

    def path(self, name: str) -> Path:
        """Return the path of a recorded file. Raises CatalogueError for a name that leads out of the target."""
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise CatalogueError(f'{self.hidden} names "{name}", which is not below the target')
        return self.folder / pure

    def delete(self, names: Iterable[str]) -> int:
        """Delete recorded files, and folders that are empty then; return how many of the files existed."""
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
    """Lock a target: a new or empty folder, or that of an earlier export of this form. Raises CatalogueError."""
    hidden = folder / HIDDEN
    marker = hidden / FORMAT_FILE
    if folder.exists() and not folder.is_dir():
        raise CatalogueError(f"{folder} is a file; give a folder")
    if not marker.exists() and not is_new(folder):
        raise CatalogueError(
            f"{folder} has other files; give a new folder, an empty one, or that of an earlier export"
        )
    hidden.mkdir(parents=True, exist_ok=True)
    with lock(hidden / "lock", folder):
        if not marker.exists():
            with written_beside(marker) as path:
                path.write_text(form)
        present_form = marker.read_text()
        if present_form != form:
            raise CatalogueError(
                f"{folder} is an export to {present_form}; give another folder for {form}"
            )
        yield Target(folder)


def is_new(folder: Path) -> bool:
    """Return whether a folder holds nothing, or only what an export makes first."""
    first = (HIDDEN, f"{HIDDEN}/lock", f"{HIDDEN}/{FORMAT_FILE}.new")
    return all(str(path.relative_to(folder)) in first for path in folder.rglob("*"))


@contextmanager
def lock(path: Path, target: Path) -> Iterator[None]:
    """Hold the lock of a target until the end of the block. Raises RunInProgress while another export holds it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another export is writing {target}; wait until it has ended"
            raise RunInProgress(message) from None
        yield


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; at the end of the block it is renamed to `path`."""
    beside = path.with_name(f"{path.name}.new")
    yield beside
    put(beside, path)


def put(new: Path, path: Path) -> None:
    """Write a file through to the disk, and rename it to `path`."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)
