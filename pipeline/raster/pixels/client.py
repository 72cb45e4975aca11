"""A pixel process as its caller sees it: it starts when it is needed, and is replaced when it crashes or hangs."""

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
"""A process that does not stop itself in time is killed after so many seconds more. It also needs time to start."""
_TRIES = 2
"""That the process ends once may be chance, such as a lack of memory."""


class PixelProcess:
    """Answers one request at a time; threads wait for each other."""

    def __init__(self, budget: Budget) -> None:
        """`budget` limits what reading a header may cost, and the size of a block."""
        self._budget = budget
        self._child: ChildProcess | None = None
        self._busy = Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The number of the process; None while there is none."""
        return self._child.pid if self._child else None

    def ask(self, request: Request, limits: PixelLimits) -> Any:
        """Return the answer to a request; of an Export an open binary file.

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
            child.kill()  # a thread that waits for it notices that
        with self._busy:
            if self._child:
                self._child.end(patience=0)
                self._child = None

    def _answer(self, request: Request, limits: PixelLimits) -> Any:
        """Return the answer or an error of the request; try again where the process ends."""
        last_line = ""
        for _ in range(_TRIES):
            if self._closed:
                raise TransientError("the server is stopping; ask again")
            child = self._child or self._start()
            try:
                return self._receive(child, request, limits)
            except (EOFError, OSError):
                status = self._end(GRACE_SECONDS)
                last_line = child.last_line
                if status == -signal.SIGALRM:
                    raise _timed_out(limits) from None
        raise Unreadable(f"reading the pixels ends the process ({last_line}); check the files")

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
        """Return the answer or the error. Raises EOFError or OSError where the process ended, and TimedOut."""
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
    return TimedOut(f"it takes over {limits.seconds:g} s; ask for fewer pixels")
