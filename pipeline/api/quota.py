"""The quota of an organisation: how many bytes it may still store."""

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.problems import Problem
from pipeline.catalogue import source_data


def check_quota(size: int, left: int | None) -> None:
    """Raise Problem 413 if `size` exceeds the bytes that are left; None means no quota."""
    if left is not None and size > left:
        sentence = f"over_quota: the organisation has {max(0, left)} bytes of its quota left."
        raise Problem(413, sentence)


async def lock_bytes_left(organisation_id: int, connection: AsyncConnection) -> int | None:
    """Return the bytes left, locked until the transaction ends, or None without a quota."""
    await connection.execute(source_data.lock_organisation(organisation_id))
    result = await connection.execute(source_data.select_storage_use(organisation_id))
    row = result.one_or_none()
    return int(row.capacity - row.used) if row else None


async def check_move(source_id: int, organisation_id: int, connection: AsyncConnection) -> None:
    """Raise Problem 413 if an organisation has no room for a raster source and its open uploads."""
    size = (await connection.execute(source_data.select_size(source_id))).scalar_one()
    if size:
        check_quota(size, await lock_bytes_left(organisation_id, connection))
