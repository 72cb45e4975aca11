"""Reads many GeoTIFFs in worker processes, so that a hang or crash affects only one file."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import wait
from typing import Any, Generic, Self, TypeVar

from pipeline.errors import (
    RastersourcesError,
    Rejection,
    TimedOut,
    TransientError,
    Unreadable,
)
from pipeline.raster.budget import raise_limit
from pipeline.raster.linked_folder import remove_dead_folders
from pipeline.raster.models import PixelProgress, RasterFile, ReadOptions
from pipeline.raster.workers.child import ChildProcess
from pipeline.raster.workers.position import Position, open_shared_memory
from pipeline.storage import StoredFile, rejection

MAX_FILES_IN_WORKER = 128
"""Maximum number of files of a worker; it fetches them from a bucket together, and reads while its caller is busy."""

MAX_FILES_AHEAD = 4 * MAX_FILES_IN_WORKER
"""Maximum number of files for each worker that are ahead of the next outcome."""

MAX_FAILED_STARTS = 3
"""Maximum number of processes that may end before they are ready."""

GRACE_SECONDS = 5.0
"""A worker that exceeds its time limit is killed after this many more seconds."""

SECONDS_TO_START = 60

FileOptions = ReadOptions | Mapping[str, ReadOptions]
"""Options for all files, or for each by its URI."""

ShowProgress = Callable[[PixelProgress], None]
T = TypeVar("T")


class ProcessReader(Generic[T]):
    """Worker processes that start when they are needed, and are kept for the next reading.

    They send the result of `convert`, a picklable function, for each raster. So this process need not import the raster
    libraries.
    """

    def __init__(self, workers: int, convert: Callable[[RasterFile], T]) -> None:
        _remove_dead_folders_once()
        self._size = max(1, workers)
        self._convert = convert
        self._workers: list[_Worker] = []
        self._unfinished: deque[list[_Task]] = deque()
        """Tasks of workers that ended; the tasks of a list are read together."""
        self._files_at_once = 1
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end(patience=0)

    def start(self) -> None:
        """Start the processes now, so that they import their libraries while this process does other work."""
        self._workers += [_Worker(self._convert) for _ in range(self._size - len(self._workers))]

    def wait_until_ready(self) -> None:
        """Start the processes and wait until they are ready; `read` handles a process that fails."""
        self.start()
        for worker in self._workers:
            with suppress(EOFError, OSError):
                if worker.connection.poll(SECONDS_TO_START):
                    worker.receive(lambda _: None)

    def read(
        self,
        files: Iterable[StoredFile | Rejection],
        options: FileOptions,
        progress: ShowProgress = lambda _: None,
    ) -> Iterator[T | Rejection]:
        """Yield the outcome of `read` for each file, in order; rejections among the files pass through.

        It is lazy: only some hundred files for each worker are ahead. A file that exceeds its time limit is rejected as
        `timeout`, and one that crashes its process twice as `unreadable`. `progress` is called a few times a second
        while pixels are read for statistics. A new reading ends an unfinished one. Raises CatalogueError for an invalid
        time rule, TransientError if no worker starts.
        """
        self._end_busy_workers()
        source = (
            item
            if isinstance(item, Rejection)
            else _Task(item, options if isinstance(options, ReadOptions) else options[item.uri])
            for item in files
        )
        due: deque[_Task | Rejection] = deque()
        while True:
            self._assign_tasks(source, due)
            if not due:
                return
            while due:
                outcome = due[0].outcome if isinstance(due[0], _Task) else due[0]
                if outcome is None:
                    self._receive(progress)
                    break
                due.popleft()
                yield outcome

    def _end_busy_workers(self) -> None:
        """Kill workers whose caller stopped iterating."""
        for worker in [worker for worker in self._workers if worker.tasks]:
            worker.end(patience=0)
            self._workers.remove(worker)
        self._unfinished.clear()

    def _assign_tasks(
        self, source: "Iterator[_Task | Rejection]", due: "deque[_Task | Rejection]"
    ) -> None:
        """Give tasks to idle workers, and start workers up to the requested number."""
        idle = [worker for worker in self._workers if not worker.tasks]
        while idle or len(self._workers) < self._size:
            tasks = self._next_tasks(source, due)
            if not tasks:
                return
            if not idle:
                idle.append(_Worker(self._convert))
                self._workers.append(idle[0])
            idle.pop().assign(tasks)
            # Statistics take long, so files with statistics are assigned one by one.
            if not tasks[-1].options.statistics:
                self._files_at_once = min(2 * self._files_at_once, MAX_FILES_IN_WORKER)

    def _next_tasks(
        self, source: "Iterator[_Task | Rejection]", due: "deque[_Task | Rejection]"
    ) -> "list[_Task]":
        """Return tasks for one worker: unfinished ones, or the next ones."""
        if self._unfinished:
            return self._unfinished.popleft()
        tasks: list[_Task] = []
        while len(tasks) < self._files_at_once and len(due) < self._size * MAX_FILES_AHEAD:
            item = next(source, None)
            if item is None:
                break
            due.append(item)
            if isinstance(item, _Task):
                tasks.append(item)
        return tasks

    def _receive(self, progress: ShowProgress) -> None:
        """Wait for outcomes, and remove workers that ended or hang."""
        busy = [worker for worker in self._workers if worker.tasks]
        ready = wait([worker.connection for worker in busy], timeout=1.0)
        for worker in busy:
            if worker.connection in ready:
                try:
                    worker.receive(progress)
                except (EOFError, OSError):
                    status = worker.end(patience=GRACE_SECONDS)
                    self._remove(worker, timed_out=status == -signal.SIGALRM)
            elif worker.is_overdue():
                worker.end(patience=0)
                self._remove(worker, timed_out=True)

    def _remove(self, worker: "_Worker", *, timed_out: bool) -> None:
        """Remove a worker that ended, and decide about the file that it was reading; its other files are read again."""
        self._workers.remove(worker)
        remove_dead_folders()
        suspects: list[_Task] = []
        if worker.ready:
            suspects = worker.suspects()
        else:
            # If a process ends before it is ready, no file caused it.
            self._failed_starts += 1
            if self._failed_starts > MAX_FAILED_STARTS:
                raise TransientError(
                    f"the processes that read files do not start: {worker.last_line}"
                )
        if others := [task for task in worker.tasks if task not in suspects]:
            self._unfinished.append(others)
        for task in suspects:
            task.crashes += 1
        if len(suspects) == 1:
            _reject_failed(suspects[0], worker.last_line, timed_out=timed_out)
        self._unfinished.extend([task] for task in suspects if task.outcome is None)


def _reject_failed(task: "_Task", last_line: str, *, timed_out: bool) -> None:
    """Reject a file that took too long, or that crashed a process for the second time."""
    if timed_out:
        seconds = task.options.budget.seconds
        advice = raise_limit("seconds", "RASTERSOURCES_FILE_SECONDS")
        error = TimedOut(f"reading takes more than {seconds:g} s; {advice}")
        task.outcome = rejection(task.file, error)
    elif task.crashes > 1:  # a single crash may be chance, such as a lack of memory
        sentence = f"reading it crashes the process ({last_line}); write it again"
        task.outcome = rejection(task.file, Unreadable(sentence))


@dataclass(eq=False)
class _Task:
    """A file to read."""

    file: StoredFile
    options: ReadOptions
    outcome: Any = None
    crashes: int = 0


class _Worker(ChildProcess):
    """A process that reads one chunk of files at a time, with its tasks."""

    def __init__(self, convert: Callable[[RasterFile], Any]) -> None:
        self.tasks: list[_Task] = []
        self.ready = False
        memory = open_shared_memory()
        self._position = Position(memory)
        try:
            super().__init__("pipeline.raster.workers.process", memory)
        finally:
            os.close(memory)
        self._last_message = time.monotonic()
        self.send(convert)

    def assign(self, tasks: list[_Task]) -> None:
        """Send tasks to a worker that has none."""
        self.tasks = tasks
        self._position.write(None)
        self._last_message = time.monotonic()
        self.send([(task.file, task.options) for task in tasks])

    def receive(self, progress: ShowProgress) -> None:
        """Receive the outcomes that have arrived. Raises EOFError or OSError if the process ended."""
        while self.connection.poll():
            message = self.connection.recv()
            self._last_message = time.monotonic()
            if message is None:
                self.ready = True
            elif isinstance(message, PixelProgress):
                progress(message)
            else:
                tasks, self.tasks = self.tasks, []
                if isinstance(message, RastersourcesError):
                    raise message
                for task, outcome in zip(tasks, message, strict=True):
                    task.outcome = outcome

    def suspects(self) -> list[_Task]:
        """Return the task that the process was reading when it ended; all tasks if it was not reading a single file."""
        index = self._position.read()
        return self.tasks if index is None else [self.tasks[index]]

    def is_overdue(self) -> bool:
        """Return whether it has exceeded its time limit."""
        limit = self.tasks[0].options.budget.seconds + GRACE_SECONDS
        return self.ready and time.monotonic() - self._last_message > limit


@cache
def _remove_dead_folders_once() -> None:
    remove_dead_folders()
