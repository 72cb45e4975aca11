"""A fixture for the tests of README.md and docs/."""

from pathlib import Path

import pytest

from tests.support.docs_commands import DocsShell


@pytest.fixture
def reader(tmp_path: Path) -> DocsShell:
    return DocsShell(tmp_path)
