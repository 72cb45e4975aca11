"""Writes GeoParquet in a separate process: pyarrow would double the memory of each process of the API."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import orjson

from pipeline.api.problems import unavailable
from pipeline.api.resources.whole_list import FLAT_COLUMNS
from pipeline.api.whole_lists import Batch
from pipeline.raster.workers.child import child_environment

MODULE = "pipeline.export.lines_to_geoparquet"
PART_BYTES = 2**18


class WriterEnded(Exception):
    """The process ended before it had written the whole file; its messages are on the server's standard error."""


async def write_geoparquet(batches: AsyncIterator[Batch]) -> AsyncGenerator[bytes, None]:
    """Yield a GeoParquet file in parts; its columns are `FLAT_COLUMNS`, the geometry and its bounding box."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", MODULE,
            stdin=PIPE, stdout=PIPE, env=child_environment(), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise unavailable(
            "The process that writes the file does not start; try again later."
        ) from error
    assert process.stdout
    feeding = asyncio.create_task(_feed(process, batches))
    try:
        while part := await process.stdout.read(PART_BYTES):
            yield part
        await feeding
        if status := await process.wait():
            raise WriterEnded(f"exit status {status}")
    finally:
        feeding.cancel()
        _kill(process)
        await asyncio.gather(feeding, process.wait(), return_exceptions=True)


async def _feed(process: Process, batches: AsyncIterator[Batch]) -> None:
    """Send the kinds of the columns, then the rows, one on each line; kill the process if reading the rows fails."""
    assert process.stdin
    try:
        kinds = {name: column.kind for name, column in FLAT_COLUMNS.items()}
        process.stdin.write(orjson.dumps(kinds) + b"\n")
        async for rows in batches:
            process.stdin.write("".join(f"{text}\n" for (text,) in rows).encode())
            await process.stdin.drain()
        process.stdin.close()
    except BaseException:
        _kill(process)
        raise


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended
        process.kill()
