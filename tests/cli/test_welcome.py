"""The commands that `up` prints can be copied into a shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.output import print_suggestions

ECHO = '#!/bin/sh\nprintf "<%s>" "$@"\n'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with programs that print their arguments."""
    folder = tmp_path / "it's here" / "bin"
    folder.mkdir(parents=True)
    for name in ("rastersources", "psql", "curl"):
        (folder / name).write_text(ECHO)
        (folder / name).chmod(0o755)
    return folder


def print_commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Print the suggestions; return the commands among them."""
    print_suggestions("http://127.0.0.1:8000")
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]


@pytest.mark.parametrize("on_path", [True, False], ids=["on the PATH", "elsewhere"])
@pytest.mark.parametrize("module", [True, False], ids=["by python -m", "as a program"])
@pytest.mark.parametrize("from_above", [True, False], ids=["from above it", "from elsewhere"])
def test_the_printed_commands_work_in_a_shell(
    programs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    on_path: bool,
    module: bool,
    from_above: bool,
) -> None:
    paths = "/usr/bin:/bin"
    monkeypatch.setenv("PATH", f"{paths}:{programs}" if on_path else paths)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setattr(sys, "argv", ["/x/cli.py" if module else str(programs / "rastersources")])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path if from_above else tmp_path / "elsewhere")
    curl, search, psql = print_commands(capsys)
    assert search.startswith("rastersources ") == on_path
    assert (str(tmp_path) in search) == (not on_path and not from_above)

    def run_in_shell(command: str) -> str:
        script = f'psql() {{ "{programs}/psql" "$@"; }}; {command}'
        return subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, check=True
        ).stdout

    assert run_in_shell(search) == "<search><--bbox><4,51,5,52>"
    assert run_in_shell(psql).startswith("<<db><url>><-c><SELECT ")
    assert "'http://127.0.0.1:8000/api/v4/rastersources/?in_bbox=" in curl


def test_without_the_program_its_module_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my python"))
    monkeypatch.setattr(sys, "argv", ["/x/cli.py"])
    _, search, _ = print_commands(capsys)
    assert search == f"'{tmp_path}/my python' -m pipeline.cli search --bbox 4,51,5,52"
