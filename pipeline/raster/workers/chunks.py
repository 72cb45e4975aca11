"""Divides files into chunks for threads and for the workers of Dask."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pipeline.storage import StoredFile

Chunk = Sequence[StoredFile]

MAX_FILES_IN_CHUNK = 32
"""Maximum number of files in a chunk; enough to compensate for the milliseconds that Dask takes for a task."""

CHUNKS_IN_BATCH = 16
"""Chunks for each reader that are prepared at a time, so that memory stays bounded."""


def split_into_batches(files: Iterable[StoredFile], readers: int) -> Iterator[Chunk]:
    """Yield the files in lists that are divided among the readers."""
    source = iter(files)
    while batch := list(islice(source, CHUNKS_IN_BATCH * MAX_FILES_IN_CHUNK * readers)):
        yield batch


def split_into_chunks(files: Chunk, readers: int) -> Iterator[Chunk]:
    """Yield chunks of files, in order, so that each reader gets a few."""
    size = min(MAX_FILES_IN_CHUNK, max(1, len(files) // (4 * readers)))
    return (files[start : start + size] for start in range(0, len(files), size))
