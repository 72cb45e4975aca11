"""Measure contenders in rounds of rotating order, with the share of the machine that other programs used."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from threading import Event, Thread

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
Figures = dict[str, float]
"""Name -> figure of one measurement. The first one is the rate or the time that contenders are compared by."""
Work = Callable[[], Figures]


@dataclass
class Case:
    """A piece of work, and what each contender needed for it in each round."""

    section: str
    name: str
    unit: str
    """The unit of the first figure. Rates end with `/s`, and more is better."""
    rows: int
    contenders: dict[str, list[Figures]] = field(default_factory=dict)

    def median(self, contender: str, figure: str | None = None) -> float:
        """Return the median of the rounds."""
        rounds = self.contenders[contender]
        return median(figures[figure or next(iter(figures))] for figures in rounds)

    def ratio(self, contender: str, other: str) -> float:
        """Return how many times better a contender is than another: the median of the ratios of each round."""
        first = next(iter(self.contenders[contender][0]))
        pairs = zip(self.contenders[contender], self.contenders[other], strict=True)
        ratios = [figures[first] / others[first] for figures, others in pairs]
        return median(ratios if self.unit.endswith("/s") else [1 / ratio for ratio in ratios])


@dataclass
class Results:
    """All cases of a run, and the machine it ran on."""

    commit: str
    machine: str
    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences on what was skipped, and on what was checked."""

    def compare(
        self, section: str, name: str, unit: str, rows: int, works: Mapping[str, Work], rounds: int
    ) -> Case:
        """Measure each contender in each round; the order rotates, so that none is always the first."""
        case = Case(section, name, unit, rows, {contender: [] for contender in works})
        self.cases.append(case)
        names = list(works)
        for turn in range(rounds):
            for contender in names[turn % len(names) :] + names[: turn % len(names)]:
                figures = measure(works[contender])
                case.contenders[contender].append(figures)
                listed = ", ".join(f"{key} {value:,.4g}" for key, value in figures.items())
                print(f"{section}, {rows}, {name}: {contender:12} {listed} ({unit})", flush=True)
        return case

    def note(self, sentence: str) -> None:
        """Keep a sentence beside the figures, and print it."""
        print(sentence, flush=True)
        self.notes.append(sentence)

    def find(self, section: str) -> list[Case]:
        """Return the cases of a section."""
        return [case for case in self.cases if case.section == section]

    def write(self, path: Path) -> None:
        """Write all figures as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def new_results() -> Results:
    """Return empty results for the commit that is checked out."""
    command = ["git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    return Results(result.stdout.strip() or "unknown", machine)


def scheduling() -> str:
    """Say whether the kernel divides the cores among sessions, which PostgreSQL has one of for each connection."""
    file = Path("/proc/sys/kernel/sched_autogroup_enabled")
    grouped = file.exists() and file.read_text().strip() == "1"
    return f"Processes are {'' if grouped else 'not '}scheduled by session (kernel.sched_autogroup_enabled)."


def read_results(path: Path) -> Results:
    """Return the results in a file."""
    document = json.loads(path.read_text())
    return Results(**{**document, "cases": [Case(**case) for case in document["cases"]]})


def measure(work: Work) -> Figures:
    """Return the figures of some work, with the CPU seconds that it took and the share that other programs used."""
    started, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    figures = work()
    cpu = own_seconds() - own
    capacity = (time.monotonic() - started) * (os.cpu_count() or 1)
    others = max(0.0, (busy_seconds() - busy - cpu) / capacity)
    return {**figures, "cpu_s": round(cpu, 3), "others": round(others, 3)}


def busy_seconds() -> float:
    """Return the CPU seconds that the whole machine has worked, with those that its host took away."""
    user, nice, system, _, _, *interrupts_and_steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the CPU seconds of this process, of those below it, and of the PostgreSQL clusters in use."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
            ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))
    ours = {os.getpid(), *POSTMASTERS}
    return sum(used for pid, used in ticks.items() if is_below(pid, ours, parents)) / os.sysconf(
        "SC_CLK_TCK"
    )


POSTMASTERS: set[int] = set()
"""Process ids of the clusters in use, which are not children of this process."""


def is_below(pid: int, ancestors: set[int], parents: Mapping[int, int]) -> bool:
    """Return whether a process is one of these or descends from them."""
    while pid in parents:
        if pid in ancestors:
            return True
        pid = parents[pid]
    return False


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure_command(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    folder: Path | None = None,
    status: int = 0,
) -> tuple[float, int]:
    """Run a command; return its seconds, and the peak resident memory of its largest process in bytes."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    with peak_memory(process.pid) as peak:
        process.wait()
    if process.returncode != status:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.monotonic() - started, max(peak)


@contextmanager
def peak_memory(pid: int) -> Iterator[list[int]]:
    """Yield a list of the peaks of a process and those below it, which grows while they run."""
    ended, peaks = Event(), [0]

    def watch() -> None:
        while not ended.wait(0.05):
            peaks[:] = [max([*peaks, *map(peak_of, descendants(pid))])]

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


def descendants(pid: int) -> list[int]:
    """List a process and the processes below it; one that has ended has none below it."""
    pids = [pid]
    for parent in pids:
        with suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
    return pids


def peak_of(pid: int) -> int:
    """Return the peak resident memory in bytes (VmHWM), 0 when the process has gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
