"""Run the command line and the flows as a user does: in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RASTERSOURCES: list[str | Path] = [sys.executable, "-m", "pipeline.cli"]
FLOWS: list[str | Path] = [sys.executable, "-m", "flows"]


def environment(**changes: str | Path) -> dict[str, str]:
    """The environment of the tests without settings of ours, with these."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RASTERSOURCES_", "PREFECT_"))
    }
    return {
        **clean,
        "PYTHONPATH": str(REPOSITORY),
        **{name: str(value) for name, value in changes.items()},
    }


def run(
    command: Iterable[str | Path], *, status: int = 0, cwd: Path = REPOSITORY, **changes: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run to the end, with these environment variables; the status must be the one that is expected."""
    done = subprocess.run(
        list(command),
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done
