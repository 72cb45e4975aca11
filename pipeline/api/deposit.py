"""Our storage of uploaded files as the API uses it: without holding up other requests."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.problems import unavailable
from pipeline.catalogue import data
from pipeline.deposit import Deposit, deposit_at
from pipeline.errors import TransientError


def deposit_of(config: ApiConfig) -> Deposit:
    """Where uploads go; raises Problem 503 where this server has no such place."""
    if config.uploads is None:
        raise unavailable("This server takes no uploads; give it a folder for them.")
    return deposit_at(config.uploads)


async def discard_unneeded(config: ApiConfig, database: Database, uris: Iterable[str]) -> None:
    """Delete those of the files that are ours and that nothing in the catalogue needs any more."""
    if config.uploads is None or not database.stores:
        return
    deposit = deposit_of(config)
    ours = [uri for uri in uris if deposit.holds(uri)]
    if ours:
        found = await database.rows(data.unneeded(ours))
        with suppress(TransientError):  # what stays is swept later
            await asyncio.to_thread(deposit.discard, [row.uri for row in found])
