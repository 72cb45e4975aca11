"""The time of lists while other clients send costly regular expressions, against the usual time, in turns of one run.

    .venv/bin/python -m benchmarks.costly [SOURCES]

A private cluster has SOURCES (100,000) public raster sources; four clients repeat an expression that takes minutes.
"""

import sys
from collections.abc import Iterator
from statistics import median
from threading import Event, Thread
from time import perf_counter, sleep

import httpx

from benchmarks.cluster import private_database, serve_ours

SLOW = "(?=(.{0,100}){0,100}x)(?!(.{0,100}){0,100}y)z"
LIST = "/api/v4/rastersources/?in_bbox=4.1,51.1,4.11,51.11"
ROUNDS, LISTS, CLIENTS = 8, 100, 4
FILL = """
WITH owner AS (INSERT INTO organisations (name) VALUES ('Benchmark') RETURNING id)
INSERT INTO raster_sources (name, organisation_id, access_modifier, file_count, west, south, east, north, projection,
    origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype,
    first_value_timestamp, last_value_timestamp)
SELECT repeat(md5(n::text), 1 + n %% 7), owner.id, 0, 1, 4 + n %% 1000 / 1000.0, 51 + n %% 777 / 1000.0,
    4.001 + n %% 1000 / 1000.0, 51.001 + n %% 777 / 1000.0, 'EPSG:28992', 1, 1, 2, 2, 0.5, -0.5, n, 'f4',
    '1970-01-01Z', '1970-01-01Z'
FROM owner, generate_series(1, %s) AS n
"""


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with private_database() as database:
        database.execute(FILL, count)
        with serve_ours(database) as address, httpx.Client(base_url=address, timeout=60) as client:
            ratios = list(compare(client))
    print(f"lists take {median(ratios):.2f} x their usual time")


def compare(client: httpx.Client) -> Iterator[float]:
    """Yield the ratio of each round."""
    busy, stop = Event(), Event()
    clients = [Thread(target=ask, args=(str(client.base_url), busy, stop)) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    try:
        for _ in range(ROUNDS):
            usual = measure_list(client)
            busy.set()
            sleep(1)
            meanwhile = measure_list(client)
            busy.clear()
            sleep(6)  # until the last expressions have ended
            print(f"usual {usual:6.2f} ms, meanwhile {meanwhile:6.2f} ms", flush=True)
            yield meanwhile / usual
    finally:
        stop.set()


def ask(address: str, busy: Event, stop: Event) -> None:
    """Ask for the expression again and again while the event is set."""
    with httpx.Client(base_url=address, timeout=60) as client:
        while not stop.is_set():
            if busy.wait(0.1):
                client.get("/api/v4/rastersources/", params={"name__regex": SLOW})


def measure_list(client: httpx.Client) -> float:
    """Return the median time of a list in milliseconds."""
    times = []
    for _ in range(LISTS):
        start = perf_counter()
        client.get(LIST).raise_for_status()
        times.append(1000 * (perf_counter() - start))
    return median(times)


if __name__ == "__main__":
    main()
