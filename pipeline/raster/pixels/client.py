"""The client of a pixel process: it starts the process when it is needed, and replaces one that crashes or hangs."""

import os
import signal
from threading import Lock
from typing import Any

from pipeline.errors import RastersourcesError, TimedOut, TransientError, Unreadable
from pipeline.raster.budget import Budget
from pipeline.raster.linked_folder import remove_dead_folders
from pipeline.raster.pixels.requests import ExportedFile, PixelLimits, Request
from pipeline.raster.workers.child import ChildProcess

GRACE_SECONDS = 5.0
"""A process that exceeds its time limit is killed after this many more seconds, which include its start."""
_TRIES = 2
"""Number of attempts: the process may end once by chance, for example from a lack of memory."""


class PixelProcess:
    """Answers one request at a time; other threads wait."""

    def __init__(self, budget: Budget) -> None:
        """`budget` has the limits for reading a header, and for the size of a block."""
        self._budget = budget
        self._child: ChildProcess | None = None
        self._busy = Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The id of the process; None while there is no process."""
        return self._child.pid if self._child else None

    def ask(self, request: Request, limits: PixelLimits) -> Any:
        """Return the answer to a request; for an Export it is an open binary file.

        Raises a RasterError, TransientError or CatalogueError.
        """
        with self._busy:
            answer = self._answer(request, limits)
        if isinstance(answer, RastersourcesError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        if child := self._child:
            child.kill()  # then a thread that waits for it gets an error
        with self._busy:
            if self._child:
                self._child.end(patience=0)
                self._child = None

    def _answer(self, request: Request, limits: PixelLimits) -> Any:
        """Return the answer or an error of the request; try again if the process ends."""
        last_line = ""
        for _ in range(_TRIES):
            if self._closed:
                raise TransientError("the server is stopping; send the request again")
            child = self._child or self._start()
            try:
                return self._receive(child, request, limits)
            except (EOFError, OSError):
                status = self._end(GRACE_SECONDS)
                last_line = child.last_line
                if status == -signal.SIGALRM:
                    raise _timed_out(limits) from None
        raise Unreadable(f"reading the pixels crashes the process ({last_line}); check the files")

    def _end(self, patience: float) -> int:
        assert self._child
        child, self._child = self._child, None
        status = child.end(patience)
        remove_dead_folders()
        return status

    def _start(self) -> ChildProcess:
        self._child = ChildProcess("pipeline.raster.pixels.process")
        self._child.send(self._budget)
        return self._child

    def _receive(self, child: ChildProcess, request: Request, limits: PixelLimits) -> Any:
        """Return the answer or the error. Raises EOFError or OSError if the process ended, and TimedOut."""
        child.send((request, limits))
        if not child.connection.poll(limits.seconds + GRACE_SECONDS):
            self._end(patience=0)
            raise _timed_out(limits)
        answer = child.connection.recv()
        if isinstance(answer, ExportedFile):
            return os.fdopen(
                os.open(f"/proc/{child.pid}/fd/{answer.descriptor}", os.O_RDONLY), "rb"
            )
        return answer


def _timed_out(limits: PixelLimits) -> TimedOut:
    return TimedOut(f"it takes more than {limits.seconds:g} s; request fewer pixels")
