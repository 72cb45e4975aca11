"""Our storage of uploaded files as the API uses it: without holding up other requests."""

import asyncio
from collections.abc import Iterable

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.problems import unavailable
from pipeline.catalogue import data
from pipeline.deposit import Deposit, deposit_at


def deposit_of(config: ApiConfig) -> Deposit:
    """Where uploads go; raises Problem 503 where this server has no such place."""
    if config.uploads_folder is None:
        raise unavailable("This server takes no uploads; give it a folder for them.")
    return deposit_at(config.uploads_folder)


async def discard_unneeded(config: ApiConfig, database: Database, uris: Iterable[str]) -> None:
    """Delete those of the files that are ours and that nothing in the catalogue needs any more."""
    if config.uploads_folder is None:
        return
    deposit = deposit_of(config)
    ours = [uri for uri in uris if deposit.path(uri)]
    if ours:
        found = await database.rows(data.unneeded(ours))
        await asyncio.to_thread(deposit.discard, [row.uri for row in found])
