"""From the settings to an open catalogue: what the entry points share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.ports import LOOPBACK, PREFECT_PORT, prefect_port, publish, published
from pipeline.errors import CatalogueError
from pipeline.settings import API_PORT, CHECKOUT, Settings, settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.ingest.register import BatchWriter, Reader, RunContext, RunOptions
    from pipeline.ingest.uploads import UploadWorker
    from pipeline.raster import ReadOptions

ADDRESS_FILE = "api-address"
"""A file of the home with the address of the API; locked while the server runs."""

# Each function imports what it needs: the command line starts in a tenth of a second that way.


def home_folder(configured: Settings) -> Path:
    """Return RASTERSOURCES_HOME, or its default."""
    from pipeline.database.private_cluster.cluster import default_home

    return (configured.home or default_home(CHECKOUT)).absolute()


@contextmanager
def publish_address(configured: Settings, address: str) -> Iterator[None]:
    """Let other commands of this home know where the API is, until the end of the block."""
    from pipeline.database.private_cluster.cluster import make_folder

    home = home_folder(configured)
    make_folder(home)
    with publish(home / ADDRESS_FILE, address):
        yield


def published_address(configured: Settings) -> str | None:
    """Return the address of the API that runs for this home."""
    return published(home_folder(configured) / ADDRESS_FILE)


def server_address(configured: Settings) -> str:
    """Return the address of the API that runs for this home, or where the settings say that it would be."""
    default = f"http://{configured.host}:{configured.port or API_PORT}"
    return published_address(configured) or default


def uploads_location(configured: Settings) -> str:
    """Return RASTERSOURCES_UPLOADS, or its default; raise CatalogueError if it names no location."""
    from pipeline.storage import literal_location

    location = configured.uploads or str(home_folder(configured) / "uploads")
    try:
        literal_location(location)
    except CatalogueError as error:
        raise CatalogueError(f"RASTERSOURCES_UPLOADS is not usable: {error}") from error
    return location


def prefect_address(configured: Settings) -> tuple[int, str]:
    """Return the port for a Prefect server of ours, and the URL of the pages of ours or of PREFECT_API_URL.

    Raises CatalogueError when RASTERSOURCES_PREFECT_PORT is taken.
    """
    if pages := known_prefect_pages():
        return PREFECT_PORT, pages
    port = prefect_port(configured.prefect_port)
    return port, f"http://{LOOPBACK}:{port}"


def known_prefect_pages() -> str | None:
    """Return the address of the pages of the server that PREFECT_API_URL names."""
    api = os.environ.get("PREFECT_API_URL")
    return api.rstrip("/").removesuffix("/api") if api else None


def prefect_password_file(configured: Settings) -> Path | None:
    """Return the file with the password of a Prefect server of ours; None with the server of PREFECT_API_URL."""
    from pipeline.cli.prefect_password import password_file

    return None if os.environ.get("PREFECT_API_URL") else password_file(home_folder(configured))


@contextmanager
def database_url(configured: Settings) -> Iterator[str]:
    """Yield the database of the settings, or the private cluster, which is started if need be."""
    if configured.database_url:
        yield configured.database_url
        return
    from pipeline.database.private_cluster.cluster import Cluster

    with Cluster(home_folder(configured)).lease() as url:
        yield url


@contextmanager
def open_catalogue(configured: Settings) -> Iterator["Engine"]:
    """Yield an engine on the catalogue, with its schema at the newest revision."""
    with database_url(configured) as url, migrated_engine(url, configured) as engine:
        yield engine


@contextmanager
def migrated_engine(url: str, configured: Settings) -> Iterator["Engine"]:
    """Yield an engine on a database, with its schema at the newest revision."""
    from pipeline.database.engine import open_engine
    from pipeline.database.schema_version import is_up_to_date

    with open_engine(url, prepare=configured.prepare) as engine:
        if not is_up_to_date(engine):
            from pipeline.database.migrations import migrate

            migrate(engine)
        yield engine


@contextmanager
def upload_worker(configured: Settings, engine: "Engine") -> Iterator["UploadWorker"]:
    """Yield a worker that processes uploads, and the processes with which it reads them."""
    from pipeline.catalogue.file_row import file_row
    from pipeline.ingest.uploads import MAX_READERS, UploadWorker
    from pipeline.raster import ProcessReader
    from pipeline.storage.uploads import open_upload_store

    store = open_upload_store(uploads_location(configured))
    options = read_options(configured)
    readers = min(configured.workers + 1, MAX_READERS)
    with ProcessReader(1, file_row) as pool:
        yield UploadWorker(engine, store, options, pool, readers, configured.run_days)


def run_options(configured: Settings, *, create: bool) -> "RunOptions":
    """Return the settings for reading and writing files."""
    from pipeline.ingest.register import RunOptions
    from pipeline.storage import EVERYWHERE

    roots, options = configured.roots or EVERYWHERE, read_options(configured)
    return RunOptions(roots, options, configured.batch_size, create)


@contextmanager
def open_run_context(
    reader: "Reader", *, create: bool, quiet: bool = False, write: "BatchWriter | None" = None
) -> Iterator["RunContext"]:
    """Open the catalogue, and show the progress; None means as the settings say."""
    from pipeline.cli.progress import show_progress
    from pipeline.ingest.register import RunContext

    configured = settings()
    options = run_options(configured, create=create)
    with open_catalogue(configured) as engine, show_progress(quiet=quiet) as progress:
        context = RunContext(engine, options, reader, progress)
        yield replace(context, write=write) if write else context


@contextmanager
def explain_stop() -> Iterator[None]:
    """Print after Ctrl-C what a run has saved, and how to go on."""
    from pipeline.cli.terminal import echo_error, pluralize

    try:
        yield
    except KeyboardInterrupt as stop:
        from pipeline.ingest.register import RunStopped

        if isinstance(stop, RunStopped):
            echo_error(
                f"stopped: {pluralize(stop.files, 'file')} of run {stop.run} ({stop.definition}) "
                "were registered and stay; "
                f"the same command goes on from there, or: rastersources undo {stop.run}"
            )
        else:
            echo_error(
                "stopped; what was registered stays, and the same command goes on from there"
            )
        raise SystemExit(130) from None


def read_options(configured: Settings) -> "ReadOptions":
    """Return the settings for reading files."""
    from pipeline.raster import Budget, ReadOptions

    budget = Budget(
        header_bytes=configured.max_header_bytes,
        ifds=configured.max_ifds,
        tag_bytes=configured.max_tag_bytes,
        bands=configured.max_bands,
        pixels=configured.max_pixels,
        seconds=configured.file_seconds,
        statistics_pixels=configured.max_statistics_pixels,
        block_bytes=configured.max_block_bytes,
    )
    policy, residual = configured.crs_policy, configured.gcp_residual_pixels
    return ReadOptions(crs_policy=policy, gcp_residual_pixels=residual, budget=budget)


def migrate_database(url: str, configured: Settings) -> None:
    """Bring the schema of a database to the newest revision."""
    with migrated_engine(url, configured):
        pass
