"""Runs several processes that serve one port; when a process ends, a new one replaces it."""

import gc
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from time import sleep
from typing import NoReturn, Self

from pipeline.cli.shutdown import exit_when_input_closes
from pipeline.cli.terminal import echo_error
from pipeline.errors import CatalogueError

FORK = multiprocessing.get_context("fork")
SECONDS_TO_STOP = 10.0
"""Time to answer open requests; uvicorn itself waits for 5 seconds."""
SECONDS_BETWEEN_STARTS = 0.5
COLLECTIONS = 700, 10, 10
"""Python's default thresholds, so that a serving process collects garbage often, and a little at a time."""

Serve = Callable[[int, Callable[[], None]], None]
"""Takes the number of a process and a function; serves until SIGTERM, and calls the function when it answers."""


class ServerProcesses:
    """Several serving processes and one that starts them; all end with this process, even when it is killed.

    They are forks, so that they share the memory of imported modules. The process that starts them has no threads,
    because a fork copies the locks that threads hold, but not the threads.
    """

    def __init__(self, count: int, listening: socket.socket, serve: Serve) -> None:
        self._count, self._listening, self._serve = count, listening, serve
        self._started = FORK.Semaphore(0)
        self._alive, self._end = os.pipe()
        """A pipe to which nothing is written; its reading end reports EOF when this process has ended."""
        self._starter = FORK.Process(target=self._keep_running)

    def __enter__(self) -> Self:
        """Start the processes; this process must not have threads yet."""
        self._starter.start()
        os.close(self._alive)
        self._listening.close()
        return self

    def wait_until_ready(self) -> None:
        """Return when all processes answer; raise CatalogueError when the starting process has ended."""
        for _ in range(self._count):
            while not self._started.acquire(timeout=SECONDS_BETWEEN_STARTS):
                if not self._starter.is_alive():
                    self.wait()

    def wait(self) -> NoReturn:
        """Wait for a signal and raise its exception; raise CatalogueError when the processes end by themselves."""
        while self._starter.is_alive():
            # Without a timeout, a signal that another thread receives would not wake this thread.
            self._starter.join(SECONDS_BETWEEN_STARTS)
        raise CatalogueError("the processes of the server have ended; start the server again")

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._starter.join(SECONDS_TO_STOP)
        if self._starter.is_alive() and self._starter.pid is not None:
            os.killpg(self._starter.pid, signal.SIGKILL)

    def _keep_running(self) -> None:
        """Start the processes, and replace those that end, until the parent has ended."""
        os.close(self._end)
        os.setpgrp()  # so that Ctrl-C reaches only the parent
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        gc.freeze()  # the collector would write to shared memory
        gc.set_threshold(*COLLECTIONS)
        running = [self._start(index) for index in range(self._count)]
        while self._alive not in (ended := wait([self._alive, *(p.sentinel for p in running)])):
            for index, process in enumerate(running):
                if process.sentinel in ended:
                    process.join()
                    echo_error(
                        f"a process of the server ended (status {process.exitcode}); starting a new one"
                    )
                    running[index] = self._start(index)
            sleep(SECONDS_BETWEEN_STARTS)
        self._listening.close()
        for process in running:
            process.join()

    def _start(self, number: int) -> ForkProcess:
        process = FORK.Process(target=self._work, args=(number,))
        process.start()
        return process

    def _work(self, number: int) -> None:
        """Serve until the parent has ended."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        exit_when_input_closes(kill_after=SECONDS_TO_STOP, descriptor=self._alive)
        self._serve(number, self._started.release)
