"""Syncing many files of which none changed: time and memory, against a bare walk of the same tree and the first sync.

    .venv/bin/python benchmarks/sync.py [FILES]

Makes FILES (100,000) GeoTIFFs of 4 x 4 pixels in folders of a thousand, and syncs them in a new private cluster by the
command line: all of them new, then unchanged, five times, of which the shortest and the longest are told. Time of
processors is that of our processes and of PostgreSQL, which says more where the machine has other things to do.
"""

import os
import sys
import tempfile
from pathlib import Path

from register import COMMAND, make_files, measured, private_home, timed

CONFIG = """
[[source]]
id = "benchmark"
files = "files"
organisation = "Benchmark"
"""
REPETITIONS = 5


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name, private_home() as environment:
        folder = Path(name)
        (folder / "sources.toml").write_text(CONFIG)
        make_files(folder / "files", count)
        walk = min(timed(lambda: stat_all(folder / "files")) for _ in range(REPETITIONS))
        print(
            f"{count} files, {os.cpu_count()} cores; os.scandir and stat of them, warm: {walk:.2f} s"
        )

        def measure(*command: str) -> tuple[float, float, int]:
            before = processor_time(environment)
            seconds, memory = measured([*COMMAND, *command], environment, folder)
            return seconds, processor_time(environment) - before, memory

        first = measure("sync", "--create")
        again = sorted(measure("sync") for _ in range(REPETITIONS))
        for what, (seconds, processor, memory) in [
            ("first sync", first),
            ("sync, nothing changed, shortest", again[0]),
            ("sync, nothing changed, longest", again[-1]),
            ("plan, nothing changed", measure("plan")),
        ]:
            times = f"{seconds:7.2f} s, of processors {processor:7.2f} s"
            ratios = f"{seconds / walk:7.1f} x the walk {seconds / first[0]:7.3f} x the first"
            print(f"{what:32} {times} {ratios} {memory / 2**20:5.0f} MiB")


def processor_time(environment: dict[str, str]) -> float:
    """Seconds that our processes and PostgreSQL's have worked, as far as they have ended."""
    (lock,) = Path(environment["RASTERSOURCES_HOME"]).rglob("postmaster.pid")
    postmaster = int(lock.read_text().split()[0])
    spent = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[11:15]
    ours = os.times()
    ticks = sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")
    return ticks + ours.children_user + ours.children_system


def stat_all(folder: Path) -> None:
    """What no listing with fingerprints can do without."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                stat_all(Path(entry.path))
            else:
                entry.stat(follow_symlinks=False)


if __name__ == "__main__":
    main()
