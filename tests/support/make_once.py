"""Make something costly once for all tests, in the first process that needs it."""

import fcntl
import tempfile
from collections.abc import Callable
from pathlib import Path


def make_once(name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills once per run of the tests."""
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder
