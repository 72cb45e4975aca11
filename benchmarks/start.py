"""What a start costs: CPU seconds of commands, and memory of the processes that stay.

Memory is the proportional set size (PSS): pages that processes share count in equal parts.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx

from benchmarks.cluster import COMMAND, Database, new_database, serve_ours
from benchmarks.measure import Figures, Results, descendants
from benchmarks.tiffs import make_files
from pipeline.catalogue.file_row import file_row
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.raster import ProcessReader, ReadOptions
from pipeline.storage import list_files, literal_location

COMMANDS = {
    "--help": ["--help"],
    "organisation add": ["organisation", "add", ""],
    "user list": ["user", "list"],
}
"""The second one is rejected once the database is open, so that it can be repeated."""
REQUESTS = 200
FILES = 200


def compare_start(results: Results, cluster: Cluster, work: Path, rounds: int) -> None:
    """Measure commands against a Python that does nothing, and the memory of our processes."""
    database = new_database(cluster, "start", migrated=True)
    nothing = partial(cpu_seconds, [sys.executable, "-c", ""], database.ours)
    for name, words in COMMANDS.items():
        ours = partial(cpu_seconds, [*COMMAND, *words], database.ours)
        results.compare("start", name, "s", 0, {"ours": ours, "python": nothing}, rounds)
    memory = {"process of the API": partial(memory_of_api, database)}
    memory["reading process"] = partial(memory_of_reader, work / "read")
    for name, measure in memory.items():
        results.compare("memory", name, "MiB", 0, {"ours": measure}, 1)


def cpu_seconds(command: Sequence[str | Path], environment: Mapping[str, str]) -> Figures:
    """Return the CPU seconds of a command."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return {"s": usage.ru_utime + usage.ru_stime}


def memory_of_api(database: Database) -> Figures:
    """Return the memory of the largest process of a server that has answered requests, and of all its processes."""
    with serve_ours(database) as address, httpx.Client(base_url=address) as client:
        for _ in range(REQUESTS):
            client.get("/api/v4/rastersources/", headers={"Accept": "text/html"})
        sizes = list(memory_of("serve"))
    return {"MiB": max(sizes), "all_MiB": sum(sizes), "processes": len(sizes)}


def memory_of_reader(folder: Path) -> Figures:
    """Return the memory of a process that has read files."""
    make_files(folder, range(FILES))
    files = list_files([literal_location(str(folder))], [Path("/")])
    with ProcessReader(1, file_row) as reader:
        for _ in reader.read(files, ReadOptions()):
            pass
        return {"MiB": max(memory_of("pipeline.raster.workers.process"))}


def memory_of(word: str) -> Iterator[float]:
    """Yield the PSS in MiB of each process below this one that has a word in its command."""
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                yield int(rollup.partition("\nPss:")[2].split()[0]) / 1024
