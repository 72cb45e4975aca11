"""Checks the quota of an organisation: how many bytes it may still store."""

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.problems import Problem
from pipeline.catalogue.upload_states import OPEN_STATES
from pipeline.database.queries import queries

QUERIES = queries("source_data")


def check_quota(size: int, bytes_left: int | None) -> None:
    """Raise Problem 413 if `size` exceeds the bytes that are left; None means no quota."""
    if bytes_left is not None and size > bytes_left:
        sentence = f"over_quota: the organisation has {max(0, bytes_left)} bytes of its quota left."
        raise Problem(413, sentence)


async def lock_bytes_left(organisation_id: int, connection: AsyncConnection) -> int | None:
    """Lock the quota until the transaction ends, and return the bytes that are left; None without a quota."""
    owner = {"organisation": organisation_id, "open_states": OPEN_STATES}
    await connection.execute(QUERIES["lock_organisation"], owner)
    row = (await connection.execute(QUERIES["select_storage_use"], owner)).one_or_none()
    return int(row.capacity - row.used) if row else None


async def check_move(source_id: int, organisation_id: int, connection: AsyncConnection) -> None:
    """Raise Problem 413 if the quota of an organisation is too small for a raster source and its open uploads."""
    parameters = {"source": source_id, "open_states": OPEN_STATES}
    size = (await connection.execute(QUERIES["select_size"], parameters)).scalar_one()
    if size:
        check_quota(size, await lock_bytes_left(organisation_id, connection))
