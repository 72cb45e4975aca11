"""The types are right. mypy runs beside the other tests, because it takes half a minute in a fresh checkout."""

import sys

from tests.support.commands import run


def test_mypy_finds_no_mistake() -> None:
    run([sys.executable, "-m", "mypy"])
