"""Listing many objects or files: peak memory and seconds, against the same at a tenth of their number.

    .venv/bin/python -m benchmarks.listing [OBJECTS]

Fills a SeaweedFS of its own with OBJECTS (1,000,000) objects of one byte in prefixes of a thousand, which takes long,
and one folder with as many empty files. `plan` lists them as new; `sync` opens none, because all are too young.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.cluster import COMMAND, private_database
from benchmarks.measure import measure_command
from tests.support.s3 import Bucket, new_bucket, seaweed

CONFIG = """
[[source]]
id = "benchmark"
files = "{location}"
organisation = "Benchmark"
settle_seconds = {settle}
"""
A_DAY = 86_400
AT_ONCE = 32


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with (
        tempfile.TemporaryDirectory() as name,
        seaweed(Path(name)) as server,
        private_database() as database,
    ):
        folder, bucket = Path(name, "work"), new_bucket(server)
        (folder / "files").mkdir(parents=True)
        environment = {**database.ours, **bucket.environment}
        measure_command([*COMMAND, "organisation", "add", "Benchmark"], environment)
        for start, end in [(0, count // 10), (count // 10, count)]:
            asyncio.run(fill_bucket(bucket, start, end))
            for index in range(start, end):
                (folder / "files" / f"{index:07d}.tif").touch()
            for location in (f"s3://{bucket.name}/in", "files"):
                measure(folder, environment, location, end)


def measure(folder: Path, environment: dict[str, str], location: str, count: int) -> None:
    """Measure a plan and a sync."""
    for command, settle, status in (("plan", 0, 2), ("sync", A_DAY, 0)):
        (folder / "sources.toml").write_text(CONFIG.format(location=location, settle=settle))
        seconds, memory = measure_command([*COMMAND, command], environment, folder, status)
        label = f"{command} of {count} {'files' if location == 'files' else 'objects'}"
        print(f"{label:28} {seconds:7.1f} s {memory / 2**20:6.0f} MiB", flush=True)


async def fill_bucket(bucket: Bucket, start: int, end: int) -> None:
    """Put objects of one byte, some at a time."""
    indexes = iter(range(start, end))
    await asyncio.gather(*(put_all(bucket.store, indexes) for _ in range(AT_ONCE)))


async def put_all(store: S3Store, indexes: Iterator[int]) -> None:
    for index in indexes:
        key = f"in/{index // 1000:04d}/{index % 1000:03d}.tif"
        await obstore.put_async(store, key, b"x", use_multipart=False)


if __name__ == "__main__":
    main()
