"""What commands print: what a run did, what a sync would do, where things are."""

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from shutil import which

from rich.console import Console
from rich.table import Table

from pipeline.catalogue.definitions import Orphan
from pipeline.catalogue.reproject import MovedSource, ReprojectSummary
from pipeline.catalogue.sync_runs import RunReport
from pipeline.catalogue.tombstones import Tombstone
from pipeline.catalogue.unregister import UnregisterResult
from pipeline.cli.terminal import echo, echo_error
from pipeline.errors import Rejection
from pipeline.ingest.plan import PLANNED_KINDS, SOURCE_COUNTS, Plan
from pipeline.ingest.register import RunOutcome

PROGRAM = "rastersources"
WORTH_ASKING = "-c 'SELECT name, extent FROM public_raster_sources'"
SHOWN_REJECTIONS = 50
SHOWN_FILES = 10
"""Files of each kind that a plan names; --json names all."""


def print_outcomes(outcomes: Sequence[RunOutcome], seconds: float) -> int:
    """Say what was done, each refused file with its reason, and what failed; the exit status that goes with it."""
    total = total_report(outcomes)
    for rejection in total.rejected[:SHOWN_REJECTIONS]:
        echo(refusal(rejection), err=True)
    hidden = len(total.rejected) - SHOWN_REJECTIONS
    if hidden > 0:
        names = "`rastersources rejected list` names them all"
        echo(f"... and {hidden} more refused files; {names}", err=True)
    for outcome in outcomes:
        if outcome.failure is not None:
            echo_error(str(outcome.failure))
    if total.withheld:
        lists = "`rastersources restore` lists them"
        echo(f"withheld files were deleted from the catalogue; {lists}", err=True)
    echo(summary(total, seconds))
    return status_of(outcomes)


def total_report(outcomes: Sequence[RunOutcome]) -> RunReport:
    """The reports of all definitions in one."""
    total = RunReport()
    for outcome in outcomes:
        total.add(outcome.report)
    return total


def status_of(outcomes: Sequence[RunOutcome]) -> int:
    """Exit status 0: all good, 1: something failed, 3: some files were refused."""
    if any(outcome.failure is not None for outcome in outcomes):
        return 1
    return 3 if any(outcome.report.rejected for outcome in outcomes) else 0


def refusal(rejection: Rejection) -> str:
    """One refused file on one line."""
    return f"refused {rejection.uri}: {rejection.message} [{rejection.code}]"


def summary(report: RunReport, seconds: float) -> str:
    """The numbers of a run in one line."""
    speed = report.listed / seconds if seconds > 0 else 0
    further = {
        "moved": report.moved,
        "missing": report.missing,
        "withheld": report.withheld,
        "settling": report.settling,
    }
    parts = [
        f"{report.registered} registered",
        f"{report.unchanged} unchanged",
        f"{len(report.rejected)} refused",
        *(f"{count} {name}" for name, count in further.items() if count),
        f"{seconds:.1f} s",
        f"{speed:.0f} files/s",
    ]
    return ", ".join(parts)


def print_plans(found: Sequence[Plan], orphans: Sequence[Orphan]) -> None:
    """What a sync would do, as a table, and the first files of each kind."""
    names = ("unchanged", *PLANNED_KINDS, "cleared", *SOURCE_COUNTS)
    shown = [name for name in names if any(plan.counts[name] for plan in found)] or ["unchanged"]
    table = Table(box=None, pad_edge=False)
    table.add_column("definition")
    for name in shown:
        table.add_column(name, justify="right")
    for plan in found:
        table.add_row(plan.definition, *(str(plan.counts[name]) for name in shown))
    Console(highlight=False, soft_wrap=True).print(table)
    for plan in found:
        for line in lines_of(plan):
            echo(line)
    for orphan in orphans:
        sources = pluralize(orphan.sources, "source")
        echo(
            f"orphaned {orphan.id}: left the file with {sources}; `sync --prune` removes what it left"
        )


def lines_of(plan: Plan) -> list[str]:
    """The first files of each kind, and why a sync would refuse."""
    lines = []
    for name, uris in plan.files.items():
        lines += [f"{name} {detailed(plan, uri)}" for uri in uris[:SHOWN_FILES]]
        if len(uris) > SHOWN_FILES:
            lines.append(f"{name} ... and {len(uris) - SHOWN_FILES} more; --json names them all")
    return (
        [*lines, f"sync would refuse {plan.definition}: {plan.refusal}"] if plan.refusal else lines
    )


def detailed(plan: Plan, uri: str) -> str:
    """The file, and where it was or why it was refused."""
    if uri in plan.moved_from:
        return f"{uri} (was {plan.moved_from[uri]})"
    reason = plan.reasons.get(uri)
    return f"{uri}: {reason.message} [{reason.code}]" if reason else uri


def plan_document(plan: Plan) -> dict[str, object]:
    """A plan as JSON."""
    reasons = {
        uri: {"code": reason.code, "message": reason.message}
        for uri, reason in plan.reasons.items()
    }
    return {
        "definition": plan.definition,
        "changes": plan.changes,
        "counts": plan.counts,
        "files": plan.files,
        "moved_from": plan.moved_from,
        "reasons": reasons,
        "refusal": plan.refusal,
    }


def print_tombstones(found: Sequence[Tombstone]) -> None:
    """What was deleted, one line each."""
    for one in found:
        what = one.uri or "the whole source"
        echo(f"{one.created:%Y-%m-%d %H:%M}  {one.definition}  {one.source}  {one.name}  {what}")


def print_pruned(found: Sequence[Orphan]) -> None:
    """What became of definitions that left their file."""
    for orphan in found:
        gone = pluralize(orphan.sources - orphan.kept, "source")
        kept = f", {orphan.kept} kept for those who use them" if orphan.kept else ""
        echo(f"pruned {orphan.id}: {gone} removed{kept}", err=True)


def print_unregistered(found: UnregisterResult) -> None:
    """What was taken out, in one sentence."""
    sentence = f"{pluralize(found.files, 'file')} and {pluralize(found.sources, 'source')} taken out of the catalogue"
    kept = f"; {pluralize(found.emptied, 'source')} stayed, empty" if found.emptied else ""
    echo(sentence + kept)


def print_moved(found: MovedSource | Rejection) -> None:
    """A source that moves, or a file that cannot be placed any more, on one line."""
    if isinstance(found, Rejection):
        echo(f"left as it is {found.uri}: {found.message} [{found.code}]")
    else:
        files = pluralize(found.files, "file")
        echo(f"{distance(found.metres):>10}  {found.uuid}  {found.name} ({files})")


def print_reprojection(summary: ReprojectSummary, *, dry_run: bool) -> None:
    """The outcome in one sentence."""
    if not summary.files:
        echo("nothing to change: every file lies where it would be placed now")
    elif not summary.sources:
        verb = "would get" if dry_run else "got"
        files = pluralize(summary.files, "file")
        echo(f"no bounds change; {files} {verb} the operation and PROJ of now")
    else:
        verb = "would change" if dry_run else "changed"
        echo(
            f"the bounds of {pluralize(summary.sources, 'source')} {verb}, "
            f"by up to {distance(summary.metres)}"
        )


def pluralize(number: int, noun: str) -> str:
    """With the plural's s where it is due."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def distance(metres: float) -> str:
    """In metres, three digits."""
    return f"{metres:.3g} m"


def print_welcome(address: str, prefect: str, config: Path, password: Path | None = None) -> None:
    """Where everything is, and what to try; `password` is the file of a Prefect server of our own."""
    url, command = f"{address}/api/v4/rastersources/", program()
    lines = [
        f"The API is at {url}",
        f"Prefect's pages are at {prefect} in some seconds",
        *([f"They ask for the password in {seen_from_here(password)}"] if password else []),
        "",
        "Three commands worth trying:",
        f"  curl '{url}?in_bbox=4,51,5,52&ordering=-size'",
        f"  {command} inspect {quote(str(config.parent))}",
        f'  psql "$({command} db url)" {WORTH_ASKING}',
        "",
        "Ctrl-C stops everything.",
    ]
    for line in lines:
        echo(line)


def seen_from_here(path: Path) -> str:
    """The path for a shell: a relative one where it lies below the current folder."""
    here = Path.cwd()
    return quote(str(path.relative_to(here) if here in path.parents else path))


def program() -> str:
    """What calls this program from here, for a shell: its name where that is found, otherwise its path."""
    called = Path(sys.argv[0])
    if (
        called.name != PROGRAM
    ):  # python -m pipeline.cli; a virtual environment has the program beside its Python
        called = Path(sys.executable).with_name(PROGRAM)
    path, here = called.absolute(), Path.cwd()
    if not path.exists():
        return f"{quote(sys.executable)} -m pipeline.cli"
    if which(PROGRAM) == str(path):
        return PROGRAM
    return quote(str(path.relative_to(here) if here in path.parents[1:] else path))
