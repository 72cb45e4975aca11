"""Functions that the entry points share: from the settings to an open catalogue."""

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

# Each function imports what it needs, so that the command line starts in a tenth of a second.


def home_folder(configured: Settings) -> Path:
    """Return RASTERSOURCES_HOME, or its default."""
    from pipeline.database.private_cluster.cluster import default_home

    return (configured.home or default_home(CHECKOUT)).absolute()


@contextmanager
def publish_address(configured: Settings, address: str) -> Iterator[None]:
    """Publish the address of the API to other commands of this home until the end of the block."""
    from pipeline.database.private_cluster.cluster import make_folder

    home = home_folder(configured)
    make_folder(home)
    with publish(home / ADDRESS_FILE, address):
        yield


def published_address(configured: Settings) -> str | None:
    """Return the address of the API that runs for this home, or None."""
    return published(home_folder(configured) / ADDRESS_FILE)


def require_no_server(configured: Settings) -> None:
    """Raise CatalogueError if an API runs for this home; a second `up` would run each schedule twice."""
    if address := published_address(configured):
        raise CatalogueError(
            f"a server of {home_folder(configured)} runs at {address}; open that, stop it first, "
            "or set RASTERSOURCES_HOME to another folder"
        )


def server_address(configured: Settings) -> str:
    """Return the address of the API that runs for this home, or the address in the settings."""
    default = f"http://{configured.host}:{configured.port or API_PORT}"
    return published_address(configured) or default


def uploads_location(configured: Settings) -> str:
    """Return RASTERSOURCES_UPLOADS, or its default; raise CatalogueError if it is not a location."""
    from pipeline.storage import literal_location

    location = configured.uploads or str(home_folder(configured) / "uploads")
    try:
        literal_location(location)
    except CatalogueError as error:
        raise CatalogueError(f"RASTERSOURCES_UPLOADS is invalid: {error}") from error
    return location


def prefect_address(configured: Settings) -> tuple[int, str]:
    """Return the port for our Prefect server, and the URL of its pages or of those of PREFECT_API_URL.

    Raises CatalogueError when RASTERSOURCES_PREFECT_PORT is taken.
    """
    if pages := known_prefect_pages():
        return PREFECT_PORT, pages
    port = prefect_port(configured.prefect_port)
    return port, f"http://{LOOPBACK}:{port}"


def known_prefect_pages() -> str | None:
    """Return the URL of the pages of the server in PREFECT_API_URL, or None."""
    api = os.environ.get("PREFECT_API_URL")
    return api.rstrip("/").removesuffix("/api") if api else None


def prefect_password_file(configured: Settings) -> Path | None:
    """Return the file with the password of our Prefect server; None if PREFECT_API_URL names a server."""
    from pipeline.cli.prefect_password import password_file

    return None if os.environ.get("PREFECT_API_URL") else password_file(home_folder(configured))


@contextmanager
def database_url(configured: Settings) -> Iterator[str]:
    """Yield the URL of the database in the settings, or of the private cluster, which is started if necessary."""
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
    """Yield a worker that processes uploads; its reading processes end with the block."""
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
    """Return the options for reading and writing files from the settings."""
    from pipeline.ingest.register import RunOptions
    from pipeline.storage import EVERYWHERE

    roots, options = configured.roots or EVERYWHERE, read_options(configured)
    return RunOptions(roots, options, configured.batch_size, create)


@contextmanager
def open_run_context(
    reader: "Reader", *, create: bool, quiet: bool = False, write: "BatchWriter | None" = None
) -> Iterator["RunContext"]:
    """Open the catalogue, show the progress, and yield the context of a run; `write` writes a batch of files."""
    from pipeline.cli.progress import show_progress
    from pipeline.ingest.register import RunContext

    configured = settings()
    options = run_options(configured, create=create)
    with open_catalogue(configured) as engine, show_progress(quiet=quiet) as progress:
        context = RunContext(engine, options, reader, progress)
        yield replace(context, write=write) if write else context


@contextmanager
def explain_stop() -> Iterator[None]:
    """Print after Ctrl-C what a run has saved, and how to continue."""
    from pipeline.cli.terminal import echo_error, pluralize

    try:
        yield
    except KeyboardInterrupt as stop:
        from pipeline.ingest.register import RunStopped

        if isinstance(stop, RunStopped):
            echo_error(
                f"stopped: {pluralize(stop.files, 'file')} of run {stop.run} ({stop.definition}) "
                "were registered and stay; "
                f"run the same command to continue, or: rastersources undo {stop.run}"
            )
        else:
            echo_error("stopped; registered files stay; run the same command to continue")
        raise SystemExit(130) from None


def read_options(configured: Settings) -> "ReadOptions":
    """Return the options for reading files from the settings."""
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
