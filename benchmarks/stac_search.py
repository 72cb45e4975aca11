"""Searches in STAC: ours beside stac-fastapi-pgstac, in catalogues of two kinds.

One has 100 collections, all Public, and pgstac is loaded with the same items. In the other one each file has a raster
source of its own. pgstac makes a partition of each collection, so there it has one; it also has the records that are
not Public. Ours counts what matches, exactly; pgstac does not, as it is by default.
"""

import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlencode, urlsplit

import httpx

from benchmarks.cluster import Database, new_database, serve_ours
from benchmarks.load import load
from benchmarks.measure import Results, Work, seconds
from benchmarks.pages import find_catalogue
from benchmarks.peers import peer
from benchmarks.sample import box
from benchmarks.stac import index_pgstac, load_pgstac, migrate_pgstac, prepare_stac, serve_stac
from pipeline.database.private_cluster.cluster import Cluster

COLLECTIONS = 100
REQUESTS = 500
"""The number of different requests of a case."""
PAGES = 50
"""Pages that are turned from the first one, by the links of each contender."""
PROBES = 3
MAX_ITEMS = 1000
"""Items that one answer may have."""
ROOTS = {"ours": "/stac", "stac-fastapi": ""}
SIZE, TYPE = "rastersources:size", "rastersources:dtype"
QUERYABLES = {SIZE: "number", TYPE: "string"}
SINGLE_FILES = ("bbox", "newest first", "next page")
"""Cases that are measured where each raster source has one file."""
BY_POST = ("bbox", "CQL2 in a collection")
"""Cases that are requested by POST too."""
Search = dict[str, Any]
"""The parameters of a search, as in the body of a POST."""


def compare_stac(
    results: Results, cluster: Cluster, rows: int, *, rounds: int, duration: float
) -> None:
    """Measure each case at catalogues of so many items."""
    database = new_database(cluster, f"stac_{rows}", migrated=True)
    fill_collections(results, database, rows)
    searches = draw_searches(database, rows)
    measure = partial(measure_searches, results, rows=rows, rounds=rounds, duration=duration)
    measure("STAC", database, searches, check=True)
    database = fill_single_files(cluster, rows)
    few = {case: searches[case] for case in SINGLE_FILES}
    measure("STAC, one file each", database, few, check=False)


def fill_collections(results: Results, database: Database, rows: int) -> None:
    """Make files in 100 collections; copy their items into pgstac where it is installed."""

    def timed(work: Callable[[], object]) -> Work:
        return lambda: {"s": seconds(work)}

    def ours() -> None:
        database.run_file("stac_sources.sql", collections=collections)
        database.run_file("stac_files.sql", collections=collections)

    collections = min(COLLECTIONS, rows)
    database.run_file("records.sql", rows=rows)
    results.compare("loading", "STAC", "s", rows, {"ours": timed(ours)}, 1)
    database.execute("VACUUM ANALYZE")
    if not peer("pypgstac"):
        results.note("STAC: stac-fastapi is skipped: it is not installed (make bench-peers).")
        return
    with tempfile.TemporaryDirectory() as folder:
        items = copy_documents(database, Path(folder))
        theirs = {"stac-fastapi": timed(partial(load_pgstac, database, "items", items))}
        results.compare("loading", "STAC", "s", rows, theirs, 1)
        index_pgstac(database, Path(folder), QUERYABLES)
    database.execute("VACUUM ANALYZE")


def fill_single_files(cluster: Cluster, rows: int) -> Database:
    """Return the catalogue of the lists, or a new one, in which each raster source has a file."""
    database = find_catalogue(cluster, rows)
    if not database.execute("SELECT FROM raster_files LIMIT 1"):
        database.run_file("stac_files.sql", collections=rows)
    if peer("pypgstac") and not has_pgstac(database):
        with tempfile.TemporaryDirectory() as folder:
            load_pgstac(database, "items", prepare_stac(database, Path(folder)))
    database.execute("VACUUM ANALYZE")
    return database


def has_pgstac(database: Database) -> bool:
    """Return whether a database has the tables of pgstac."""
    ((exists,),) = database.execute("SELECT to_regclass('pgstac.items') IS NOT NULL")
    return bool(exists)


def measure_searches(
    results: Results,
    section: str,
    database: Database,
    searches: Mapping[str, Sequence[Search]],
    *,
    check: bool,
    rows: int,
    rounds: int,
    duration: float,
) -> None:
    """Measure each case at a catalogue that is filled."""
    with ExitStack() as stack:
        addresses = {"ours": stack.enter_context(serve_ours(database))}
        if has_pgstac(database) and peer("pypgstac"):
            addresses["stac-fastapi"] = stack.enter_context(serve_stac(database))
        if check:
            check_answers(results, addresses, searches, rows)
        for case, asked in cases(addresses, searches).items():
            works: dict[str, Work] = {
                name: partial(load, addresses[name], requests, duration)
                for name, requests in asked.items()
            }
            results.compare(section, case, "req/s", rows, works, rounds)


def copy_documents(database: Database, folder: Path) -> Path:
    """Give pgstac our collections; return a file with our items."""
    migrate_pgstac(database)
    collections, items = folder / "collections.ndjson", folder / "items.ndjson"
    write_documents(database, "SELECT collection FROM stac_collections", collections)
    write_documents(database, "SELECT item FROM stac_items ORDER BY id", items)
    load_pgstac(database, "collections", collections)
    return items


def write_documents(database: Database, documents: LiteralString, path: Path) -> None:
    """Write the documents that a query finds, one for each line, as they are."""
    plain = f"COPY ({documents}) TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
    with (
        database.connect() as connection,
        path.open("wb") as file,
        connection.cursor().copy(plain) as lines,
    ):
        file.writelines(lines)


def draw_searches(database: Database, rows: int) -> dict[str, list[Search]]:
    """Return different searches for each case."""
    draw = random.Random(13)
    sources = database.execute("SELECT CAST(uuid AS text) FROM raster_sources ORDER BY id")
    collections = [str(uuid) for (uuid,) in sources]
    newest_first = [{"field": "datetime", "direction": "desc"}]

    def searches(make: Callable[[], Search]) -> list[Search]:
        return [{"limit": 10, **make()} for _ in range(REQUESTS)]

    def small() -> Search:  # about 1 % of the items
        return {"op": "<", "args": [{"property": SIZE}, round(draw.uniform(22_000, 27_000))]}

    def of_type() -> Search:
        return {"op": "=", "args": [{"property": TYPE}, draw.choice(["f4", "u1", "i2"])]}

    def in_one_collection() -> Search:
        return {"collections": [draw.choice(collections)]}

    def all_of(*filters: Search) -> Search:
        return {"filter-lang": "cql2-json", "filter": {"op": "and", "args": filters}}

    return {
        "bbox": searches(lambda: {"bbox": draw_box(draw, 0.01)}),
        "bbox and datetime": searches(
            lambda: {"bbox": draw_box(draw, 0.05), "datetime": draw_year(draw)}
        ),
        "collection": searches(in_one_collection),
        "ids": searches(lambda: {"ids": [str(draw.randrange(rows) + 1) for _ in range(10)]}),
        "CQL2": searches(lambda: all_of(small(), of_type())),
        "CQL2 in a collection": searches(
            lambda: {**in_one_collection(), **all_of(small(), of_type())}
        ),
        "newest first": searches(lambda: {"sortby": newest_first}),
        "newest of a collection": searches(lambda: {**in_one_collection(), "sortby": newest_first}),
        "next page": [{"limit": 10}],
    }


def draw_box(draw: random.Random, side: float) -> list[float]:
    """Return a square inside the Netherlands."""
    return [float(number) for number in box(draw, side).split(",")]


def draw_year(draw: random.Random) -> str:
    """Return an interval of a year."""
    year = draw.randrange(2011, 2022)
    return f"{year}-01-01T00:00:00Z/{year}-12-31T23:59:59Z"


def cases(
    addresses: Mapping[str, str], searches: Mapping[str, Sequence[Search]]
) -> dict[str, dict[str, list[str]]]:
    """Return the requests of each case for each contender: by GET, and some by POST too."""
    paths = {}
    for case, requests in searches.items():
        paths[case] = {
            name: follow_pages(address, ROOTS[name])
            if case == "next page"
            else [by_get(ROOTS[name], search) for search in requests]
            for name, address in addresses.items()
        }
        if case in BY_POST:
            paths[f"{case}, POST"] = {
                name: [by_post(ROOTS[name], search) for search in requests] for name in addresses
            }
    return paths


def by_get(root: str, search: Search) -> str:
    """Return the path of a search."""
    query = {name: as_text(name, value) for name, value in search.items()}
    return f"{root}/search?{urlencode(query)}"


def as_text(name: str, value: Any) -> str:
    """Return a parameter as a query string has it."""
    if name == "filter":
        return json.dumps(value, separators=(",", ":"))
    if name == "sortby":
        return ",".join(
            f"{'-' if key['direction'] == 'desc' else ''}{key['field']}" for key in value
        )
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def by_post(root: str, search: Search) -> str:
    """Return the path of a search, and its body after a tab."""
    return f"{root}/search\t{json.dumps(search, separators=(',', ':'))}"


def follow_pages(address: str, root: str) -> list[str]:
    """Follow the links from the first page; return the paths of the pages after it."""
    paths = [f"{root}/search?limit=10"]
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(PAGES):
            links = client.get(paths[-1]).raise_for_status().json()["links"]
            next_pages = [link["href"] for link in links if link["rel"] == "next"]
            if not next_pages:
                break
            parts = urlsplit(next_pages[0])
            paths.append(f"{parts.path}?{parts.query}")
    return paths[1:] or paths  # a small catalogue has one page


def check_answers(
    results: Results,
    addresses: Mapping[str, str],
    searches: Mapping[str, Sequence[Search]],
    rows: int,
) -> None:
    """End the benchmark if the contenders find different items, or if our count differs from the items."""
    compared = 0
    for case, asked in searches.items():
        for search in asked[:PROBES]:
            (counts, ids) = zip(
                *(find(url + ROOTS[name], search) for name, url in addresses.items()), strict=True
            )
            if counts[0] > MAX_ITEMS:  # more than an answer may have
                continue
            if counts[0] != len(ids[0]) or any(other != ids[0] for other in ids):
                raise SystemExit(
                    f"STAC, {case}: {search} is answered in different ways: {counts}, {ids}"
                )
            compared += 1
    if len(addresses) > 1:
        results.note(
            f"{rows:,} items: {compared} searches of ours and of pgstac found the same items, as many as we count."
        )


def find(url: str, search: Search) -> tuple[int | None, set[str]]:
    """Return the number of items that an answer names, and the ids of its items."""
    body = {**search, "limit": MAX_ITEMS}
    answer = httpx.post(f"{url}/search", json=body, timeout=60).raise_for_status().json()
    return answer.get("numberMatched"), {item["id"] for item in answer["features"]}
