"""A program that tests start warm behaves as one that starts in a new Python."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.raster import ProcessReader
from tests.support.commands import environment
from tests.support.reading import keep_raster
from tests.support.warm_client import LIBRARY_VARIABLES, WORKER_VARIABLES
from tests.support.warm_process import WarmProcess
from tests.support.warm_python import warm_python

PROGRAMS = [
    "import os, sys; print(os.getcwd(), sys.argv, __name__, sys.stdin.read()); print('error', file=sys.stderr)",
    "raise SystemExit(7)",
    "raise SystemExit('a reason')",
    "import sys; sys.stderr = sys.stdout; raise ValueError",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import os, signal; signal.raise_signal(signal.SIGTERM)",
    "import atexit; atexit.register(print, 'last'); print('first')",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()",
    "import sys; print('prefect' in sys.modules); import flows.sync; print('prefect' in sys.modules)",
    "from prefect.settings import PREFECT_HOME; print(PREFECT_HOME.value())",
    "import os; os.environ['PREFECT_API_URL'] = 'http://a/api'\n"
    "from prefect.settings import PREFECT_API_URL; print(PREFECT_API_URL.value())",
    "import multiprocessing, os\nchild = multiprocessing.get_context('spawn').Process(target=os._exit, args=(5,))\n"
    "child.start(); child.join(); print(child.exitcode)",
    "import pyproj, socket\npairs = [socket.socketpair() for _ in range(20)]\n"
    "print(pyproj.Transformer.from_crs(28992, 3857).transform(0, 0))\n"
    "print([left.send(b'a') + len(right.recv(1)) for left, right in pairs])",
]  # fmt: skip


def run_program(python: str | Path, program: str, folder: Path) -> tuple[int, str, str]:
    """Run a program with a variable, an argument and an input; return its status, output and errors."""
    done = subprocess.run(
        [python, "-c", program, "argument"], cwd=folder, env=environment(PREFECT_HOME=folder),
        input="text", capture_output=True, text=True, check=False,
    )  # fmt: skip
    *_, last = done.stdout.splitlines(keepends=True) or [""]
    return done.returncode, last if "Traceback" in done.stdout else done.stdout, done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_warm_program_ends_as_a_new_one_does(program: str, tmp_path: Path) -> None:
    assert run_program(warm_python(), program, tmp_path) == run_program(
        sys.executable, program, tmp_path
    )


@pytest.mark.parametrize("program", PROGRAMS[1:], ids=range(1, len(PROGRAMS)))
def test_a_warm_process_ends_as_a_warm_program_does(program: str, tmp_path: Path) -> None:
    variables = environment(PREFECT_HOME=tmp_path)
    process = WarmProcess(["-c", program, "argument"], tmp_path, variables)
    printed, errors = process.communicate()
    *_, last = printed.splitlines(keepends=True) or [""]
    warm_result = process.returncode, last if "Traceback" in printed else printed, errors
    assert warm_result == run_program(warm_python(), program, tmp_path)


SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_fork(signal_number: signal.Signals) -> None:
    with subprocess.Popen(
        [warm_python(), "-c", SLEEP], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        fork = int(process.stdout.readline())
        assert fork != process.pid
        process.send_signal(signal_number)
        assert process.wait() == -signal_number
    while Path(f"/proc/{fork}").exists():  # the fork is killed a moment later
        time.sleep(0.01)


def test_a_killed_process_is_gone_when_it_has_been_waited_for(tmp_path: Path) -> None:
    process = WarmProcess(["-c", "import time; time.sleep(600)"], tmp_path, environment())
    assert process.poll() is None
    assert Path(f"/proc/{process.pid}").exists()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not Path(f"/proc/{process.pid}").exists()


NEEDS_NEW_PYTHON: list[tuple[list[str], dict[str, str]]] = [
    (["-O"], {}),
    ([], {"PYTHONWARNINGS": "ignore"}),
    ([], {"TZ": "UTC"}),
]


@pytest.mark.parametrize(
    ("options", "changes"), NEEDS_NEW_PYTHON, ids=["option", "Python", "time zone"]
)
def test_settings_that_python_reads_when_it_starts_need_a_new_python(
    options: list[str], changes: dict[str, str]
) -> None:
    program = "import os; print(os.getppid())"
    done = subprocess.run(
        [warm_python(), *options, "-c", program], env=environment(**changes), capture_output=True, text=True, check=True
    )  # fmt: skip
    assert int(done.stdout) == os.getpid()


@pytest.mark.parametrize("changed", [None, *WORKER_VARIABLES])
def test_a_worker_is_warm_with_the_variables_of_workers_alone(changed: str | None) -> None:
    variables = {**environment(), **WORKER_VARIABLES}
    for name in LIBRARY_VARIABLES:
        variables.pop(name, None)
    if changed:
        variables[changed] = "other"
    command = [str(warm_python()), "-P", "-c", "import os; print(os.getppid())"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert (int(done.stdout) == os.getpid()) == bool(changed)


def test_processes_that_read_for_a_test_are_warm() -> None:
    with ProcessReader(1, keep_raster) as reader:
        reader.wait_until_ready()
        command = Path(f"/proc/{reader._workers[0].pid}/cmdline").read_bytes()
    # A new program would have replaced the command line.
    assert str(warm_python()).encode() in command
