"""Our storage of uploaded files as the API uses it: without holding up other requests."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.problems import unavailable
from pipeline.catalogue import upload_files
from pipeline.errors import TransientError
from pipeline.storage.uploads import UploadStore, open_upload_store


def deposit_of(config: ApiConfig) -> UploadStore:
    """Where uploads go; raises Problem 503 where this server has no such place."""
    if config.uploads is None:
        raise unavailable("This server takes no uploads; give it a folder for them.")
    return open_upload_store(config.uploads)


async def discard_ended(config: ApiConfig, database: Database, uris: Sequence[str]) -> None:
    """Delete those of the files that are ours and that nothing in the catalogue needs any more."""
    if config.uploads is not None and uris and database.stores:
        await discard_unneeded(database, deposit_of(config), uris)


async def discard_unneeded(database: Database, deposit: UploadStore, uris: Sequence[str]) -> None:
    """The same for one storage."""
    found = await database.rows(upload_files.select_unneeded(uris))
    ours = [row.uri for row in found if deposit.holds(row.uri)]
    if ours:
        with suppress(TransientError):  # what stays is swept later
            await asyncio.to_thread(deposit.discard, ours)
            await database.execute(upload_files.forget(ours))
