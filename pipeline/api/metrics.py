"""Metrics for Prometheus, counted in memory that all processes of the server share.

`prometheus_client` only writes the text. It could count too, but shares counts between processes in files, and a killed
server would leave these behind.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import accumulate, product
from time import perf_counter

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.api.middleware import KNOWN_METHODS, NO_ROUTE, route_of
from pipeline.api.problems import check_method
from pipeline.api.shared_memory import COUNTS, RUNNING, SharedMemory

METHODS = (*KNOWN_METHODS, "other")
STATUSES = {int(status): index for index, status in enumerate(HTTPStatus)}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds of the histogram of response times, in seconds."""
BOUNDS = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]
BLOCK = len(STATUSES) + len(BOUNDS) + 1
"""Counters of a method and a route: one for each status, one for each bucket, and the sum of the seconds."""


class RequestCounts(Collector):
    """Requests by method, route and status, and their times."""

    def __init__(self, shared: SharedMemory, routes: Iterable[str]) -> None:
        self.shared = shared
        keys = product(METHODS, sorted({*routes, NO_ROUTE}))
        self._blocks = {key: COUNTS + BLOCK * index for index, key in enumerate(keys)}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; unknown methods and paths share a label, so that clients cannot create labels."""
        row = self.shared.own
        begin = self._blocks[method if method in KNOWN_METHODS else "other", route]
        row[begin + STATUSES[status]] += 1
        row[begin + len(STATUSES) + bisect_left(BUCKETS, seconds)] += 1
        row[begin + BLOCK - 1] += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, summed over all processes."""
        prefix, names = "rastersources_request", ("method", "route", "status")
        requests = CounterMetricFamily(f"{prefix}s", "Requests answered.", labels=names)
        seconds = HistogramMetricFamily(f"{prefix}_seconds", "Time to answer.", labels=names[:2])
        for key, begin in self._blocks.items():
            rows = [row[begin : begin + BLOCK] for row in self.shared.rows]
            *counts, total = (sum(column) for column in zip(*rows, strict=True))
            for status, index in STATUSES.items():
                if counts[index]:
                    requests.add_metric([*key, str(status)], counts[index])
            if any(counts):
                buckets = zip(BOUNDS, accumulate(counts[len(STATUSES) :]), strict=True)
                seconds.add_metric(key, list(buckets), total)
        running = self.shared.total(RUNNING)
        yield from (requests, seconds)
        yield GaugeMetricFamily(f"{prefix}s_running", "Requests being answered.", running)


class Metrics:
    """Counts requests, and measures their time."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self.app, self.counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, begin = 500, perf_counter()

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        row = self.counts.shared.own
        row[RUNNING] += 1
        try:
            await self.app(scope, receive, send_and_record)
        finally:
            row[RUNNING] -= 1
            self.counts.add(scope["method"], route_of(scope), status, perf_counter() - begin)


class MetricsPage:
    """The metrics in the text format of Prometheus."""

    def __init__(self, counts: RequestCounts) -> None:
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raise Problem 405."""
        check_method(scope["method"], ("GET", "HEAD"))
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        response = Response(generate_latest(self.counts), headers=headers)
        await response(scope, receive, send)
