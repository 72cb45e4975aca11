"""Cloud-optimised GeoTIFFs in a bucket that answers late: requests and bytes for each, against plain ranged GETs.

A proxy before SeaweedFS holds each answer back for 20 ms, and counts requests and bytes. It uses the same machine, for
our requests and the plain requests alike.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.cluster import COMMAND, new_database, run
from benchmarks.measure import Figures, Results, seconds
from benchmarks.registration import count_files, rate, require
from benchmarks.tiffs import make_raster
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.storage.ranges import FIRST_BYTES
from tests.support.proxy import Proxy, proxy
from tests.support.s3 import Bucket, new_bucket, seaweed

LATE = 0.02
"""Seconds by which answers come later."""
AT_ONCE = 64
"""How many plain requests run at once: as many as two of our processes wait for."""
COG = 5
"""`make_raster` makes a cloud-optimised raster of each number that this divides."""


def compare_objects(
    results: Results, cluster: Cluster, work: Path, count: int, rounds: int
) -> None:
    """Measure objects/s of registering, and of one plain request for each request that ours made."""
    (work / "seaweed").mkdir()
    with seaweed(work / "seaweed") as server, proxy(server.endpoint) as late:
        late.delay = LATE
        bucket = new_bucket(server)
        keys = [f"in/{number // 100:03d}/{number:05d}.tif" for number in range(count)]
        for number, key in enumerate(keys):
            bucket.put(key, make_raster(work / "objects", number * COG))
        through = replace(bucket, endpoint=late.endpoint)
        first = register(cluster, through, late, count)
        requests = [key for key in keys for _ in range(round(first["requests"]))]
        results.compare(
            "objects", "cloud-optimised, 20 ms late", "files/s", count,
            {
                "ours": lambda: register(cluster, through, late, count),
                "plain GETs": lambda: rate(count, lambda: asyncio.run(get_all(through.store, requests))),
            },
            rounds,
        )  # fmt: skip


def register(cluster: Cluster, bucket: Bucket, late: Proxy, count: int) -> Figures:
    """Measure `rastersources register` of a bucket, with the requests and bytes for each object."""
    database = new_database(cluster, "objects", migrated=True)
    late.exchanges.clear()
    command = [
        *COMMAND,
        "register",
        f"s3://{bucket.name}/in",
        "--organisation",
        "Benchmark",
        "--create",
    ]
    elapsed = seconds(lambda: run(command, {**database.ours, **bucket.environment}))
    require(count_files(database), count)
    requests = late.exchanges_of(".tif")
    size = sum(exchange.size for exchange in requests) / count
    return {"files/s": count / elapsed, "requests": len(requests) / count, "KiB": size / 2**10}


async def get_all(store: S3Store, keys: list[str]) -> None:
    """Fetch the first bytes of objects, some at a time."""
    waiting = iter(keys)
    await asyncio.gather(*(get_some(store, waiting) for _ in range(AT_ONCE)))


async def get_some(store: S3Store, keys: Iterator[str]) -> None:
    """Fetch one object after another."""
    for key in keys:
        await obstore.get_range_async(store, key, start=0, length=FIRST_BYTES)
