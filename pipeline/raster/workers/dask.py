"""Reads files on a Dask cluster: its workers run `read_chunk`, and the outcomes come back in the order of the files.

This is the only module that imports Dask.
"""

import atexit
import logging
import pickle
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager
from functools import cache
from itertools import chain, islice
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from distributed import Client, Future, KilledWorker

from pipeline.errors import CatalogueError, Rejection, TransientError, Unreadable
from pipeline.raster.models import RasterFile
from pipeline.raster.workers.chunks import Chunk, split_into_batches, split_into_chunks
from pipeline.raster.workers.pool import FileOptions
from pipeline.raster.workers.threads import ReusedProcesses
from pipeline.raster.workers.versions import package_versions
from pipeline.storage import StoredFile, rejection

T = TypeVar("T")
Convert = Callable[[RasterFile], T]
"""Converts a raster to the value that a worker sends, as in `ProcessReader`."""
Outcomes = list[T | Rejection]

CHUNKS_AHEAD_PER_THREAD = 4
"""Chunks for each thread of the cluster that are being read or are waiting."""

SECONDS_TO_CONNECT = 20

SECONDS_WITHOUT_WORKERS = 60
"""How long a run waits for a worker, at its start and when all have ended."""

UNREACHABLE_CODES = ("not_found", "permission_denied")
"""Codes of files that another machine may be able to read."""

SAME_VERSIONS_ADVICE = "give every machine the same checkout and lock file, and restart its workers"


@contextmanager
def connect_to_cluster(address: str, convert: Convert[T]) -> Iterator["DaskReader[T]"]:
    """Yield a reader on the cluster whose scheduler is at `address`, such as tcp://10.0.0.5:8786.

    Raises CatalogueError for an invalid address, TransientError if no scheduler answers.
    """
    _require_listener(address)
    # Errors become one sentence of ours.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except TypeError as error:
        raise CatalogueError(
            f"{address} needs certificates; set them in Dask's configuration, below distributed.comm.tls"
        ) from error
    except (OSError, ImportError) as error:
        raise _no_answer(address) from error
    with client, closing(ReusedProcesses(convert)) as local_processes:
        yield DaskReader(client, address, convert, local_processes)


class DaskReader(Generic[T]):
    """Reads files on a Dask cluster."""

    def __init__(
        self,
        client: Client,
        address: str,
        convert: Convert[T],
        local_processes: ReusedProcesses[T],
    ) -> None:
        self._client = client
        self._address = address
        self._convert = convert
        self._local_processes = local_processes

    def read(self, files: Iterable[StoredFile], options: FileOptions) -> Iterator[T | Rejection]:
        """Yield the outcomes of `ProcessReader.read`; a file that ends several workers is rejected as `unreadable`.

        Raises TransientError if the scheduler or all workers have ended, CatalogueError if workers have another version
        of this package or cannot read files that this machine can read.
        """
        source = iter(files)
        first = [*islice(source, 1)]
        if not first:
            return
        threads = self._threads()
        batches = split_into_batches(chain(first, source), threads)
        chunks = chain.from_iterable(split_into_chunks(batch, threads) for batch in batches)
        sent: deque[tuple[Chunk, Future[Outcomes[T]]]] = deque()
        while True:
            for chunk in islice(chunks, CHUNKS_AHEAD_PER_THREAD * threads - len(sent)):
                sent.append((chunk, self._send(chunk, options)))
            if not sent:
                return
            chunk, future = sent.popleft()
            try:
                yield from self._outcomes(chunk, future, options)
            except KilledWorker:
                # Dask blames all chunks of a worker that ends. So each file is read alone on the cluster.
                for _, other in sent:
                    self._wait_for_error(other)
                yield from (self._read_alone(file, options) for file in chunk)

    def _read_alone(self, file: StoredFile, options: FileOptions) -> T | Rejection:
        try:
            (outcome,) = self._outcomes([file], self._send([file], options), options)
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            sentence = f"reading it crashes the Dask workers ({deaths} of them); write it again"
            return rejection(file, Unreadable(sentence))
        return outcome

    def _send(self, chunk: Chunk, options: FileOptions) -> Future[Outcomes[T]]:
        # pure=False: a file that changed must not get an outcome that Dask cached.
        return self._client.submit(
            pickle.loads, pickle.dumps(_Call(chunk, options, self._convert)), pure=False
        )

    def _outcomes(
        self, chunk: Chunk, future: Future[Outcomes[T]], options: FileOptions
    ) -> Outcomes[T]:
        """Wait for the outcomes of a chunk. Raises KilledWorker if the chunk crashed workers."""
        error = self._wait_for_error(future)
        if isinstance(error, ImportError):
            raise CatalogueError(
                f"a worker of the Dask scheduler at {self._address} does not have this package "
                f"({error}); {SAME_VERSIONS_ADVICE}"
            ) from error
        if error:
            raise error
        with self._translate_errors():
            outcomes: Outcomes[T] = future.result()
        for file, outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome, Rejection) and outcome.code in UNREACHABLE_CODES:
                self._require_same_rejection_here(file, outcome, options)
        return outcomes

    def _require_same_rejection_here(
        self, file: StoredFile, remote: Rejection, options: FileOptions
    ) -> None:
        (local,) = self._local_processes.read([file], options)
        if not isinstance(local, Rejection) or local.code != remote.code:
            raise CatalogueError(
                f"a worker of the Dask scheduler at {self._address} cannot read {file.uri} "
                f"({remote.message}), but this machine can; give every machine the same files "
                "at the same paths"
            )

    def _wait_for_error(self, future: Future[Outcomes[T]]) -> BaseException | None:
        """Wait for a chunk, and return its error, or None."""
        while True:
            try:
                with self._translate_errors():
                    error: BaseException | None = future.exception(timeout=SECONDS_WITHOUT_WORKERS)
                    return error
            except TimeoutError:
                self._threads()

    def _threads(self) -> int:
        """Return how many chunks the cluster reads at once; wait for the first worker."""
        try:
            with self._translate_errors():
                if not self._client.nthreads():
                    self._client.wait_for_workers(1, timeout=SECONDS_WITHOUT_WORKERS)
                return sum(self._client.nthreads().values())
        except TimeoutError as error:
            raise TransientError(
                f"the Dask scheduler at {self._address} has no workers; start some and try again"
            ) from error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:  # it is a subclass of OSError
            raise
        except (CancelledError, OSError) as error:
            raise _no_answer(self._address) from error


class _Call:
    """An object that calls `read_chunk` when it is unpickled.

    So the scheduler does not need this package, and a worker without it answers with an error. A worker would end if it
    could not decode a message.
    """

    def __init__(self, chunk: Chunk, options: FileOptions, convert: Convert[Any]) -> None:
        self._job = pickle.dumps((chunk, options, convert))

    def __reduce__(self) -> tuple[Callable[..., Outcomes[Any]], tuple[Mapping[str, str], bytes]]:
        return read_chunk, (package_versions(), self._job)


def read_chunk(versions: Mapping[str, str], job: bytes) -> Outcomes[Any]:
    """Read a pickled chunk with its options; runs on a Dask worker.

    Raises CatalogueError if the worker has other versions; it checks this before it unpickles anything.
    """
    own_versions = package_versions()
    for name, wanted in versions.items():
        if own_versions.get(name) != wanted:
            raise CatalogueError(
                f"the Dask worker on {socket.gethostname()} has {name} {own_versions.get(name)} instead of "
                f"{wanted}; {SAME_VERSIONS_ADVICE}"
            )
    chunk, options, convert = pickle.loads(job)  # noqa: S301 - who reaches a worker can run programs anyway
    return _processes(convert).read(chunk, options)


@cache
def _processes(convert: Convert[T]) -> ReusedProcesses[T]:
    """Return the reading processes of a Dask worker; they are kept for later chunks and runs."""
    processes = ReusedProcesses(convert)
    atexit.register(processes.close)
    return processes


def _require_listener(address: str) -> None:
    """Raise TransientError unless a server listens; Dask's client would try for long and leave a thread behind."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme not in ("tcp", "tls"):
        raise CatalogueError(
            f"{address!r} is not the address of a Dask scheduler; write tcp://HOST:PORT"
        )
    try:
        socket.create_connection((host, port), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise _no_answer(address) from error


def _no_answer(address: str) -> TransientError:
    return TransientError(
        f"the Dask scheduler at {address} does not answer; start it and try again"
    )
