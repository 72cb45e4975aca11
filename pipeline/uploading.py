"""From uploads to raster files: take up what waits, read it, register it; the one order in which that is done.

The server does this beside itself, and a flow for those who orchestrate with Prefect.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pipeline.catalogue.upload_files import discard_unneeded, sweep, take_up
from pipeline.catalogue.uploads import (
    Claim,
    Settled,
    claim,
    held,
    refuse_upload,
    register_upload,
    try_upload,
)
from pipeline.deposit import Deposit, TrialUpload
from pipeline.errors import RasterError, RastersourcesError, Rejection
from pipeline.raster import Assigned, EachDated, RasterFile, ReadingPool, ReadOptions, TimeRule
from pipeline.storage import StoredFile

MOST_AT_ONCE = 32
"""Uploads that one worker takes up together."""
MOST_ATTEMPTS = 3
"""Readings of a file whose refusal may pass."""
PASSING = frozenset({"permission_denied", "timeout", "changing"})
"""Codes of refusals that may be no fault of the file."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_SWEEPS = 300.0
SECONDS_AFTER_TROUBLE = 2.0

logger = logging.getLogger("rastersources.uploads")


@dataclass(frozen=True)
class Worker:
    """Who processes uploads, and with what."""

    engine: Engine
    deposit: Deposit
    options: ReadOptions
    """Their time rule, and what is assigned, are replaced by those of each upload."""
    pool: ReadingPool


def work_until(stop: Event, worker: Worker) -> None:
    """Process uploads as they come; while the database or the storage is away, or another catalogue's, wait for it."""
    taken_up, sweep_at, trouble = False, monotonic(), ""
    while not stop.is_set():
        try:
            if not taken_up:
                take_up(worker.engine, worker.deposit)
                taken_up = True
            idle = not process_waiting(worker)
            if monotonic() >= sweep_at:
                sweep_at = monotonic() + SECONDS_BETWEEN_SWEEPS
                sweep(worker.engine, worker.deposit)
        except (RastersourcesError, psycopg.Error, SQLAlchemyError, OSError) as error:
            if str(error) != trouble:  # each trouble once, however long it lasts
                trouble = str(error)
                logger.warning("uploads wait: %s", trouble)
            stop.wait(SECONDS_AFTER_TROUBLE)
        else:
            trouble = ""
            if idle:
                stop.wait(SECONDS_BETWEEN_LOOKS)


def process_waiting(worker: Worker) -> list[Settled]:
    """Process some of the uploads that wait, the oldest first; what became of them, none when none waited."""
    settled = []
    with held(worker.engine, MOST_AT_ONCE) as ids:
        uploads = claim(worker.engine, ids) if ids else []
        for upload, outcome in read_uploads(worker, uploads):
            settled.append(conclude(worker, upload, outcome))
    return settled


def read_uploads(
    worker: Worker, uploads: Sequence[Claim]
) -> Iterator[tuple[Claim, RasterFile | Rejection]]:
    """What reading makes of each file, in their order."""
    files = [look_up(worker.deposit, upload) for upload in uploads]
    return zip(uploads, worker.pool.read(files, how_to_read(worker, uploads)), strict=True)


def how_to_read(worker: Worker, uploads: Sequence[Claim]) -> EachDated:
    """How the file of each upload is read: by what the client said of it."""
    rules = {upload.uri: TimeRule(time=upload.time, from_tag=upload.temporal) for upload in uploads}
    assigned = {
        upload.uri: Assigned(crs=upload.crs, nodata=upload.nodata, by="the upload")
        for upload in uploads
    }
    return EachDated(worker.options, rules, assigned)


def try_out(worker: Worker, upload: TrialUpload) -> int:
    """How many files an upload would replace; nothing is stored.

    Raises RasterError where the upload would be refused, TransientError where that cannot be said now.
    """
    claimed = Claim(
        id=0,
        source_id=upload.source_id,
        uri=upload.file.uri,
        time=upload.timestamp,
        attempts=1,
        temporal=upload.temporal,
        crs=upload.crs,
        nodata=upload.nodata,
    )
    (outcome,) = worker.pool.read([upload.file], how_to_read(worker, [claimed]))
    if isinstance(outcome, Rejection):
        raise RasterError(outcome.message, outcome.code)
    return try_upload(worker.engine, claimed, outcome)


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
        discard_unneeded(worker.engine, worker.deposit, settled.unused)
    return settled
