"""Tables of a run: on the terminal, and with charts in docs/performance.md."""

import os
from pathlib import Path

from benchmarks.cluster import run
from benchmarks.measure import Case, Results
from benchmarks.peers import PEERS, peer

BEGIN, END = "<!-- begin of the generated part -->", "<!-- end of the generated part -->"
HEAD = """\
| {section} | contender | {unit} | rounds | p50 ms | p99 ms | CPU s | used by others | ours is better by |
|---|---|---|---|---|---|---|---|---|"""


def print_tables(results: Results) -> None:
    """Print medians, ratios, and the share of the machine that other programs used."""
    print("\n" + "\n\n".join(tables(results)))


def tables(results: Results) -> list[str]:
    """Return a table of each section and size."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in results.cases:
        groups.setdefault((f"{case.section}, {case.rows:,}", case.unit), []).append(case)
    return [
        "\n".join(
            [
                HEAD.format(section=section, unit=unit),
                *(row for case in cases for row in rows(case)),
            ]
        )
        for (section, unit), cases in groups.items()
    ]


def rows(case: Case) -> list[str]:
    """Return a row for each contender of a case."""
    lines = []
    for name, rounds in case.contenders.items():
        first, *others = rounds[0]
        values = [figures[first] for figures in rounds]
        latencies = [
            f"{case.median(name, key):,.1f}" if key in others else ""
            for key in ("p50_ms", "p99_ms")
        ]
        ratio = (
            show(case.ratio("ours", name)) if "ours" in case.contenders and name != "ours" else ""
        )
        cells = [
            case.name, name, show(case.median(name)), f"{show(min(values))} to {show(max(values))}", *latencies,
            f"{case.median(name, 'cpu_s'):,.1f}", f"{max(figures['others'] for figures in rounds):.0%}", ratio,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def show(figure: float) -> str:
    """Return a figure with at least three digits."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def write_page(results: Results, file: Path, page: Path) -> None:
    """Write the generated part of the page and the charts, from results that are also in a file."""
    images, charts = page.parent / "images", ""
    if peer("pypgstac"):
        run([PEERS / "python", "-m", "benchmarks.charts", file, images], os.environ)
        charts = "\n\n".join(f"![{name}](images/{name}.svg)" for name in ("throughput", "growth"))
    notes = "\n".join(f"- {note}" for note in results.notes)
    head = f"Commit `{results.commit}`; {results.machine}.\n\n{notes}"
    generated = "\n\n".join(filter(None, [head, charts, *tables(results)]))
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{generated}\n\n{END}{rest.partition(END)[2]}")
