"""Reads many GeoTIFFs in worker processes that may hang or crash without harm to the rest."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Self

from pipeline.errors import (
    RasterError,
    RastersourcesError,
    Rejection,
    TimedOut,
    TransientError,
    Unreadable,
)
from pipeline.raster.linked_folder import remove_dead_folders
from pipeline.raster.models import AssignedValues, Progress, RasterFile, ReadOptions, TimeRule
from pipeline.storage import StoredFile, rejection

Outcome = RasterFile | Rejection

_MOST_AT_ONCE = 64
"""Files that a worker holds: enough to read on while their reader is busy with earlier ones."""

_WINDOW = 4 * _MOST_AT_ONCE
"""Files per worker, at most, that are ahead of the one that is due next."""

_MOST_FAILED_STARTS = 3
"""Processes that may end before they are ready."""

_GRACE = 5.0
"""Seconds after which a worker that did not stop itself in time is stopped."""

_OPTIONS_OF_GDAL = ("GDAL_", "OGR_", "CPL_", "VSI", "GTIFF_", "TIFF_", "OSR_", "PROJ_")
_DATA_FOLDERS = ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB")

FileOptions = ReadOptions | Callable[[StoredFile], ReadOptions]
"""How files are read: all in one way, or each in its own; picklable where other machines read."""


@dataclass(frozen=True)
class OptionsByFile:
    """Reads each file as of a time of its own, and with what is assigned to it."""

    options: ReadOptions
    """But for their time rule."""
    rules: Mapping[str, TimeRule]
    """By URI."""
    assigned: Mapping[str, AssignedValues] = field(default_factory=dict)
    """By URI; for others that of the options."""

    def __call__(self, file: StoredFile) -> ReadOptions:
        """How to read a file."""
        assigned = self.assigned.get(file.uri, self.options.assigned)
        return replace(self.options, time_rule=self.rules[file.uri], assigned=assigned)


def read_all(
    files: Iterable[StoredFile | Rejection],
    options: FileOptions,
    workers: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Iterator[RasterFile | Rejection]:
    """What `read` makes of each file, in their order; what was refused before passes through.

    Lazy: only some hundred files for each worker are under way. A file that takes longer than its
    budget is refused as `timeout`, one that twice ends the process that reads it as `unreadable`.
    `progress` hears of files whose pixels are read for statistics, a few times a second.
    Raises CatalogueError for a time rule that cannot work, TransientError where no worker starts.
    """
    with ProcessReader(workers) as pool:
        yield from pool.read(files, options, progress)


class ProcessReader:
    """Worker processes for one reading after the other, started when they are needed."""

    def __init__(self, workers: int) -> None:
        self._pool = _Pool(max(1, workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def read(
        self,
        files: Iterable[StoredFile | Rejection],
        options: FileOptions,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Iterator[RasterFile | Rejection]:
        """As `read_all`; one that was left half-way ends when the next begins."""
        options_for = options if callable(options) else lambda _: options
        return self._pool.outcomes((_Task.of(item, options_for) for item in files), progress)


@dataclass
class _Task:
    """A file on its way."""

    file: StoredFile
    options: ReadOptions
    outcome: Outcome | None = None
    crashes: int = 0

    @staticmethod
    def of(
        item: StoredFile | Rejection, options_for: Callable[[StoredFile], ReadOptions]
    ) -> "_Task | Rejection":
        return item if isinstance(item, Rejection) else _Task(item, options_for(item))

    def refuse(self, error: RasterError) -> None:
        self.outcome = rejection(self.file, error)


class _Pool:
    """The workers, and the tasks that they gave back."""

    def __init__(self, size: int) -> None:
        _remove_folders_of_before()
        self._size = size
        self._workers: list[_Worker] = []
        self._again: deque[_Task] = deque()
        self._appetite = 1
        self._failed_starts = 0

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end(patience=0)

    def outcomes(
        self, source: Iterator[_Task | Rejection], progress: Callable[[Progress], None]
    ) -> Iterator[Outcome]:
        """One for each task, in their order."""
        self._end_what_was_left()
        due: deque[_Task | Rejection] = deque()
        while True:
            self._feed(source, due)
            if not due:
                return
            while due and (outcome := _outcome(due[0])) is not None:
                due.popleft()
                yield outcome
            if due:
                self._listen(progress)

    def _end_what_was_left(self) -> None:
        """Ends workers that still read for who no longer listens, after an error or without interest."""
        for worker in [worker for worker in self._workers if worker.tasks]:
            worker.end(patience=0)
            self._workers.remove(worker)
        self._again.clear()

    def _feed(self, source: Iterator[_Task | Rejection], due: deque[_Task | Rejection]) -> None:
        """Gives tasks to the workers that have none, and starts workers up to the size."""
        idle = [worker for worker in self._workers if not worker.tasks]
        while idle or len(self._workers) < self._size:
            tasks = self._take(source, due)
            if not tasks:
                return
            if not idle:
                idle.append(_Worker())
                self._workers.append(idle[0])
            idle.pop().give(tasks)
            if not tasks[-1].options.statistics:  # which take long: each to whoever is free
                self._appetite = min(2 * self._appetite, _MOST_AT_ONCE)

    def _take(
        self, source: Iterator[_Task | Rejection], due: deque[_Task | Rejection]
    ) -> list[_Task]:
        """Tasks for one worker: those that another gave back first; as many as the window has."""
        tasks: list[_Task] = []
        while self._again and len(tasks) < self._appetite:
            tasks.append(self._again.popleft())
        while len(tasks) < self._appetite and len(due) < self._size * _WINDOW:
            item = next(source, None)
            if item is None:
                break
            due.append(item)
            if isinstance(item, _Task):
                tasks.append(item)
        return tasks

    def _listen(self, progress: Callable[[Progress], None]) -> None:
        """Waits for outcomes, and replaces workers that ended or hang."""
        busy = [worker for worker in self._workers if worker.tasks]
        ready = wait([worker.connection for worker in busy], timeout=1.0)
        for worker in busy:
            if worker.connection in ready:
                try:
                    worker.receive(progress)
                except (EOFError, OSError):
                    self._bury(worker, worker.end(patience=_GRACE) == -signal.SIGALRM)
            elif worker.overdue():
                worker.end(patience=0)
                self._bury(worker, timed_out=True)

    def _bury(self, worker: "_Worker", timed_out: bool) -> None:
        """Sees to the tasks of a worker that ended while it read the first of them."""
        self._workers.remove(worker)
        remove_dead_folders()
        if not worker.ready:
            self._give_up_or_start_again(worker)
            return
        task = worker.tasks.popleft()
        task.crashes += 1
        if timed_out:
            seconds = task.options.budget.seconds
            task.refuse(TimedOut(f"reading takes over {seconds:g} s; raise the budget for time"))
        elif task.crashes > 1:
            task.refuse(
                Unreadable(f"reading it ends the process ({worker.last_words}); write it again")
            )
        else:
            # Once may be the fault of the machine: of memory running out, or of a person.
            worker.tasks.appendleft(task)
        self._again.extend(worker.tasks)

    def _give_up_or_start_again(self, worker: "_Worker") -> None:
        """No file is at fault where a process ends before it reads; some such ends are chance."""
        self._failed_starts += 1
        if self._failed_starts > _MOST_FAILED_STARTS:
            raise TransientError(f"no process to read files starts: {worker.last_words}")
        self._again.extend(worker.tasks)


class _Worker:
    """A process that reads files, one after the other, and the tasks that it has."""

    def __init__(self) -> None:
        self.tasks: deque[_Task] = deque()
        self.ready = False
        self.last_words = ""
        self.connection, its_end = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # Ctrl-C is for the parent, also in the instant before the process could say so itself.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "pipeline.raster.workers.process",
                    str(its_end.fileno()),
                ],
                env=_environment(),
                pass_fds=[its_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                process_group=0,
            )
        except OSError as error:
            self.connection.close()
            self._errors.close()
            raise TransientError(f"no process to read files starts: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            its_end.close()
        self._heard = time.monotonic()

    def give(self, tasks: list[_Task]) -> None:
        """Only to a worker without tasks, which is listening."""
        self.tasks.extend(tasks)
        self._heard = time.monotonic()
        # A worker that ended meanwhile is noticed when it is listened to.
        with suppress(BrokenPipeError):
            self.connection.send([(task.file, task.options) for task in tasks])

    def receive(self, progress: Callable[[Progress], None]) -> None:
        """Takes the outcomes that are there. Raises EOFError or OSError where the process ended."""
        while self.connection.poll():
            message = self.connection.recv()
            self._heard = time.monotonic()
            if isinstance(message, RastersourcesError):
                self.tasks.popleft()
                raise message
            if message is None:
                self.ready = True
            elif isinstance(message, Progress):
                progress(message)
            else:
                self.tasks.popleft().outcome = message

    def overdue(self) -> bool:
        """Whether it should have stopped itself by now, and does not."""
        limit = self.tasks[0].options.budget.seconds + _GRACE
        return self.ready and time.monotonic() - self._heard > limit

    def end(self, patience: float) -> int:
        """The process's exit status, as subprocess gives it; killed after `patience` seconds."""
        self.connection.close()
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        with self._errors as errors:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").split("\n")
        self.last_words = next((line for line in reversed(lines) if line), _meaning(status))
        return status


@cache
def _remove_folders_of_before() -> None:
    """Once for a process: what processes left that were killed."""
    remove_dead_folders()


def _outcome(item: _Task | Rejection) -> Outcome | None:
    return item if isinstance(item, Rejection) else item.outcome


def _meaning(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


def _environment() -> dict[str, str]:
    """The parent's, with this package where Python finds it, and without threads for algebra.

    No variable tells GDAL or PROJ what to open or to load, but for where their own data are.
    """
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _DATA_FOLDERS or not name.startswith(_OPTIONS_OF_GDAL)
    }
    return {
        **kept,
        "GDAL_CONFIG_FILE": os.devnull,
        "GDAL_DRIVER_PATH": "disable",
        "PROJ_NETWORK": "OFF",
        "PYTHONPATH": os.pathsep.join(paths),
        "OPENBLAS_NUM_THREADS": "1",
    }
