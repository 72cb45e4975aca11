"""`make bench` measures everything beside its peers in one run, and writes figures, tables and charts.

python -m benchmarks [--rows 10000,100000,1000000] [--files 5000] [--only registration,lists] ...
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.cluster import Database, benchmark_cluster
from benchmarks.exports import measure_exports
from benchmarks.lists import compare_lists
from benchmarks.load import CONNECTIONS, DRIVER
from benchmarks.measure import RESULTS, new_results, scheduling
from benchmarks.objects import compare_objects
from benchmarks.pages import compare_pages
from benchmarks.peers import peer
from benchmarks.registration import compare_registration
from benchmarks.report import print_tables, write_page
from benchmarks.stac_search import compare_stac
from benchmarks.start import compare_start
from benchmarks.syncing import compare_sync

SECTIONS = ("start", "registration", "objects", "sync", "lists", "stac", "pages")
ROWS_FOR_ALL = 100_000
"""The size of catalogue at which all peers are measured, in all rounds; other sizes show growth, in one round."""


def main() -> None:
    options = parse_options()
    results = new_results()
    results.note(f"{CONNECTIONS} connections by {DRIVER}.")
    results.note(scheduling())
    with tempfile.TemporaryDirectory() as name, benchmark_cluster() as cluster:
        work = Path(name)
        if "start" in options.only:
            compare_start(results, cluster, work, options.rounds)
        if "registration" in options.only:
            compare_registration(results, cluster, work, options.files, options.rounds)
        if "objects" in options.only:
            compare_objects(results, cluster, work, options.objects, options.rounds)
        if "sync" in options.only:
            compare_sync(results, cluster, work, options.unchanged, options.rounds)
        for rows in options.rows if "lists" in options.only else ():
            all_peers = rows == ROWS_FOR_ALL
            rounds = options.rounds if all_peers else 1
            stac = all_peers and peer("pypgstac") is not None
            compare_lists(
                results, cluster, rows, rounds=rounds, duration=options.seconds, stac=stac
            )
        for items in options.items if "stac" in options.only else ():
            compare_stac(
                results,
                cluster,
                items,
                rounds=min(2, options.rounds),
                duration=min(2, options.seconds),
            )
            database = Database(cluster, f"stac_{items}")
            measure_exports(results, database, work / f"export_{items}", options.rounds)
        for rows in options.rows if "pages" in options.only else ():
            if rows >= ROWS_FOR_ALL:
                compare_pages(results, cluster, rows, work, options.rounds)
    print_tables(results)
    file = options.results / f"{results.commit}.json"
    results.write(file)
    if options.page:
        write_page(results, file, options.page)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", type=numbers, default=[10_000, 100_000, 1_000_000], help="sizes of catalogues"
    )
    parser.add_argument(
        "--items", type=numbers, default=[ROWS_FOR_ALL], help="sizes of catalogues in STAC"
    )
    parser.add_argument("--files", type=int, default=5_000, help="rasters that are registered")
    parser.add_argument("--objects", type=int, default=5_000, help="rasters in a bucket")
    parser.add_argument(
        "--unchanged", type=int, default=100_000, help="files that are synced again"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=3, help="of each case of lists in each round"
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(SECTIONS),
        help=f"of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the figures")
    parser.add_argument(
        "--page", type=Path, help="the page whose tables and charts are written again"
    )
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    """Return the whole numbers in a text."""
    return [int(float(word)) for word in text.split(",")]


if __name__ == "__main__":
    main()
