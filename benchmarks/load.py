"""Ask a server for paths over many connections: by wrk where it is installed, otherwise by asyncio in this process.

A path may be followed by a tab and a body, which is sent by POST as JSON. wrk counts in whole seconds, so that shorter
times are left to asyncio.
"""

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.cluster import run
from benchmarks.measure import Figures, quantile

DRIVER = "wrk" if shutil.which("wrk") else "asyncio"
CONNECTIONS = 16


def load(address: str, paths: Sequence[str], seconds: float) -> Figures:
    """Return requests/s and latencies; each connection asks again as soon as it is answered."""
    ask = by_wrk if DRIVER == "wrk" and seconds >= 1 else by_asyncio
    by_asyncio(address, paths, seconds / 5)  # warms caches, connections and plans
    rate, p50, p99, failed = ask(address, paths, seconds)
    if not rate:  # no answer came in time: wait for one
        rate, p50, p99, failed = by_asyncio(address, paths, seconds)
    if failed:
        raise SystemExit(f"{failed:.0f} requests to {address} failed, such as {paths[0]}")
    return {"req/s": rate, "p50_ms": p50, "p99_ms": p99}


def by_wrk(address: str, paths: Sequence[str], seconds: float) -> list[float]:
    """Return requests/s, two latencies in ms, and how many failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(paths) + "\n")
        file.flush()
        script = Path(__file__).with_name("wrk.lua")
        command = [
            "wrk",
            "-t2",
            f"-c{CONNECTIONS}",
            f"-d{seconds:.0f}s",
            "--timeout=30s",
            "-s",
            script,
            address,
        ]
        printed = run(command, {**os.environ, "BENCH_PATHS": file.name})
    (line,) = [line for line in printed.splitlines() if line.startswith("figures")]
    return [float(word) for word in line.split()[1:]]


def by_asyncio(address: str, paths: Sequence[str], seconds: float) -> list[float]:
    """Return what `by_wrk` returns; this client takes more of the machine."""
    started = time.monotonic()
    times, failed = asyncio.run(ask_all(address, paths, seconds))
    return [
        len(times) / (time.monotonic() - started),
        quantile(times, 0.5),
        quantile(times, 0.99),
        failed,
    ]


def request(path: str, host: str) -> bytes:
    """Return the bytes of a request."""
    path, _, body = path.partition("\t")
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    method = "POST" if body else "GET"
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\n{body}".encode()


async def ask_all(address: str, paths: Sequence[str], seconds: float) -> tuple[list[float], int]:
    """Return the milliseconds of the requests, and how many failed."""
    parts = urlsplit(address)
    draw, end = random.Random(1), time.monotonic() + seconds
    times: list[float] = []
    failed = 0

    async def connection() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        started = time.monotonic()
        while not times or started < end:
            writer.write(request(draw.choice(paths), parts.netloc))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(None, 1)[0]))
            times.append(1000 * (time.monotonic() - started))
            failed += b" 200 " not in head
            started = time.monotonic()
            if b"connection: close" in head:
                writer.close()
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return times, failed
