"""What an organisation may still store."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.api.problems import Problem
from pipeline.catalogue import source_data


def bytes_left(rows: Sequence[Any]) -> int | None:
    """Of the quota of an organisation, from the rows of `storage_of`; None without one."""
    return int(rows[0].capacity - rows[0].used) if rows else None


def check_quota(size: int, left: int | None) -> None:
    """Raises Problem 413 for more bytes than are left."""
    if left is not None and size > left:
        sentence = f"over_quota: the organisation has {max(0, left)} bytes of its quota left."
        raise Problem(413, sentence)


async def left_for_good(organisation_id: int, connection: AsyncConnection) -> int | None:
    """The bytes that are left until the transaction ends: others that want some wait for it."""
    await connection.execute(source_data.lock_organisation(organisation_id))
    return bytes_left(
        (await connection.execute(source_data.select_storage_use(organisation_id))).all()
    )


async def check_move(source_id: int, organisation_id: int, connection: AsyncConnection) -> None:
    """Raises Problem 413 where an organisation has no room for a raster source and what waits for it."""
    size = (await connection.execute(source_data.select_size(source_id))).scalar_one()
    if size:
        check_quota(size, await left_for_good(organisation_id, connection))
