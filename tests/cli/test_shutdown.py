"""How signals end a process."""

import subprocess
import sys
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from tests.support.commands import environment

PROGRAM = """
import os, threading
from pipeline.cli.shutdown import exit_on_signals

def end():
    os.kill(os.getpid(), {signal_number})

try:
    with exit_on_signals():
        {during}
finally:
    print("stopped what was started", flush=True)
# Python waits for this thread when it shuts down, as for the threads of a pool
threading.Thread(target=lambda: (threading.main_thread().join(), end(), threading.Event().wait())).start()
"""


def run_program(signal_number: Signals, during: str) -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(signal_number=int(signal_number), during=during)
    return subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )  # fmt: skip


IN_PYDANTIC = """import typing, pydantic
        kind = typing.Annotated[int, pydantic.PlainSerializer(lambda _: end())]
        pydantic.TypeAdapter(kind).dump_python(1)
"""
"""pydantic turns any exception into an error of its own."""


@pytest.mark.parametrize("during", ["end()", IN_PYDANTIC], ids=["ours", "pydantic"])
@pytest.mark.parametrize("signal_number", [SIGTERM, SIGHUP])
def test_a_signal_ends_a_process_in_order(signal_number: Signals, during: str) -> None:
    done = run_program(signal_number, during)
    assert (done.returncode, done.stdout, done.stderr) == (143, "stopped what was started\n", "")


def test_a_closed_terminal_does_not_end_a_program_under_nohup() -> None:
    program = PROGRAM.partition("# Python")[0].format(signal_number=int(SIGHUP), during="end()")
    command = ["nohup", sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "stopped what was started\n"


@pytest.mark.parametrize("signal_number", [SIGTERM, SIGINT])
def test_a_signal_while_python_shuts_down_prints_nothing(signal_number: Signals) -> None:
    done = run_program(signal_number, "pass")
    assert (done.returncode, done.stderr) == (-signal_number, "")
    assert done.stdout == "stopped what was started\n"


WITHOUT_PARENT = """
import signal
from pipeline.cli.shutdown import exit_when_input_closes

signal.signal(signal.SIGTERM, lambda *_: print("asked to end", flush=True))
exit_when_input_closes(kill_after=0.1)
while True:
    signal.pause()
"""


def test_a_process_whose_input_closes_is_killed_if_it_does_not_end() -> None:
    command = [sys.executable, "-c", WITHOUT_PARENT]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, env=environment(), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-SIGKILL, "asked to end\n")
