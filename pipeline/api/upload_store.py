"""Gives the API its storage of uploaded files, without blocking other requests."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.problems import unavailable
from pipeline.catalogue import upload_files
from pipeline.errors import TransientError
from pipeline.storage.uploads import UploadStore, open_upload_store


def open_store(config: ApiConfig) -> UploadStore:
    """Return the storage of uploads; raise Problem 503 if this server has none."""
    if config.uploads is None:
        raise unavailable(
            "This server accepts no uploads; the operator must set RASTERSOURCES_UPLOADS."
        )
    return open_upload_store(config.uploads)


async def discard_unless_dry_run(
    config: ApiConfig, database: Database, uris: Sequence[str]
) -> None:
    """Delete the files that are in our storage and that the catalogue no longer needs; a dry run deletes none."""
    if config.uploads is not None and uris and database.stores:
        await discard_unneeded(database, open_store(config), uris)


async def discard_unneeded(database: Database, store: UploadStore, uris: Sequence[str]) -> None:
    """Delete the files that are in this storage and that the catalogue no longer needs."""
    rows = await database.rows(upload_files.select_unneeded(uris))
    unneeded = [row.uri for row in rows if store.owns(row.uri)]
    if unneeded:
        with suppress(TransientError):  # the sweep deletes the rest
            await asyncio.to_thread(store.discard, unneeded)
            await database.execute(upload_files.QUERIES["forget"], uris=unneeded)
