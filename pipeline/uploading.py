"""From uploads to raster files: take up what waits, read it, register it; the one order in which that is done.

The server does this beside itself, and a flow for those who orchestrate with Prefect.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Thread
from time import monotonic

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pipeline.catalogue.uploads import (
    Claim,
    Settled,
    claim,
    held,
    refuse_upload,
    register_upload,
    unneeded,
)
from pipeline.deposit import SECONDS_AT_REST, Deposit
from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.raster import RasterFile, ReadingPool, ReadOptions, TimeRule
from pipeline.storage import StoredFile
from pipeline.turns import SECONDS_BETWEEN_LOOKS, Turns

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
class Worker:
    """Who processes uploads, and with what."""

    engine: Engine
    deposit: Deposit
    options: ReadOptions
    """Their time rule is replaced by that of each upload."""
    pool: ReadingPool
    readers: int = 2
    """Uploads that are read at a time, of one organisation one less: so no file that hangs keeps others waiting."""

    def turns(self) -> Turns:
        """For all that read for this worker."""
        return Turns(self.engine, max(1, self.readers - 1))


def work_until(stop: Event, worker: Worker) -> None:
    """Process uploads as they come; while the database or the storage is away, wait for it.

    Raises what is a fault of ours in one of the threads, once the others were told to end.
    """
    turns, crew = worker.turns(), _Crew(stop)
    for _ in range(worker.readers):
        crew.start(lambda: _read(crew, worker, turns))
    crew.start(lambda: crew.repeat(lambda: _sweep_now(worker), SECONDS_BETWEEN_SWEEPS))
    crew.wait()


def process_all(worker: Worker) -> list[Settled]:
    """Process the uploads that wait now, by all readers; what became of them."""
    turns = worker.turns()

    def process(_: int) -> list[Settled]:
        with ReadingPool(1) as pool:
            reader = replace(worker, pool=pool)
            return [
                one for some in iter(lambda: process_waiting(reader, turns), []) for one in some
            ]

    with ThreadPoolExecutor(worker.readers, "reads uploads") as threads:
        return [one for some in threads.map(process, range(worker.readers)) for one in some]


def process_waiting(worker: Worker, turns: Turns | None = None) -> list[Settled]:
    """Process an upload that waits, of the organisation whose turn it is; what became of it, if there was one."""
    turns = turns or worker.turns()
    while True:
        with turns.next() as number:
            if number is None:
                return []
            if settled := _process(worker, number):
                return [settled]


def _process(worker: Worker, number: int) -> Settled | None:
    """What became of an upload; None where another server has it, or it was ended."""
    with held(worker.engine, number) as alone:
        upload = claim(worker.engine, number) if alone else None
        return conclude(worker, upload, read_upload(worker, upload)) if upload else None


def read_upload(worker: Worker, upload: Claim) -> RasterFile | Rejection:
    """What reading makes of its file."""
    rule = TimeRule(time=upload.time, from_tag=upload.temporal)
    file = look_up(worker.deposit, upload)
    (outcome,) = worker.pool.read([file], replace(worker.options, time_rule=rule))
    return outcome


class _Crew:
    """Threads that work until they are told to stop, or until one of them breaks."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._threads: list[Thread] = []
        self._faults: list[BaseException] = []
        self._trouble = ""

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
                if str(error) != self._trouble:  # each trouble once, however long it lasts
                    self._trouble = str(error)
                    logger.warning("uploads wait: %s", error)
                self._pause(SECONDS_AFTER_TROUBLE)
            else:
                self._trouble = ""
                if not busy:
                    self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        """Also short when another thread breaks."""
        until = monotonic() + seconds
        while not self._faults and (left := until - monotonic()) > 0:
            if self._stop.wait(min(left, SECONDS_BETWEEN_LOOKS)):
                return


def _read(crew: _Crew, worker: Worker, turns: Turns) -> None:
    with ReadingPool(1) as pool:
        reader = replace(worker, pool=pool)
        crew.repeat(lambda: bool(process_waiting(reader, turns)), SECONDS_BETWEEN_LOOKS)


def _sweep_now(worker: Worker) -> bool:
    sweep(worker.engine, worker.deposit)
    return False


def look_up(deposit: Deposit, upload: Claim) -> StoredFile | Rejection:
    """The file of an upload as it is now."""
    try:
        return deposit.file(upload.uri)
    except RasterError as error:
        return Rejection(upload.uri, error.code, error.message)


def conclude(worker: Worker, upload: Claim, outcome: RasterFile | Rejection) -> Settled:
    """Register or refuse one upload, and delete what is not needed any more."""
    if isinstance(outcome, Rejection):
        again = outcome.code in PASSING and upload.attempts < MOST_ATTEMPTS
        settled = refuse_upload(worker.engine, upload, outcome, again=again)
    else:
        settled = register_upload(worker.engine, upload, outcome)
    if settled.unused:
        worker.deposit.discard(unneeded(worker.engine, settled.unused))
    return settled


def sweep(engine: Engine, deposit: Deposit, seconds: float = SECONDS_AT_REST) -> list[str]:
    """Delete files that nothing needs, such as those that a killed server was receiving; their URIs."""
    suspects = unneeded(engine, list(deposit.uris()))
    # Looked up again: a file that was being received just now may have become an upload.
    unused = unneeded(engine, deposit.at_rest(suspects, seconds))
    deposit.discard(unused)
    return unused
