"""What tests of README.md and docs/ share."""

from pathlib import Path

import pytest

from tests.support.reader import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)
