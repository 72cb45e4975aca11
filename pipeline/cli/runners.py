"""Where files are read: in processes of this machine, by threads that have a process each, or on a Dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from pipeline.errors import CatalogueError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.ingest.register import Reader

Runner = Literal["processes", "threads", "dask"]

# Each function imports what it needs: the command line starts in a tenth of a second that way.


@contextmanager
def open_reader(
    configured: Settings, runner: Runner | None = None, scheduler: str | None = None
) -> Iterator["Reader"]:
    """Who reads files; what is None is as the settings say. All read the same, in the same order.

    Raises CatalogueError where runner and scheduler do not go together.
    """
    match runner or ("dask" if scheduler else configured.runner):
        case "processes" if not scheduler:
            from pipeline.raster import ProcessReader

            with ProcessReader(configured.workers) as pool:
                yield pool.read
        case "threads" if not scheduler:
            from pipeline.raster.workers.chunks import ThreadReader

            with ThreadReader(configured.workers) as threads:
                yield threads.read
        case "dask":
            with _cluster(scheduler or configured.scheduler) as reader:
                yield reader
        case other:
            raise CatalogueError(f"the runner {other} has no scheduler; say --runner dask")


@contextmanager
def _cluster(address: str | None) -> Iterator["Reader"]:
    if not address:
        raise CatalogueError(
            "say where the Dask scheduler is, with --scheduler ADDRESS or RASTERSOURCES_SCHEDULER"
        )
    from pipeline.raster.workers.dask import connect_to_cluster

    with connect_to_cluster(address) as cluster:
        yield cluster.read
