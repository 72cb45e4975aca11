"""What tests of runs share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import new_database


@pytest.fixture
def fresh(server: str, template: str) -> Iterator[str]:
    """The URL of a migrated database for one test."""
    with new_database(server, template) as url:
        yield url


def spoil(path: Path) -> None:
    """Change the content of a file but not its name, size and times: a run that opens the file must reject it."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
