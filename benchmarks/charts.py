"""Draws the charts of docs/performance.md, in the environment of the peers, which has matplotlib.

python -m benchmarks.charts RESULTS FOLDER
"""

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.measure import Case, Results, read_results

COLOURS = {
    "ours": "#1b6ca8", "sync": "#7fb2d6", "drf": "#c4572b", "stac-fastapi": "#8a8a3c", "floor": "#b5b5b5",
    "gdaltindex": "#4f9d69", "gdalinfo": "#a5d0b1", "rio-stac": "#8a8a3c",
}  # fmt: skip
CASES_OF_GROWTH = ("bbox of 1,000", "name", "uuid", "organisation", "deep pages", "first page")


def main() -> None:
    results, folder = read_results(Path(sys.argv[1])), Path(sys.argv[2])
    mpl.rcParams.update(
        {
            "svg.hashsalt": "rastersources",
            "font.size": 9,
            "axes.spines.right": False,
            "axes.spines.top": False,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    draw_throughput(results, folder / "throughput.svg")
    draw_growth(results, folder / "growth.svg")


def draw_throughput(results: Results, path: Path) -> None:
    """Draw files/s of registering, and req/s of lists in the catalogue that most contenders have."""
    lists = results.find("lists")
    rows = max(
        (case.rows for case in lists), key=lambda rows: contenders_at(lists, rows), default=0
    )
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 3.6), width_ratios=[1, 2], layout="constrained"
    )
    draw_bars(left, results.find("registration"), "Files registered per second")
    draw_bars(
        right,
        [case for case in lists if case.rows == rows],
        f"Requests per second, {rows:,} records",
    )
    save(figure, path)


def contenders_at(cases: list[Case], rows: int) -> int:
    """Return how many contenders were measured at a size."""
    return len({name for case in cases if case.rows == rows for name in case.contenders})


def draw_bars(axes: Axes, cases: list[Case], title: str) -> None:
    """Draw a group of bars for each case, on a logarithmic scale."""
    names = list(dict.fromkeys(name for case in cases for name in case.contenders))
    for index, name in enumerate(names):
        bars = [
            (position, case.median(name))
            for position, case in enumerate(cases)
            if name in case.contenders
        ]
        offset = (index - len(names) / 2 + 0.5) * 0.8 / len(names)
        drawn = axes.bar(
            [position + offset for position, _ in bars], [figure for _, figure in bars], 0.8 / len(names),
            label=name, color=COLOURS.get(name),
        )  # fmt: skip
        axes.bar_label(drawn, fmt="{:,.0f}", rotation=90, padding=2, fontsize=7)
    axes.set(
        yscale="log",
        title=title,
        xticks=range(len(cases)),
        xticklabels=[case.name for case in cases],
    )
    axes.margins(y=0.2)
    axes.tick_params("x", labelsize=7)
    if names:
        axes.legend(
            fontsize=7, ncols=3, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08)
        )


def draw_growth(results: Results, path: Path) -> None:
    """Draw the median latency of each case against the number of records."""
    cases = results.find("lists")
    figure, grid = plt.subplots(
        2, 3, figsize=(10, 5), sharex=True, sharey=True, layout="constrained"
    )
    for axes, name in zip(grid.flat, CASES_OF_GROWTH, strict=True):
        for contender in ("ours", "drf", "floor"):
            points = [
                (case.rows, case.median(contender, "p50_ms"))
                for case in cases if case.name == name and contender in case.contenders
            ]  # fmt: skip
            axes.plot(
                *zip(*points, strict=True) if points else ((), ()),
                "o-",
                label=contender,
                color=COLOURS[contender],
            )
        axes.set(title=name, xscale="log", yscale="log")
    grid[0, 0].legend(frameon=False)
    figure.supxlabel("records")
    figure.supylabel("median latency, ms")
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a chart, with the same bytes for the same figures."""
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
