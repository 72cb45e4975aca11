"""What tests of the command line share."""

from pathlib import Path

from tests.support.commands import RASTERSOURCES, run


def run_command(url: str, *words: str | Path, status: int = 0) -> str:
    """Run a command on a database; return its output, or its errors if it fails."""
    done = run([*RASTERSOURCES, *words], status=status, RASTERSOURCES_DATABASE_URL=url)
    return done.stdout if status == 0 else done.stderr
