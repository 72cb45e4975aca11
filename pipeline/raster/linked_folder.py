"""Makes private folders with links to open files, so that GDAL finds only a file and its listed sidecars there.

A process locks its folders while it runs. So the next reading process can detect and remove the folders of a killed
process.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.errors import TransientError

_PREFIX = "rastersources-read-"


@contextmanager
def linked_folder(descriptors: Mapping[str, int]) -> Iterator[Path]:
    """Make a folder with a link to each open file, by file name, and remove it afterwards.

    A link leads to the open file itself, even if another file has replaced it since. Raises TransientError.
    """
    with translate_disk_errors():
        folder, lock = _locked_folder()
    try:
        with translate_disk_errors():
            for name, descriptor in descriptors.items():
                (folder / gdal_file_name(name)).symlink_to(descriptor_path(descriptor))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def gdal_file_name(name: str) -> str:
    """Return the name of the link for GDAL; bytes that are not UTF-8 become underscores."""
    return re.sub("[\udc80-\udcff]", "_", name)


def descriptor_path(descriptor: int) -> str:
    """Return a path that opens the same file again; it is valid only in this process."""
    return f"/proc/self/fd/{descriptor}"


def remove_dead_folders() -> None:
    """Remove the folders of killed processes of this user."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(OSError):
                    _remove_if_dead(Path(entry.path))


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Turn an OSError of the temporary folder into TransientError, because the file did not cause it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise TransientError(
            f"cannot write temporary files to {tempfile.gettempdir()} ({reason}); free some disk space"
        ) from error


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Another process may remove the folder before it is locked.
        with suppress(FileNotFoundError):
            lock = _lock(folder)
            if lock is not None:
                return folder, lock


def _lock(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of the folder; None if another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with ExitStack() as stack, suppress(BlockingIOError):
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.lstat(folder)):
            stack.pop_all()
            return descriptor
    return None


def _remove_if_dead(folder: Path) -> None:
    status = os.lstat(folder)
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not ours or stat.S_IMODE(status.st_mode) != 0o700:
        return
    lock = _lock(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
