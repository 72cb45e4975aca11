"""The programs that we are compared with. `make bench-peers` installs them; benchmarks skip those that are missing.

    python -m benchmarks.peers

Makes a virtual environment from benchmarks/requirements.lock in a cache folder, and again when that file has changed.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.measure import REPOSITORY

LOCK = REPOSITORY / "benchmarks" / "requirements.lock"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rastersources" / "peers"
PEERS = CACHE / "bin"
STAMP = CACHE / "made-from"
SDIST = "version-parser"
"""A package that is published as source only."""


def peer(name: str) -> Path | None:
    """Return a program of the peers, of .venv or of the system; None when it is not installed."""
    folders = os.pathsep.join([str(PEERS), str(Path(sys.executable).parent), os.environ["PATH"]])
    path = shutil.which(name, path=folders)
    return Path(path) if path else None


def install() -> None:
    """Make the virtual environment unless it exists."""
    lock = LOCK.read_text()
    if STAMP.exists() and STAMP.read_text() == lock:
        return
    print(f"Making {CACHE} (some minutes) ...", flush=True)
    venv.create(CACHE, clear=True, with_pip=True)
    options = [
        "--quiet",
        "--only-binary",
        ":all:",
        "--no-binary",
        SDIST,
        "--no-deps",
        "--require-hashes",
    ]
    subprocess.run([PEERS / "python", "-m", "pip", "install", *options, "-r", LOCK], check=True)
    STAMP.write_text(lock)


if __name__ == "__main__":
    install()
    for program in ("gdaltindex", "wrk"):
        if not shutil.which(program):
            print(f"{program} is not installed; with Debian's packages: apt install gdal-bin wrk")
