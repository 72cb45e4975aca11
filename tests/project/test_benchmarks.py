"""The benchmarks run to their end. The sizes are small, because full sizes take up to an hour."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY, run


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("costly", 200),
        ("gaps", 400),
        ("listing", 200),
        ("runners", 40),
    ],
)
def test_a_benchmark_runs_to_its_end(name: str, size: int) -> None:
    done = run([sys.executable, "-m", f"benchmarks.{name}", str(size)])
    assert re.search(r"\d\.\d+ (s|x)\b|\d MiB", done.stdout)  # a figure with its unit


def test_make_bench_measures_each_section_and_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    shutil.copy(REPOSITORY / "docs" / "performance.md", page)
    sizes = {
        "rows": 200,
        "items": 200,
        "files": 5,
        "objects": 5,
        "unchanged": 100,
        "rounds": 1,
        "seconds": 0.1,
    }
    options = [f"--{name}={size}" for name, size in sizes.items()]
    command: list[str | Path] = [sys.executable, "-m", "benchmarks", *options]
    no_peers = tmp_path / "cache"
    done = run([*command, "--results", tmp_path, "--page", page], XDG_CACHE_HOME=no_peers)
    (results,) = tmp_path.glob("*.json")
    measured = json.loads(results.read_text())["cases"]
    assert {case["section"] for case in measured} == {
        "start", "memory", "registration", "objects", "sync", "loading", "lists", "STAC",
        "STAC, one file each", "export",
    }  # fmt: skip
    assert all("ours" in case["contenders"] for case in measured)
    assert "pypgstac is skipped" in done.stdout
    assert "| uuid | floor |" in page.read_text()
    assert "| uuid | floor |" in done.stdout
