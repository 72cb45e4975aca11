"""Prints the outcome of a run, the plan of a sync, and the addresses of the servers."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from shutil import which
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pipeline.catalogue.definitions import Orphan
from pipeline.catalogue.reasons import explain
from pipeline.catalogue.sync_runs import SUMS, RunReport
from pipeline.cli.terminal import echo, echo_error, pluralize, print_document
from pipeline.definitions.field_types import REGISTER_ID
from pipeline.errors import Rejection
from pipeline.ingest.plan import PLANNED_KINDS, SOURCE_COUNTS, SyncPlan
from pipeline.ingest.register import RunOutcome

if TYPE_CHECKING:  # importing the raster libraries would slow down most commands
    from pipeline.catalogue.reproject import MovedSource, ReprojectSummary

PROGRAM = "rastersources"
EXAMPLE_QUERY = "-c 'SELECT name, extent FROM public_raster_sources'"
SHOWN_REJECTIONS = 50
SHOWN_OF_REASON = 10
SHOWN_RUNS = 10
SHOWN_FILES = 10
"""Maximum number of files of each kind that a plan prints; --json prints all."""


def print_outcomes(
    outcomes: Sequence[RunOutcome], seconds: float, *, as_json: bool = False, quiet: bool = False
) -> int:
    """Print how a run went; return its exit status, 0: all good, 1: a definition failed, 3: files were rejected."""
    if as_json:
        for outcome in outcomes:
            print_document(outcome_document(outcome))
    elif quiet:
        print_failures(outcomes)
    else:
        print_report(outcomes, seconds)
    if any(outcome.failure is not None for outcome in outcomes):
        return 1
    return 3 if any(outcome.report.rejected for outcome in outcomes) else 0


def print_failures(outcomes: Sequence[RunOutcome]) -> None:
    """Print the reasons of failed definitions."""
    for outcome in outcomes:
        if outcome.failure is not None:
            echo_error(str(outcome.failure))


def outcome_document(outcome: RunOutcome) -> dict[str, object]:
    """Return the outcome of a definition as a JSON document."""
    report = outcome.report
    rejected = [
        {"uri": file.uri, "code": file.code, "message": file.message} for file in report.rejected
    ]
    return {
        "definition": outcome.definition,
        "run": outcome.run,
        "failure": None if outcome.failure is None else str(outcome.failure),
        "seconds": round(outcome.seconds, 3),
        "listed": report.listed,
        **{name: getattr(report, name) for name in SUMS},
        "warnings": dict(report.warnings),
        "reasons": report.reasons,
        "rejected": rejected,
    }


def print_report(outcomes: Sequence[RunOutcome], seconds: float) -> None:
    """Print rejected files and warnings by reason, failures, and a summary."""
    total = total_report(outcomes)
    for outcome in outcomes:
        if outcome.definition == REGISTER_ID and not (outcome.failure or outcome.report.listed):
            echo(
                "no file with a name that ends with .tif or .tiff was found; check the path",
                err=True,
            )
    print_rejections(total)
    for code, count in total.warnings.most_common():
        reason = explain(code).meaning
        echo(f"warning: {pluralize(count, 'file')}: {reason} [{code}]", err=True, colour="yellow")
    print_failures(outcomes)
    if total.withheld:
        lists = "`rastersources restore` lists them"
        echo(f"withheld files were deleted from the catalogue; {lists}", err=True)
    echo(f"{summarize(total, seconds)}, {name_runs(outcomes)}")


def print_rejections(report: RunReport) -> None:
    """Print the files that this run rejected, by reason; count those that an earlier run rejected."""
    new = [file for file in report.rejected if file.uri not in report.repeated]
    for code, count in Counter(file.code for file in new).most_common():
        files = [file for file in new if file.code == code]
        for rejection in files[:SHOWN_OF_REASON]:
            echo(f"rejected {describe_rejection(rejection)}", err=True)
        if count > SHOWN_OF_REASON:
            lists = f"`{PROGRAM} rejected list --code {code}` lists them"
            echo(f"... and {count - SHOWN_OF_REASON} more [{code}]; {lists}", err=True)
    old = Counter(file.code for file in report.rejected if file.uri in report.repeated)
    if old:
        reasons = ", ".join(f"{code} {count}" for code, count in old.most_common())
        files_before = pluralize(old.total(), "file")
        lists = f"`{PROGRAM} rejected list` lists them"
        echo(f"rejected before and unchanged: {files_before} ({reasons}); {lists}", err=True)


def name_runs(outcomes: Sequence[RunOutcome]) -> str:
    """Return the numbers of the runs, for `undo`; "runs 3 to 9" if each follows the one before."""
    numbers = sorted(outcome.run for outcome in outcomes if outcome.run is not None)
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"runs {numbers[0]} to {numbers[-1]}"
    shown = ", ".join(map(str, numbers[:SHOWN_RUNS])) or "-"
    more = f" and {len(numbers) - SHOWN_RUNS} more" if len(numbers) > SHOWN_RUNS else ""
    return f"{'run' if len(numbers) == 1 else 'runs'} {shown}{more}"


def total_report(outcomes: Sequence[RunOutcome]) -> RunReport:
    """Return the sum of the reports of all definitions."""
    total = RunReport()
    for outcome in outcomes:
        total.add(outcome.report)
    return total


def describe_rejection(rejection: Rejection) -> str:
    """Return a file with the reason and the code of its rejection."""
    return f"{rejection.uri}: {rejection.message} [{rejection.code}]"


def summarize(report: RunReport, seconds: float) -> str:
    """Return the counts of a run on one line."""
    speed = report.listed / seconds if seconds > 0 else 0
    counts = {name: getattr(report, name) for name in ("moved", "missing", "withheld", "settling")}
    parts = [
        f"{report.registered} registered",
        f"{report.unchanged} unchanged",
        f"{len(report.rejected)} rejected",
        *(f"{count} {name}" for name, count in counts.items() if count),
        f"{seconds:.1f} s",
        f"{speed:.0f} files/s",
    ]
    return ", ".join(parts)


def print_plans(plans: Sequence[SyncPlan], orphans: Sequence[Orphan]) -> None:
    """Print the counts of each plan as a table, and the first files of each kind."""
    names = ("unchanged", *PLANNED_KINDS, "cleared", *SOURCE_COUNTS)
    shown = [name for name in names if any(plan.counts[name] for plan in plans)] or ["unchanged"]
    table = Table(box=None, pad_edge=False)
    table.add_column("definition")
    for name in shown:
        table.add_column(name, justify="right")
    for plan in plans:
        table.add_row(plan.definition, *(str(plan.counts[name]) for name in shown))
    Console(highlight=False, soft_wrap=True).print(table)
    for plan in plans:
        print_files(plan)
    for orphan in orphans:
        sources = pluralize(orphan.sources, "source")
        echo(
            f"orphaned {orphan.id}: no longer in its sources.toml, has {sources}; `sync --prune` removes them"
        )


def print_files(plan: SyncPlan) -> None:
    """Print the first files of each kind, and the reason if a sync would refuse to run."""
    for name, uris in plan.files.items():
        for uri in uris[:SHOWN_FILES]:
            echo(f"{name} {describe_file(plan, uri)}")
        if len(uris) > SHOWN_FILES:
            echo(f"{name} ... and {len(uris) - SHOWN_FILES} more; --json prints all")
    if plan.refusal:
        echo(f"sync would refuse {plan.definition}: {plan.refusal}")


def describe_file(plan: SyncPlan, uri: str) -> str:
    """Return the file with its former URI, or with the reason of its rejection."""
    if uri in plan.moved_from:
        return f"{uri} (was {plan.moved_from[uri]})"
    reason = plan.reasons.get(uri)
    return f"{uri}: {reason.message} [{reason.code}]" if reason else uri


def plan_document(plan: SyncPlan) -> dict[str, object]:
    """Return a plan as a JSON document."""
    reasons = {uri: {"code": why.code, "message": why.message} for uri, why in plan.reasons.items()}
    return {
        "definition": plan.definition,
        "changes": plan.changes,
        "counts": plan.counts,
        "files": plan.files,
        "moved_from": plan.moved_from,
        "reasons": reasons,
        "refusal": plan.refusal,
    }


def print_moved(moved: "MovedSource | Rejection") -> None:
    """Print a source whose bounds change, or a file that can no longer be placed."""
    if isinstance(moved, Rejection):
        echo(f"not changed: {describe_rejection(moved)}")
    else:
        files = pluralize(moved.files, "file")
        echo(f"{format_distance(moved.metres):>10}  {moved.uuid}  {moved.name} ({files})")


def print_reprojection(summary: "ReprojectSummary", *, dry_run: bool) -> None:
    """Print the outcome of a reprojection."""
    if not summary.files:
        echo("nothing to change: the place of every file is up to date")
    elif not summary.sources:
        verb = "would get" if dry_run else "got"
        files = pluralize(summary.files, "file")
        echo(f"no bounds change; {files} {verb} the present operation and version of PROJ")
    else:
        verb = "would change" if dry_run else "changed"
        sources = pluralize(summary.sources, "source")
        echo(f"the bounds of {sources} {verb}, by up to {format_distance(summary.metres)}")
    if summary.unplaced:
        echo(f"{pluralize(summary.unplaced, 'file')} can no longer be placed; the old place stays")


def format_distance(metres: float) -> str:
    """Return a distance in metres with three significant digits."""
    return f"{metres:.3g} m"


def print_addresses(address: str, prefect: str, config: Path, password: Path | None = None) -> None:
    """Print the addresses of the servers and what is synced; `password` is the password file of our Prefect server."""
    echo(f"The map of the catalogue is at {address}/")
    echo(f"The API is at {address}/api/v4/rastersources/")
    echo(f"Prefect's pages are at {prefect} in some seconds")
    if password:
        echo(f"They ask for the password in {shell_path(password)}")
    echo(f"Syncing what {shell_path(config.absolute())} defines ...")


def print_suggestions(address: str) -> None:
    """Print three commands worth trying after the first sync."""
    command = program()
    lines = [
        "",
        "Three commands worth trying:",
        f"  curl '{address}/api/v4/rastersources/?in_bbox=4,51,5,52&ordering=-size'",
        f"  {command} search --bbox 4,51,5,52",
        f'  psql "$({command} db url)" {EXAMPLE_QUERY}',
        "",
        "Ctrl-C stops everything.",
    ]
    for line in lines:
        echo(line)


def shell_path(path: Path) -> str:
    """Return a quoted path for a shell, relative if it lies below the current folder."""
    here = Path.cwd()
    return quote(str(path.relative_to(here) if here in path.parents else path))


def program() -> str:
    """Return the command that starts this program in a shell: its name if it is on PATH, otherwise its path."""
    called, here = Path(sys.argv[0]), Path.cwd()
    if called.name != PROGRAM:  # started by python -m pipeline.cli; the program is beside Python
        called = Path(sys.executable).with_name(PROGRAM)
    path = called.absolute()
    if not path.exists():
        return f"{quote(sys.executable)} -m pipeline.cli"
    if which(PROGRAM) == str(path):
        return PROGRAM
    return quote(str(path.relative_to(here) if here in path.parents[1:] else path))
