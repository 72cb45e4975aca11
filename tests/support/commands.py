"""Run the command line and the flows in separate processes, as a user does."""

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
    """Return the environment of the tests with these changes, and without other settings of ours.

    By default one process serves and one reads, because a second one takes half a second to start.
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
    """Replace the Python of a command by a warm one, for the command and its children."""
    assert command[0] == sys.executable
    return [warm_python(), *command[1:]]


def run(
    command: Iterable[str | Path], *, status: int = 0, cwd: Path = REPOSITORY, **changes: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with these environment variables, and check its exit status.

    Our own commands start warm, unless variables are set that Python or a library reads at its start.
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
    """Start one of our commands in a fork with these environment variables."""
    words = list(map(str, command))
    assert words[:3] == RASTERSOURCES
    return WarmProcess(words[1:], cwd, environment(**changes))


def without_progress(printed: str) -> list[str]:
    """Return the lines without those of progress, which slow machines print."""
    return [
        line for line in printed.splitlines() if not line.endswith((" files done", " files listed"))
    ]


def find_processes(home: Path) -> dict[int, str]:
    """Return the command lines of other processes with this RASTERSOURCES_HOME, by process id."""
    commands = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            variables = (process / "environ").read_bytes()
        except OSError:
            continue
        is_ours = os.fsencode(f"RASTERSOURCES_HOME={home}\0") in variables
        if is_ours and int(process.name) != os.getpid():
            commands[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return commands


def run_in_terminal(command: Iterable[str | Path], *, cwd: Path, **changes: str | Path) -> str:
    """Run a command to its end with standard error in a terminal; return the output of the terminal."""
    our_side, their_side = pty.openpty()
    with subprocess.Popen(
        list(command), cwd=cwd, env=environment(TERM="xterm", **changes),
        stdout=subprocess.DEVNULL, stderr=their_side,
    ):  # fmt: skip
        os.close(their_side)
        output = read_terminal(our_side)
    os.close(our_side)
    return output


def read_terminal(terminal: int) -> str:
    """Read a terminal until its other side is closed."""
    return b"".join(iter(lambda: _read_some(terminal), b"")).decode()


def _read_some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side of the terminal is closed
        return b""
