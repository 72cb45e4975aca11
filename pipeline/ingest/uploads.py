"""From uploads to raster files: take up what waits, read it, register it; the one order in which that is done.

The server does this beside itself, and a flow for those who orchestrate with Prefect.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread, get_ident
from time import monotonic

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.upload_files import claim_storage, discard_unneeded, sweep
from pipeline.catalogue.uploads import (
    ClaimedUpload,
    UploadOutcome,
    claim,
    held,
    register_upload,
    reject_upload,
    try_upload,
)
from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.ingest.upload_turns import SECONDS_BETWEEN_LOOKS, Turns
from pipeline.raster import AssignedValues, ProcessReader, RasterFile, ReadOptions, TimeRule
from pipeline.storage import StoredFile
from pipeline.storage.uploads import DryRunUpload, UploadStore

MOST_READERS = 6
"""Uploads that one server reads at a time, whatever the number of processes: each takes two connections."""
MOST_ATTEMPTS = 3
"""Readings of a file whose refusal may pass."""
PASSING = frozenset({"permission_denied", "changing"})
"""Codes of refusals that may be no fault of the file, and cost no time to look at again."""
SECONDS_BETWEEN_SWEEPS = 300.0
SECONDS_AFTER_TROUBLE = 2.0

logger = logging.getLogger("rastersources.uploads")


@dataclass(frozen=True)
class UploadWorker:
    """Who processes uploads, and with what."""

    engine: Engine
    deposit: UploadStore
    options: ReadOptions
    """Their time rule, and what is assigned, are replaced by those of each upload."""
    pool: ProcessReader
    readers: int = 2
    """Uploads that are read at a time, of one organisation one less: so no file that hangs keeps others waiting."""

    def turns(self) -> Turns:
        """For all that read for this worker."""
        return Turns(self.engine, max(1, self.readers - 1))


def process_until(stop: Event, worker: UploadWorker) -> None:
    """Process uploads as they come; while the database or the storage is away, or another catalogue's, wait for it.

    Raises what is a fault of ours in one of the threads, once the others were told to end.
    """
    turns, crew, storage = worker.turns(), _Crew(stop), _Storage(worker)
    for _ in range(worker.readers):
        crew.start(lambda: _read(crew, worker, turns, storage))
    crew.start(lambda: crew.repeat(storage.sweep, SECONDS_BETWEEN_SWEEPS))
    crew.wait()


def process_all(worker: UploadWorker) -> list[UploadOutcome]:
    """Process the uploads that wait now, by all readers; what became of them."""
    turns = worker.turns()

    def process(_: int) -> list[UploadOutcome]:
        with ProcessReader(1) as pool:
            reader = replace(worker, pool=pool)
            return [
                one for some in iter(lambda: process_waiting(reader, turns), []) for one in some
            ]

    with ThreadPoolExecutor(worker.readers, "reads uploads") as threads:
        return [one for some in threads.map(process, range(worker.readers)) for one in some]


def process_waiting(worker: UploadWorker, turns: Turns | None = None) -> list[UploadOutcome]:
    """Process an upload that waits, of the organisation whose turn it is; what became of it, if there was one."""
    turns = turns or worker.turns()
    while True:
        with turns.next() as number:
            if number is None:
                return []
            if settled := _process(worker, number):
                return [settled]


def _process(worker: UploadWorker, number: int) -> UploadOutcome | None:
    """What became of an upload; None where another server has it, or it was ended."""
    with held(worker.engine, number) as alone:
        upload = claim(worker.engine, number) if alone else None
        return conclude(worker, upload, read_upload(worker, upload)) if upload else None


def read_upload(worker: UploadWorker, upload: ClaimedUpload) -> RasterFile | Rejection:
    """What reading makes of its file."""
    file = look_up(worker.deposit, upload)
    (outcome,) = worker.pool.read([file], how_to_read(worker, upload))
    return outcome


def how_to_read(worker: UploadWorker, upload: ClaimedUpload) -> ReadOptions:
    """How the file of an upload is read: by what the client said of it."""
    rule = TimeRule(time=upload.time, from_tag=upload.temporal)
    assigned = AssignedValues(crs=upload.crs, nodata=upload.nodata, by="the upload")
    return replace(worker.options, time_rule=rule, assigned=assigned)


def judge_upload(worker: UploadWorker, upload: DryRunUpload) -> int:
    """How many files an upload would replace; nothing is stored.

    Raises RasterError where the upload would be refused, TransientError where that cannot be said now.
    """
    claimed = ClaimedUpload(
        id=0,
        source_id=upload.source_id,
        uri=upload.file.uri,
        time=upload.timestamp,
        attempts=1,
        temporal=upload.temporal,
        crs=upload.crs,
        nodata=upload.nodata,
    )
    (outcome,) = worker.pool.read([upload.file], how_to_read(worker, claimed))
    if isinstance(outcome, Rejection):
        message = outcome.message.replace(upload.file.real_path, "the file")
        raise RasterError(hide_folders(message), outcome.code)
    return try_upload(worker.engine, claimed, outcome)


class _Crew:
    """Threads that work until they are told to stop, or until one of them breaks."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._threads: list[Thread] = []
        self._faults: list[BaseException] = []
        self._troubles: dict[int, str] = {}
        """What keeps a thread from working now, by the thread."""

    def start(self, work: Callable[[], None]) -> None:
        """A daemon, as a file that hangs does not keep a server from stopping."""

        def guarded() -> None:
            try:
                work()
            except BaseException as fault:  # noqa: BLE001 - raised by who waits
                self._faults.append(fault)

        self._threads.append(Thread(target=guarded, name="uploads", daemon=True))
        self._threads[-1].start()

    def wait(self) -> None:
        """Until all have ended; raises what one of them broke with."""
        for thread in self._threads:
            thread.join()
        for fault in self._faults:
            raise fault

    def repeat(self, work: Callable[[], bool], seconds: float) -> None:
        """Do it again at once while there is something to do, otherwise after some seconds."""
        while not self._stop.is_set() and not self._faults:
            try:
                busy = work()
            except (RastersourcesError, psycopg.Error, SQLAlchemyError, OSError) as error:
                self._warn(str(error))
                self._pause(SECONDS_AFTER_TROUBLE)
            else:
                self._troubles.pop(get_ident(), None)
                if not busy:
                    self._pause(seconds)

    def _warn(self, trouble: str) -> None:
        """Log each trouble once, however long it lasts and however many threads have it."""
        if trouble not in self._troubles.values():
            logger.warning("uploads wait: %s", trouble)
        self._troubles[get_ident()] = trouble

    def _pause(self, seconds: float) -> None:
        """Also short when another thread breaks."""
        until = monotonic() + seconds
        while not self._faults and (left := until - monotonic()) > 0:
            if self._stop.wait(min(left, SECONDS_BETWEEN_LOOKS)):
                return


class _Storage:
    """The storage of uploads, which is taken up once before anything in it is read or deleted."""

    def __init__(self, worker: UploadWorker) -> None:
        self._engine, self._deposit = worker.engine, worker.deposit
        self._lock, self._taken_up = Lock(), False

    def take_up(self) -> None:
        """Raises CatalogueError where it is that of another catalogue, and TransientError."""
        with self._lock:
            if not self._taken_up:
                claim_storage(self._engine, self._deposit)
                self._taken_up = True

    def sweep(self) -> bool:
        """Delete what nothing needs; False, as there is nothing more to do."""
        self.take_up()
        sweep(self._engine, self._deposit)
        return False


def _read(crew: _Crew, worker: UploadWorker, turns: Turns, storage: _Storage) -> None:
    with ProcessReader(1) as pool:
        reader = replace(worker, pool=pool)

        def process() -> bool:
            storage.take_up()
            return bool(process_waiting(reader, turns))

        crew.repeat(process, SECONDS_BETWEEN_LOOKS)


def look_up(deposit: UploadStore, upload: ClaimedUpload) -> StoredFile | Rejection:
    """The file of an upload as it is now."""
    try:
        return deposit.file(upload.uri)
    except RasterError as error:
        return Rejection(upload.uri, error.code, error.message)


def conclude(
    worker: UploadWorker, upload: ClaimedUpload, outcome: RasterFile | Rejection
) -> UploadOutcome:
    """Register or refuse one upload, and delete what is not needed any more."""
    if isinstance(outcome, Rejection):
        again = outcome.code in PASSING and upload.attempts < MOST_ATTEMPTS
        settled = reject_upload(worker.engine, upload, outcome, again=again)
    else:
        settled = register_upload(worker.engine, upload, outcome)
    if settled.unused:
        discard_unneeded(worker.engine, worker.deposit, settled.unused)
    return settled
