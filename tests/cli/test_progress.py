"""The progress of a run: a bar in a terminal, lines elsewhere."""

from pathlib import Path

import pytest

from pipeline.cli import progress
from tests.support.commands import RASTERSOURCES, run_in_terminal
from tests.support.factory import write_raster

CONFIG = """
[[source]]
id = "watched"
files = "*.tif"
organisation = "Watched"
"""


def test_a_terminal_shows_a_bar_that_ends_full(tmp_path: Path, database_url: str) -> None:
    printed = run_on_seven_files(["sync", "--create"], tmp_path, database_url)
    assert "Registering" in printed
    assert "7/7" in printed


def test_a_plan_registers_nothing_and_counts_the_listed_files(
    tmp_path: Path, database_url: str
) -> None:
    printed = run_on_seven_files(["plan"], tmp_path, database_url)
    assert "7 files listed" in printed
    assert "Registering" not in printed


def run_on_seven_files(words: list[str], folder: Path, database_url: str) -> str:
    """Run a command that finds seven files; return what a terminal shows."""
    for index in range(7):
        write_raster(folder / f"{index}.tif")
    (folder / "sources.toml").write_text(CONFIG)
    return run_in_terminal(
        [*RASTERSOURCES, *words], cwd=folder, RASTERSOURCES_DATABASE_URL=database_url
    )


def test_without_a_terminal_a_line_is_printed_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress.show_progress() as watcher:
        watcher.add_total(1000)  # too soon for a line
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
        watcher.add_total(500)
        watcher.advance(1230)
    assert capsys.readouterr().err == "1500 files listed\n1230 files done\n"
