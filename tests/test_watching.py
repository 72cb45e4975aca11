"""What people see of a run: a bar in a terminal, lines elsewhere."""

from pathlib import Path

import pytest

from pipeline import watching
from pipeline.catalogue.report import Report
from tests.commands import RASTERSOURCES, run_in_terminal
from tests.factory import write_raster

CONFIG = """
[[source]]
id = "watched"
files = "*.tif"
organisation = "Watched"
"""


def test_a_terminal_shows_a_bar_that_ends_full(tmp_path: Path, database_url: str) -> None:
    for number in range(7):
        write_raster(tmp_path / f"{number}.tif")
    (tmp_path / "sources.toml").write_text(CONFIG)
    shown = run_in_terminal(
        [*RASTERSOURCES, "sync", "--create"], cwd=tmp_path, RASTERSOURCES_DATABASE_URL=database_url
    )
    assert "Registering" in shown
    assert "7/7" in shown


def test_elsewhere_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with watching.watching() as watcher:
        watcher.found(1000)  # too soon for a line
        monkeypatch.setattr(watching, "SECONDS_BETWEEN_LINES", 0)
        watcher.found(500)
        watcher.tell(Report(unchanged=1200, registered=30))
    assert capsys.readouterr().err == "1500 files listed\n1230 files done\n"
