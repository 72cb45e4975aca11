"""Opens one of the three runners that read files: processes, threads with a process each, or a Dask cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import CatalogueError, Rejection
from pipeline.settings import Runner, Settings, settings

if TYPE_CHECKING:
    from pipeline.ingest.register import Reader
    from pipeline.raster import FileOptions, RasterFile
    from pipeline.storage import StoredFile

T = TypeVar("T")

# Each branch imports what it needs, so that the command line starts in a tenth of a second.


@contextmanager
def open_reader(
    configured: Settings,
    convert: "Callable[[RasterFile], T]",
    runner: Runner | None = None,
    scheduler: str | None = None,
    *,
    early: bool = False,
) -> "Iterator[Callable[[Iterable[StoredFile], FileOptions], Iterable[T | Rejection]]]":
    """Open the reader of a runner; None means the value of the settings. All give the same results in the same order.

    The reader returns the result of `convert` for each raster. With `early`, processes start before the first file.

    Raises CatalogueError if runner and scheduler cannot be combined.
    """
    match runner or ("dask" if scheduler else configured.runner):
        case "processes" if not scheduler:
            from pipeline.raster import ProcessReader

            with ProcessReader(configured.workers, convert) as pool:
                if early:
                    pool.start()
                yield pool.read
        case "threads" if not scheduler:
            from pipeline.raster.workers.threads import ThreadReader

            with ThreadReader(configured.workers, convert) as threads:
                yield threads.read
        case "dask":
            from pipeline.raster.workers.dask import connect_to_cluster

            address = scheduler or configured.scheduler
            if not address:
                raise CatalogueError(
                    "set the Dask scheduler with --scheduler ADDRESS or RASTERSOURCES_SCHEDULER"
                )
            with connect_to_cluster(address, convert) as cluster:
                yield cluster.read
        case other:
            raise CatalogueError(f"the runner {other} does not use a scheduler; use --runner dask")


def open_row_reader(
    runner: Runner | None, scheduler: str | None, *, early: bool = False
) -> "AbstractContextManager[Reader]":
    """Open the reader of a runner, which returns rows of the catalogue; None means the value of the settings."""
    from pipeline.catalogue.file_row import file_row

    return open_reader(settings(), file_row, runner, scheduler, early=early)
