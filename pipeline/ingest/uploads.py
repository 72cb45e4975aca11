"""Processes uploads: claims the next one, reads it, registers or rejects it, and deletes files that are not needed.

The server does this in separate threads. The flow `uploads` does it once.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from threading import Event, Thread, get_ident
from time import monotonic

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pipeline.catalogue import uploads
from pipeline.catalogue.file_row import FileRow, file_row
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.sync_runs import forget_old_runs
from pipeline.catalogue.upload_files import claim_storage, discard_unneeded, sweep
from pipeline.catalogue.uploads import ClaimedUpload, UploadOutcome
from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.ingest.upload_turns import SECONDS_BETWEEN_LOOKS, Turns
from pipeline.raster import AssignedValues, ProcessReader, ReadOptions, TimeRule
from pipeline.storage import StoredFile
from pipeline.storage.uploads import DryRunUpload, UploadStore

MAX_READERS = 6
"""Maximum number of uploads that one server reads at a time; each takes two connections to the database."""
MAX_ATTEMPTS = 3
"""Maximum number of readings of a file whose rejection may be temporary."""
TEMPORARY_CODES = frozenset({"permission_denied", "changing"})
"""Codes of rejections that the file may not have caused, and that are quick to check again."""
SECONDS_BETWEEN_SWEEPS = 300.0
SECONDS_AFTER_ERROR = 2.0
SECONDS_KEPT = 60.0
"""How long an idle reading process is kept; it takes 40 MB, and half a second to start."""

logger = logging.getLogger("rastersources.uploads")


@dataclass(frozen=True)
class UploadWorker:
    """The objects with which uploads are processed."""

    engine: Engine
    store: UploadStore
    options: ReadOptions
    """Options for reading; each upload replaces the time rule and the assigned values."""
    pool: ProcessReader[FileRow]
    readers: int = 2
    """Number of uploads that are read at a time; an organisation has one less, so that it cannot block the others."""
    run_days: int = 400
    """Number of days for which the rows of runs are kept."""

    def turns(self) -> Turns:
        """Return new turns, which the readers of this worker share."""
        return Turns(self.engine, max(1, self.readers - 1))

    @contextmanager
    def own_process(self) -> Iterator["UploadWorker"]:
        """Yield the same worker with its own reading process, for one thread.

        The process is started first, so that no upload waits for the start of its reader while others are processed.
        """
        with ProcessReader(1, file_row) as pool:
            pool.wait_until_ready()
            yield replace(self, pool=pool)


def process_until(stop: Event, worker: UploadWorker) -> None:
    """Process uploads as they come, until `stop` is set.

    While the database or the storage does not answer, or the storage belongs to another catalogue, it waits. Raises
    any other error of a thread after all threads have ended.
    """
    turns, crew = worker.turns(), _WorkerThreads(stop)

    def read_while_some_wait() -> bool:
        if turns.any_wait():
            with worker.own_process() as reader:
                crew.repeat(
                    lambda: bool(process_waiting(reader, turns)),
                    SECONDS_BETWEEN_LOOKS,
                    SECONDS_KEPT,
                )
        return False

    def read() -> None:
        crew.repeat(read_while_some_wait, SECONDS_BETWEEN_LOOKS)

    def delete_unneeded() -> bool:
        sweep(worker.engine, worker.store)
        forget_old_runs(worker.engine, worker.run_days)
        return False

    def claim_store() -> bool:
        claim_storage(worker.engine, worker.store)
        return True

    if crew.retry(claim_store):
        for _ in range(worker.readers):
            crew.start(read)
        crew.start(lambda: crew.repeat(delete_unneeded, SECONDS_BETWEEN_SWEEPS))
    crew.wait()


def process_all(worker: UploadWorker) -> list[UploadOutcome]:
    """Process all waiting uploads, in as many threads as the worker has readers; return the outcomes."""
    turns = worker.turns()

    def process(_: int) -> list[UploadOutcome]:
        with worker.own_process() as reader:
            return list(chain.from_iterable(iter(lambda: process_waiting(reader, turns), [])))

    with ThreadPoolExecutor(worker.readers, "reads uploads") as threads:
        return list(chain.from_iterable(threads.map(process, range(worker.readers))))


def process_waiting(worker: UploadWorker, turns: Turns | None = None) -> list[UploadOutcome]:
    """Process the upload whose turn it is; return its outcome in a list, or an empty list if no upload waits."""
    turns = turns or worker.turns()
    while True:
        with turns.next() as upload_id:
            if upload_id is None:
                return []
            if outcome := _process(worker, upload_id):
                return [outcome]


def _process(worker: UploadWorker, upload_id: int) -> UploadOutcome | None:
    """Process one upload; return None if another server has claimed it or it was finished."""
    with uploads.hold_upload(worker.engine, upload_id) as is_held:
        upload = uploads.claim_upload(worker.engine, upload_id) if is_held else None
        return register_or_reject(worker, upload, read_upload(worker, upload)) if upload else None


def read_upload(worker: UploadWorker, upload: ClaimedUpload) -> FileRow | Rejection:
    """Read the file of an upload."""
    try:
        file: StoredFile | Rejection = worker.store.file(upload.uri)
    except RasterError as error:
        file = Rejection(upload.uri, error.code, error.message)
    (outcome,) = worker.pool.read([file], reading_options(worker, upload))
    return outcome


def reading_options(worker: UploadWorker, upload: ClaimedUpload | DryRunUpload) -> ReadOptions:
    """Return the options with the values that the client sent with the file."""
    rule = TimeRule(time=upload.timestamp, from_tag=upload.temporal)
    assigned = AssignedValues(crs=upload.crs, nodata=upload.nodata, by="the upload")
    return replace(worker.options, time_rule=rule, assigned=assigned)


def register_or_reject(
    worker: UploadWorker, upload: ClaimedUpload, reading: FileRow | Rejection
) -> UploadOutcome:
    """Register or reject an upload, and delete the files that are not needed any more."""
    if isinstance(reading, Rejection):
        again = reading.code in TEMPORARY_CODES and upload.attempts < MAX_ATTEMPTS
        outcome = uploads.reject_upload(worker.engine, upload, reading, again=again)
    else:
        outcome = uploads.register_upload(worker.engine, upload, reading)
    if outcome.unused:
        discard_unneeded(worker.engine, worker.store, outcome.unused)
    return outcome


def dry_run(worker: UploadWorker, upload: DryRunUpload) -> int:
    """Return how many files an upload would replace, without storing anything.

    Raises RasterError if the upload would be rejected, TransientError if this cannot be determined now.
    """
    (reading,) = worker.pool.read([upload.file], reading_options(worker, upload))
    if isinstance(reading, Rejection):
        message = reading.message.replace(upload.file.real_path, "the file")
        raise RasterError(hide_folders(message), reading.code)
    return uploads.count_replaced_files(worker.engine, upload.source_id, reading)


class _WorkerThreads:
    """Threads that run until they are stopped, or until one of them fails."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._threads: list[Thread] = []
        self._failures: list[BaseException] = []
        self._warnings: dict[int, str] = {}
        """Thread id -> the reason why the thread waits now."""

    def start(self, work: Callable[[], None]) -> None:
        """Start a daemon thread, so that a file that hangs does not prevent the server from stopping."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - wait() raises it
                self._failures.append(error)

        self._threads.append(Thread(target=guarded, name="uploads", daemon=True))
        self._threads[-1].start()

    def wait(self) -> None:
        """Wait until all threads have ended; raise the error of a failed thread."""
        for thread in self._threads:
            thread.join()
        for error in self._failures:
            raise error

    def repeat(self, work: Callable[[], bool], seconds: float, patience: float = inf) -> None:
        """Run work repeatedly; pause for `seconds` each time it returns False.

        Returns after it has returned only False for `patience` seconds, or when the threads must end.
        """
        useful = monotonic()
        while (busy := self.retry(work)) is not None and monotonic() - useful < patience:
            if busy:
                useful = monotonic()
            else:
                self._pause(seconds)

    def retry(self, work: Callable[[], bool]) -> bool | None:
        """Run work until it succeeds, with pauses; return its result, or None when the threads must end."""
        while not self._stop.is_set() and not self._failures:
            try:
                result = work()
            except (RastersourcesError, psycopg.Error, SQLAlchemyError, OSError) as error:
                self._warn(str(error))
                self._pause(SECONDS_AFTER_ERROR)
            else:
                self._warnings.pop(get_ident(), None)
                return result
        return None

    def _warn(self, warning: str) -> None:
        """Log a warning once, even if it lasts long or several threads report it."""
        if warning not in self._warnings.values():
            logger.warning("uploads wait: %s", warning)
        self._warnings[get_ident()] = warning

    def _pause(self, seconds: float) -> None:
        """Pause until the time is over, `stop` is set or another thread fails."""
        end = monotonic() + seconds
        while not self._failures and (left := end - monotonic()) > 0:
            if self._stop.wait(min(left, SECONDS_BETWEEN_LOOKS)):
                return
