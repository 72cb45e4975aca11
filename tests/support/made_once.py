"""What is costly to make and the same for all tests: made once, by the first process that needs it."""

import fcntl
import tempfile
from collections.abc import Callable
from pathlib import Path


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this run of the tests, which `make` has filled."""
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder
