"""Lists and details over HTTP from one catalogue: ours, Django REST Framework, stac-fastapi-pgstac, and SQL alone."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx

from benchmarks.cluster import Database, new_database, serve_ours, serving
from benchmarks.floor import floor_scripts, pgbench
from benchmarks.load import load
from benchmarks.measure import Results, Work, seconds
from benchmarks.peers import peer
from benchmarks.sample import Paths, Sample, draw_sample
from benchmarks.stac import (
    STAC_QUERYABLES,
    index_pgstac,
    load_pgstac,
    prepare_stac,
    serve_stac,
    stac_paths,
)
from pipeline.database.private_cluster.cluster import Cluster

LIST = "/api/v4/rastersources/"
PROBES = 20


def compare_lists(
    results: Results, cluster: Cluster, rows: int, *, rounds: int, duration: float, stac: bool
) -> None:
    """Measure each case at a new catalogue with so many records."""
    database = new_database(cluster, f"catalogue_{rows}", migrated=True)
    database.run_file("records.sql", rows=rows)
    fill(results, database, rows, stac=stac)
    measure_lists(results, database, rows, rounds=rounds, duration=duration, stac=stac)


def measure_lists(
    results: Results, database: Database, rows: int, *, rounds: int, duration: float, stac: bool
) -> None:
    """Measure each case at a catalogue that is filled."""
    sample = draw_sample(database, rows)
    with ExitStack() as stack:
        servers = {"ours": (serve_ours(database), list_paths(sample))}
        if peer("gunicorn"):
            servers["drf"] = (serve_drf(database), list_paths(sample))
        if stac:
            servers["stac-fastapi"] = (serve_stac(database), stac_paths(database, sample))
        addresses = {name: stack.enter_context(server) for name, (server, _) in servers.items()}
        paths = {name: examples for name, (_, examples) in servers.items()}
        check_answers(results, addresses, paths["ours"], rows)
        scripts = floor_scripts(sample)
        for case in paths["ours"]:
            examples = {name: paths[name][case] for name in addresses if case in paths[name]}
            works: dict[str, Work] = {
                name: partial(load, addresses[name], chosen, duration)
                for name, chosen in examples.items()
            }
            if case in scripts:
                works["floor"] = partial(pgbench, database, scripts[case], duration)
            results.compare("lists", case, "req/s", rows, works, rounds)


def fill(results: Results, database: Database, rows: int, *, stac: bool) -> None:
    """Copy the made-up records into the tables of each contender."""
    database.run_file("drf.sql")

    def timed(work: Callable[[], object]) -> Work:
        return lambda: {"s": seconds(work)}

    works = {
        "ours": timed(lambda: database.run_file("ours.sql")),
        "drf": timed(lambda: database.run_file("fill_drf.sql")),
    }
    with tempfile.TemporaryDirectory() as folder:
        if stac:
            items = prepare_stac(database, Path(folder))
            works["stac-fastapi"] = timed(lambda: load_pgstac(database, "items", items))
        results.compare("loading", "catalogue", "s", rows, works, 1)
        if stac:
            index_pgstac(database, Path(folder), STAC_QUERYABLES)
    database.execute("VACUUM ANALYZE")


def list_paths(sample: Sample) -> Paths:
    """Return the paths of the API of Lizard, which our service and that of Django share."""
    return {
        "bbox": [f"{LIST}?in_bbox={box}&page_size=10" for box in sample.boxes],
        "bbox of 1,000": [f"{LIST}?in_bbox={box}&page_size=10" for box in sample.large_boxes],
        "name": [f"{LIST}?name__icontains={quote(name)}&page_size=10" for name in sample.names],
        "uuid": [f"{LIST}{uuid}/" for uuid in sample.uuids],
        "organisation": [
            f"{LIST}?organisation__uuid={uuid}&ordering=-last_modified&page_size=10"
            for uuid in sample.organisations
        ],
        "deep pages": [f"{LIST}?page={page}&page_size=10" for page in sample.pages],
        "first page": [f"{LIST}?page_size=10"],
    }


def check_answers(results: Results, addresses: Mapping[str, str], paths: Paths, rows: int) -> None:
    """End the benchmark if ours and Django answer with different counts, records or orders."""
    if "drf" not in addresses:
        results.note("Answers are not compared: gunicorn is not installed.")
        return
    probes = [path for examples in paths.values() for path in examples[:PROBES]]
    with httpx.Client(timeout=60) as client:
        for path in probes:
            ours, theirs = (answer(client, addresses[name] + path) for name in ("ours", "drf"))
            if ours != theirs:
                raise SystemExit(f"{path} differs: {ours} by us, {theirs} by Django")
    results.note(
        f"{rows:,} records: {len(probes)} answers of ours and of Django have the same count, records and order."
    )


def answer(client: httpx.Client, url: str) -> tuple[object, list[str]]:
    """Return the count and the uuids of an answer."""
    document = client.get(url).raise_for_status().json()
    return document.get("count"), [record["uuid"] for record in document.get("results", [document])]


def serve_drf(database: Database) -> AbstractContextManager[str]:
    """Yield the address of the service of Django REST Framework: two processes, persistent connections."""
    gunicorn = Path(sys.executable).with_name("gunicorn")
    options = ["-w", "2", "-k", "sync", "-b", "127.0.0.1:{port}", "--log-level", "warning"]
    return serving(
        [gunicorn, "benchmarks.drf.wsgi", *options], database.peers, f"{LIST}?page_size=1"
    )
