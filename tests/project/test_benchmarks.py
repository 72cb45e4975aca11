"""The benchmarks run to their end: in small, as at full size they take up to an hour."""

import re
import sys

import pytest

from tests.support.commands import REPOSITORY, run


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("costly", 200),
        ("gaps", 400),
        ("listing", 200),
        ("register", 40),
        ("runners", 40),
        ("sync", 40),
    ],
)
def test_a_benchmark_runs_to_its_end(name: str, size: int) -> None:
    done = run([sys.executable, REPOSITORY / "benchmarks" / f"{name}.py", str(size)])
    assert re.search(r"\d\.\d+ (s|x)\b|\d MiB", done.stdout)  # what was measured
