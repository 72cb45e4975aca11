"""Run parts of tests as a user that may not read everything, also when the tests run as root."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

OBEYS_MODES = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
"""The beginning of a command that must obey the modes of files, also when it runs as root."""
needs_setpriv = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="root may write everywhere, and setpriv is missing (Debian and Ubuntu: apt install util-linux)",
)


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """Make a folder that every user may enter, unlike the folders of pytest."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run the block as another user than root, because root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
