"""Plan and sync: what a definition's files are now, and the catalogue brought to that; missing files included."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue.absence import mark_missing, remove_empty_sources, remove_missing
from pipeline.catalogue.fit import disputes
from pipeline.catalogue.listing import Absence, Found, Listing, listing_of
from pipeline.catalogue.orphans import Orphan, adopt, find_orphans, prune, remember
from pipeline.catalogue.redefinition import outdated_sources
from pipeline.catalogue.register import Read, Refused
from pipeline.catalogue.report import Report
from pipeline.catalogue.tombstones import buried_groups
from pipeline.dropping import DropWork, drops_of_config, receive, reception_of
from pipeline.errors import CatalogueError, RastersourcesError, Rejection
from pipeline.ingest import (
    Conditions,
    Ingestion,
    Outcome,
    Run,
    Watcher,
    Work,
    bring_in,
    compare,
    compared,
    fill,
    is_buried,
    outcome_of,
    work_of_config,
)

PLANNED = ("add", "update", "moved", "outdated", "missing", "refused", "withheld", "settling")
"""What can become of a file that is not simply unchanged, in the order in which plans show it."""
CHANGES = ("add", "update", "moved", "outdated", "missing", "cleared", "outdated_sources")
"""What makes a sync necessary."""


AnyWork = Work | DropWork


def works_of_config(path: Path) -> list[AnyWork]:
    """The definitions and drop folders of a sources.toml; raises CatalogueError that says what is wrong in it."""
    return [*work_of_config(path), *drops_of_config(path)]


def chosen(works: Sequence[AnyWork], names: Sequence[str]) -> list[AnyWork]:
    """The works of these ids; all without names. Raises CatalogueError for a name that is none of them."""
    by_id = {work.id: work for work in works}
    unknown = [name for name in names if name not in by_id]
    if unknown:
        raise CatalogueError(
            f'there is no definition "{unknown[0]}"; there are: {", ".join(by_id)}'
        )
    return [by_id[name] for name in dict.fromkeys(names)] if names else list(works)


def sync_all(
    run: Run, works: Sequence[AnyWork], config: Path, *, accept_missing: bool = False
) -> list[Outcome]:
    """Bring the catalogue to what the files are; one definition that fails does not keep the others from it."""

    def sync_one(work: AnyWork, report: Report) -> None:
        if isinstance(work, DropWork):
            receive(run, work, report)
        else:
            sync(run, work, report, accept_missing=accept_missing)
            remember(run.engine, work.id, config)

    return [outcome_of(work.id, partial(sync_one, work)) for work in works]


def sync(run: Run, work: Work, report: Report, *, accept_missing: bool) -> None:
    """Bring the catalogue to what the files of one definition are."""
    definition = work.definition
    with compared(run, work, report, complete=True) as (ingestion, listing):
        if not accept_missing:
            refuse_many_missing(definition.id, listing.absence(), definition.max_missing_percent)
        adopt(run.engine, definition)
        report.add(bring_in(run, ingestion, listing))
        listing.check_lock()
        listing.take_left_behind()
        report.missing = (
            remove_missing(listing) if definition.missing == "remove" else mark_missing(listing)
        )
        report.add(settle_disputes(run, ingestion, listing, report))
        listing.see_to_refusals(complete=True)
        if definition.missing == "remove":
            remove_empty_sources(listing, definition)


def refuse_many_missing(name: str, absence: Absence, percent: float) -> None:
    """Raises CatalogueError when a larger share of the known files is missing."""
    if absence.percent > percent:
        raise CatalogueError(
            f'{absence.missing} of the {absence.known} files of "{name}" are missing, more than {percent:g}%: see '
            "that the disk or bucket is there, or say --accept-missing if they really are gone"
        )


def settle_disputes(run: Run, ingestion: Ingestion, listing: Listing, report: Report) -> Report:
    """Where refused files that fit each other outnumber those of their source, let them take their place."""
    total = Report()
    for dispute in disputes(listing):
        won = set(dispute.winners)
        report.rejected = [one for one in report.rejected if one.uri not in won]
        files = listing.files(dispute.winners)
        results = ingestion.reader(files, ingestion.options)
        items = [
            Refused(result, file) if isinstance(result, Rejection) else Read(file, result)
            for file, result in zip(files, results, strict=True)
        ]
        total.add(run.write(ingestion, items, dispute.losers))
    return total


@dataclass
class Plan:
    """What a sync of one definition would do."""

    definition: str
    unchanged: int = 0
    files: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in PLANNED})
    """What would become of files -> their URIs."""
    moved_from: dict[str, str] = field(default_factory=dict)
    """URI of each file that moved -> the one that it had."""
    reasons: dict[str, Rejection] = field(default_factory=dict)
    """URI -> why it was refused before, or cannot be listed now."""
    cleared: int = 0
    """Refused files that are gone, and would be forgotten."""
    outdated_sources: int = 0
    """Raster sources without an unchanged file, which would get the new fields of their definition."""
    refusal: str | None = None
    """Why a sync would refuse or fail."""

    @property
    def counts(self) -> dict[str, int]:
        """How many files there are of each kind, and sources that no file stands for."""
        kinds = {name: len(uris) for name, uris in self.files.items()}
        further = {"cleared": self.cleared, "outdated_sources": self.outdated_sources}
        return {"unchanged": self.unchanged, **kinds, **further}

    @property
    def changes(self) -> int:
        """How much there is to do."""
        return sum(self.counts[name] for name in CHANGES)


def plan_all(
    engine: Engine, works: Sequence[AnyWork], conditions: Conditions, watcher: Watcher
) -> list[Plan]:
    """What a sync would do; one definition that fails does not keep the plans of the others from being made."""

    def plan_one(work: AnyWork) -> Plan:
        try:
            return plan(engine, work, conditions, watcher)
        except RastersourcesError as error:
            return Plan(work.id, refusal=str(error))

    return [plan_one(work) for work in works]


def plan(engine: Engine, work: AnyWork, conditions: Conditions, watcher: Watcher) -> Plan:
    """What a sync of one definition would do; opens no file and changes nothing.

    Raises Overlapping where a run of the definition is at work.
    """
    if isinstance(work, DropWork):
        return plan_drop(engine, work, conditions, watcher)
    definition, found = work.definition, Plan(work.definition.id)
    buried = buried_groups(engine, definition.id)
    with listing_of(engine, definition, alone=True) as listing:
        fill(listing, work, conditions, watcher)
        compare(listing, definition, complete=True)
        found.unchanged = listing.counts()["unchanged"]
        for one in each(listing, conditions.batch_size):
            withheld = buried and is_buried(definition, one.file, buried)
            take(found, one, "withheld" if withheld else one.verdict)
        replaced = listing.replaced()
        for rejection in listing.unlisted:
            kind = "update" if rejection.uri in replaced else "refused"
            found.files[kind].append(rejection.uri)
            found.reasons[rejection.uri] = rejection
        found.files["missing"] += listing.newly_missing(marked=definition.missing == "remove")
        found.cleared = listing.cleared()
        found.outdated_sources = outdated_sources(listing, definition)
        try:
            refuse_many_missing(definition.id, listing.absence(), definition.max_missing_percent)
        except CatalogueError as error:
            found.refusal = str(error)
    return found


def plan_drop(engine: Engine, work: DropWork, conditions: Conditions, watcher: Watcher) -> Plan:
    """The same for a drop folder: which files would be read, and which no raster source is meant for."""
    found, reception = Plan(work.id), reception_of(engine, conditions, work)
    with listing_of(engine, work.drop, alone=True) as listing:
        reception.fill(listing, watcher)
        found.unchanged = listing.counts()["unchanged"]
        for batch in listing.batches(conditions.batch_size):
            to_read, others = reception.sorted_out(batch)
            for one in others:
                take(found, one, one.verdict)
            for one, meant in reception.addressed(to_read):
                if isinstance(meant, Rejection):
                    found.reasons[meant.uri] = meant
                known = "update" if one.verdict == "update" else "add"
                take(found, one, "refused" if isinstance(meant, Rejection) else known)
        found.cleared = listing.cleared()
    for rejection in listing.unlisted:
        found.files["refused"].append(rejection.uri)
        found.reasons[rejection.uri] = rejection
    return found


def each(listing: Listing, size: int) -> Iterator[Found]:
    """All files but the unchanged ones."""
    for batch in listing.batches(size):
        yield from batch


def take(plan: Plan, found: Found, verdict: str) -> None:
    """Sort one file in."""
    plan.files[verdict].append(found.file.uri)
    if found.moved_from is not None and verdict == "withheld":
        plan.files["missing"].append(found.moved_from)
    elif found.moved_from is not None:
        plan.moved_from[found.file.uri] = found.moved_from
    if found.rejection is not None:
        plan.reasons.setdefault(found.file.uri, found.rejection)


def orphans(engine: Engine, config: Path, works: Sequence[AnyWork]) -> list[Orphan]:
    """Definitions that left their sources.toml and still have raster sources."""
    return find_orphans(engine, config, [work.id for work in works])


def prune_all(engine: Engine, config: Path, works: Sequence[AnyWork]) -> list[Orphan]:
    """Remove the raster sources of definitions that left their sources.toml; what became of each definition."""
    return [prune(engine, orphan) for orphan in orphans(engine, config, works)]
