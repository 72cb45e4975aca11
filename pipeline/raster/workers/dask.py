"""Reads files on a Dask cluster: its workers read, chunk by chunk, and the outcomes come back in their order.

This is the one module that imports Dask. What its workers run is `read_chunk`.
"""

import atexit
import logging
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager
from itertools import islice
from urllib.parse import urlsplit

from distributed import Client, Future, KilledWorker

from pipeline.errors import CatalogueError, Rejection, TransientError, Unreadable
from pipeline.raster import FileOptions, RasterFile
from pipeline.raster.workers.chunks import Chunk, ReusedProcesses, split_into_chunks
from pipeline.raster.workers.versions import package_versions
from pipeline.storage import StoredFile, rejection

Outcomes = list[RasterFile | Rejection]

CHUNKS_AHEAD_PER_THREAD = 4
"""Chunks for each thread of the cluster that are under way or wait to be taken."""

SECONDS_TO_CONNECT = 20

SECONDS_WITHOUT_WORKERS = 60
"""How long a run waits for a worker, at its start and when all are gone."""

UNREACHABLE_CODES = ("not_found", "permission_denied")
"""Codes of files that another machine may be able to read."""

SAME_VERSIONS_ADVICE = (
    "give every machine the same checkout and lock file, and start its workers anew"
)

_PROCESSES = ReusedProcesses()
"""Of a worker; kept for the chunks and runs to come."""
atexit.register(_PROCESSES.close)


@contextmanager
def connect_to_cluster(address: str) -> Iterator["DaskReader"]:
    """A reader on the cluster whose scheduler is at `address`, such as tcp://10.0.0.5:8786.

    Raises CatalogueError where that is no address, TransientError where no scheduler answers.
    """
    _require_listener(address)
    _silence()
    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except TypeError as error:
        raise CatalogueError(
            f"{address} needs certificates; name them in Dask's configuration, below distributed.comm.tls"
        ) from error
    except (OSError, ImportError) as error:
        raise _away(address) from error
    with client, closing(ReusedProcesses()) as here:
        yield DaskReader(client, address, here)


class DaskReader:
    """What a cluster reads, as if it were read here."""

    def __init__(self, client: Client, address: str, here: ReusedProcesses) -> None:
        self._client = client
        self._address = address
        self._here = here

    def read(self, files: Chunk, options: FileOptions) -> Iterator[RasterFile | Rejection]:
        """As `ReadingPool.read`; a file whose reading ends one worker after the other is `unreadable`.

        Raises TransientError where the scheduler or all workers are gone, CatalogueError where
        workers have another version of this package or cannot read what can be read here.
        """
        threads = self._threads()
        waiting = split_into_chunks(files, threads)
        flying: deque[tuple[Chunk, Future[Outcomes]]] = deque()
        while True:
            for chunk in islice(waiting, CHUNKS_AHEAD_PER_THREAD * threads - len(flying)):
                flying.append((chunk, self._send(chunk, options)))
            if not flying:
                return
            chunk, future = flying.popleft()
            try:
                yield from self._outcomes(chunk, future, options)
            except KilledWorker:
                # Workers that die take the blame for all that they hold: each file is judged alone.
                for _, later in flying:
                    self._error_of(later)
                yield from (self._alone(file, options) for file in chunk)

    def _alone(self, file: StoredFile, options: FileOptions) -> RasterFile | Rejection:
        try:
            (outcome,) = self._outcomes([file], self._send([file], options), options)
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            sentence = f"reading it ends the Dask worker that tries ({deaths} did); write it again"
            return rejection(file, Unreadable(sentence))
        return outcome

    def _send(self, chunk: Chunk, options: FileOptions) -> Future[Outcomes]:
        # Impure: a file that changed must not get the outcome that Dask remembers.
        return self._client.submit(pickle.loads, pickle.dumps(_Call(chunk, options)), pure=False)

    def _outcomes(self, chunk: Chunk, future: Future[Outcomes], options: FileOptions) -> Outcomes:
        """What became of a chunk, once it is done; raises KilledWorker where it ended workers."""
        error = self._error_of(future)
        if isinstance(error, ImportError):
            raise CatalogueError(
                f"a worker of the Dask scheduler at {self._address} has not this package "
                f"({error}); {SAME_VERSIONS_ADVICE}"
            ) from error
        if error:
            raise error
        with self._translated():
            outcomes: Outcomes = future.result()
        for file, outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome, Rejection) and outcome.code in UNREACHABLE_CODES:
                self._require_unreadable_here(file, outcome, options)
        return outcomes

    def _require_unreadable_here(
        self, file: StoredFile, there: Rejection, options: FileOptions
    ) -> None:
        (here,) = self._here.read([file], options)
        if not isinstance(here, Rejection) or here.code != there.code:
            raise CatalogueError(
                f"a worker of the Dask scheduler at {self._address} cannot read {file.uri} "
                f"({there.message}), while this machine can; give every machine the same files "
                "at the same paths"
            )

    def _error_of(self, future: Future[Outcomes]) -> BaseException | None:
        """The error that a chunk ended with, once it is done."""
        while True:
            try:
                with self._translated():
                    error: BaseException | None = future.exception(timeout=SECONDS_WITHOUT_WORKERS)
                    return error
            except _Late:
                self._threads()

    def _threads(self) -> int:
        """How many chunks the cluster reads at once; waits for a first worker."""
        try:
            with self._translated():
                if not self._client.nthreads():
                    self._client.wait_for_workers(1, timeout=SECONDS_WITHOUT_WORKERS)
                return sum(self._client.nthreads().values())
        except _Late as error:
            raise TransientError(
                f"the Dask scheduler at {self._address} has no workers; start some and try again"
            ) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:  # which is an OSError
            raise _Late from error
        except (CancelledError, OSError) as error:
            raise _away(self._address) from error


class _Call:
    """What calls `read_chunk` when it is unpickled.

    So the scheduler needs no package of ours, and a worker without it answers with an error, where
    a message that it cannot understand would end its connection and with that the worker.
    """

    def __init__(self, chunk: Chunk, options: FileOptions) -> None:
        self._job = pickle.dumps((chunk, options))

    def __reduce__(self) -> tuple[Callable[..., Outcomes], tuple[Mapping[str, str], bytes]]:
        return read_chunk, (package_versions(), self._job)


def read_chunk(theirs: Mapping[str, str], job: bytes) -> Outcomes:
    """What a worker makes of a pickled chunk and its options.

    Raises CatalogueError where the worker's versions are not `theirs`, before it unpickles anything.
    """
    ours = package_versions()
    for name, wanted in theirs.items():
        if ours.get(name) != wanted:
            raise CatalogueError(
                f"the Dask worker on {socket.gethostname()} has {name} {ours.get(name)}, and not "
                f"{wanted}; {SAME_VERSIONS_ADVICE}"
            )
    return _PROCESSES.read(*pickle.loads(job))  # noqa: S301 - whoever reaches a worker runs programs


class _Late(Exception):
    """What was waited for did not come in time."""


def _require_listener(address: str) -> None:
    """Asks whether anybody listens, for Dask's client would try for long and leave a thread behind."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme not in ("tcp", "tls"):
        raise CatalogueError(
            f"{address!r} is no address of a Dask scheduler; it reads tcp://HOST:PORT"
        )
    try:
        socket.create_connection((host, port), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise _away(address) from error


def _away(address: str) -> TransientError:
    return TransientError(
        f"the Dask scheduler at {address} does not answer; try again when it runs"
    )


def _silence() -> None:
    """Keeps from standard error what becomes one sentence of ours."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
