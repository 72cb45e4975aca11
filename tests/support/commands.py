"""Run the command line and the flows as a user does: in processes of their own."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.warm_process import WarmProcess, can_be_warm
from tests.support.warm_python import warm_python

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"
CORPUS = SHARED / "corpus"
STAC_SCHEMAS = SHARED / "stac-schemas"
RASTERSOURCES: list[str | Path] = [sys.executable, "-m", "pipeline.cli"]
FLOWS: list[str | Path] = [*RASTERSOURCES, "flow"]


def environment(**changes: str | Path) -> dict[str, str]:
    """The environment of the tests without settings of ours, with one process that serves and one that reads.

    A second one of either takes half a second to start, and has tests of its own.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RASTERSOURCES_", "PREFECT_"))
    }
    return {
        **clean,
        "PYTHONPATH": str(REPOSITORY),
        "RASTERSOURCES_API_WORKERS": "1",
        "RASTERSOURCES_WORKERS": "1",
        **{name: str(value) for name, value in changes.items()},
    }


def warm(command: Sequence[str | Path]) -> list[str | Path]:
    """The command with a Python that has imported what it needs, for itself and its children."""
    assert command[0] == sys.executable
    return [warm_python(), *command[1:]]


def run(
    command: Iterable[str | Path], *, status: int = 0, cwd: Path = REPOSITORY, **changes: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run to the end, with these environment variables; the status must be the one that is expected.

    Our own commands start warm, unless variables are set that Python or a library reads when it starts.
    """
    words, variables = list(map(str, command)), environment(**changes)
    if words[:3] == RASTERSOURCES and can_be_warm(variables):
        process = WarmProcess(words[1:], cwd, variables)
        printed, errors = process.communicate()
        done = subprocess.CompletedProcess(words, process.wait(), printed, errors)
    else:
        done = subprocess.run(
            words, cwd=cwd, env=variables, capture_output=True, text=True, check=False
        )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def start(command: Iterable[str | Path], *, cwd: Path, **changes: str | Path) -> WarmProcess:
    """Start one of our commands in a fork, with these environment variables."""
    words = list(map(str, command))
    assert words[:3] == RASTERSOURCES
    return WarmProcess(words[1:], cwd, environment(**changes))


def without_progress(printed: str) -> list[str]:
    """Return the lines without the progress that a slow machine prints."""
    return [
        line for line in printed.splitlines() if not line.endswith((" files done", " files listed"))
    ]


def processes_of(home: Path) -> dict[int, str]:
    """The command lines of other processes that have to do with this home."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, variables = (
                (process / "cmdline").read_bytes(),
                (process / "environ").read_bytes(),
            )
        except OSError:
            continue
        ours = os.fsencode(f"RASTERSOURCES_HOME={home}\0") in variables
        if ours and int(process.name) != os.getpid():
            found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def run_in_terminal(command: Iterable[str | Path], *, cwd: Path, **changes: str | Path) -> str:
    """Run to the end with standard error in a terminal; what that showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        list(command), cwd=cwd, env=environment(TERM="xterm", **changes),
        stdout=subprocess.DEVNULL, stderr=theirs,
    ):  # fmt: skip
        os.close(theirs)
        shown = shown_in(ours)
    os.close(ours)
    return shown


def shown_in(terminal: int) -> str:
    """All that is written to the other side of a terminal until it is closed."""
    return b"".join(iter(lambda: _some(terminal), b"")).decode()


def _some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # which is how a terminal says that its other side is closed
        return b""
