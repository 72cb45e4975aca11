"""Syncing many files of which none or few changed: seconds and memory, against a bare walk and our listing."""

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.cluster import COMMAND, new_database
from benchmarks.measure import Figures, Results, Work, measure_command, seconds
from benchmarks.tiffs import make_files
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.storage import list_files, literal_location

CONFIG = """
[[source]]
id = "benchmark"
files = "files"
organisation = "Benchmark"
settle_seconds = 0
"""
CHANGED = 100
"""One file in so many changes."""


def compare_sync(results: Results, cluster: Cluster, work: Path, count: int, rounds: int) -> None:
    """Measure the first sync of so many files, a sync without changes, and one after 1 % changed."""
    folder = work / "synced"
    files = folder / "files"
    make_files(files, range(count))
    (folder / "sources.toml").write_text(CONFIG)
    environment = new_database(cluster, "many", migrated=True).ours

    def sync(*options: str) -> Figures:
        return run_measured(environment, folder, "sync", *options)

    def sync_changed() -> Figures:
        for index in range(0, count, CHANGED):
            os.utime(files / f"{index // 1000:03d}" / f"{index:06d}.tif")
        return sync()

    works: Mapping[str, Work] = {
        "ours": sync,
        "plan": lambda: run_measured(environment, folder, "plan"),
        "listing": lambda: {"s": seconds(lambda: list_all(files))},
        "walk": lambda: {"s": seconds(lambda: stat_all(files))},
    }
    results.compare("sync", "first", "s", count, {"ours": lambda: sync("--create")}, 1)
    results.compare("sync", "unchanged", "s", count, works, rounds)
    results.compare("sync", "1 % changed", "s", count, {"ours": sync_changed}, rounds)


def run_measured(environment: Mapping[str, str], folder: Path, *command: str) -> Figures:
    """Return the seconds of a command, and the memory of its largest process."""
    elapsed, memory = measure_command([*COMMAND, *command], environment, folder)
    return {"s": elapsed, "largest_MiB": memory / 2**20}


def list_all(folder: Path) -> None:
    """List the files as a sync does, with their fingerprints."""
    for _ in list_files([literal_location(str(folder))], [Path("/")]):
        pass


def stat_all(folder: Path) -> None:
    """Ask for the status of each file, as every listing with fingerprints must."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                stat_all(Path(entry.path))
            else:
                entry.stat(follow_symlinks=False)
