"""Plan and sync: what a definition's files are now, and the catalogue brought to that; missing files included."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue.comparison import TO_READ, Absence, Found, Listing, listing_of
from pipeline.catalogue.definitions import (
    Orphan,
    adopt,
    check_uuid,
    elsewhere,
    find_orphans,
    prune,
    remember,
)
from pipeline.catalogue.grid_consistency import Dispute, disputes, standings
from pipeline.catalogue.missing_files import (
    count_empty_sources,
    mark_missing,
    remove_empty_sources,
    remove_missing,
)
from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.redefinition import outdated_sources
from pipeline.catalogue.register import Read, Refused
from pipeline.catalogue.run_report import Report
from pipeline.catalogue.tombstones import buried_groups
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError, RastersourcesError, Rejection
from pipeline.ingest.drop_folders import DropWork, drops_of_config, receive, reception_of
from pipeline.ingest.register import (
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
OF_SOURCES = ("outdated_sources", "empty_sources")
"""What can become of raster sources that no file stands for."""
CHANGES = ("add", "update", "moved", "outdated", "missing", "cleared", *OF_SOURCES)
"""What makes a sync necessary."""


AnyWork = Work | DropWork


def works_of_config(path: Path, *, empty: bool = False) -> list[AnyWork]:
    """The definitions and drop folders of a sources.toml; raises CatalogueError that says what is wrong in it.

    `empty` says that there may be none.
    """
    return [*work_of_config(path, empty=empty), *drops_of_config(path, empty=empty)]


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
            remember(run.engine, work.id, config)
            receive(run, work, report)
        else:
            sync(run, work, config, report, accept_missing=accept_missing)

    return [outcome_of(work.id, partial(sync_one, work)) for work in works]


def sync(run: Run, work: Work, config: Path, report: Report, *, accept_missing: bool) -> None:
    """Bring the catalogue to what the files of one definition are."""
    definition = work.definition
    with compared(run, work, report, complete=True) as (ingestion, listing):
        if not accept_missing:
            refuse_many_missing(run.engine, definition, config, listing.absence())
        remember(run.engine, definition.id, config, definition.uuid)
        adopt(run.engine, definition)
        bring_in(run, ingestion, listing, report)
        listing.check_lock()
        listing.take_left_behind()
        report.missing = (
            remove_missing(listing) if definition.missing == "remove" else mark_missing(listing)
        )
        settle_disputes(run, ingestion, listing, report)
        listing.see_to_refusals(ingestion.owner.organisation_id, complete=True)
        remove_empty_sources(listing, definition)


def refuse_many_missing(
    engine: Engine, definition: Definition, config: Path, absence: Absence
) -> None:
    """Raises CatalogueError when a larger share of the known files is missing than the definition says."""
    name, percent = definition.id, definition.max_missing_percent
    if absence.percent <= percent:
        return
    found = f'{absence.missing} of the {absence.known} files of "{name}" are missing, more than {percent:g}%'
    other = elsewhere(engine, definition, config)
    if other is not None:
        raise CatalogueError(
            f'{found}: "{name}" was synced from {other}, which is still there; give one of the two another id'
        )
    raise CatalogueError(
        f"{found}: see that the disk or bucket is there, or say --accept-missing if they really are gone"
    )


def settle_disputes(run: Run, ingestion: Ingestion, listing: Listing, report: Report) -> None:
    """Where refused files that fit each other outnumber those of their source, let them take their place."""
    for dispute in disputes(listing):
        won = set(dispute.winners)
        files = listing.files(dispute.winners)
        results = ingestion.reader(files, ingestion.options)
        items = [
            Refused(result, file) if isinstance(result, Rejection) else Read(file, result)
            for file, result in zip(files, results, strict=True)
        ]
        settled = run.write(ingestion, items, dispute.losers)
        report.rejected = [one for one in report.rejected if one.uri not in won]
        take_back(listing, dispute, settled, report)
        report.add(settled)


def take_back(listing: Listing, dispute: Dispute, settled: Report, report: Report) -> None:
    """Files that gave way count as refused, and no longer as what they were before."""
    lost = {one.uri for one in settled.rejected}.intersection(dispute.losers)
    unread = {one.uri for one in report.rejected}
    report.rejected = [one for one in report.rejected if one.uri not in lost]
    for uri, verdict, size in standings(listing, sorted(lost)):
        if uri in unread:
            continue
        if verdict in TO_READ:
            report.registered -= 1
            report.bytes -= size
            report.moved -= verdict == "moved"
        elif verdict == "settling":
            report.settling -= 1
        elif verdict == "withheld":
            report.withheld -= 1
        else:
            report.unchanged -= 1


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
    empty_sources: int = 0
    """Raster sources that nothing is left of, which would be deleted."""
    refusal: str | None = None
    """Why a sync would refuse or fail."""

    @property
    def counts(self) -> dict[str, int]:
        """How many files there are of each kind, and sources that no file stands for."""
        kinds = {name: len(uris) for name, uris in self.files.items()}
        further = {name: getattr(self, name) for name in ("cleared", *OF_SOURCES)}
        return {"unchanged": self.unchanged, **kinds, **further}

    @property
    def changes(self) -> int:
        """How much there is to do."""
        return sum(self.counts[name] for name in CHANGES)


def plan_all(
    engine: Engine,
    works: Sequence[AnyWork],
    config: Path,
    conditions: Conditions,
    watcher: Watcher,
) -> list[Plan]:
    """What a sync would do; one definition that fails does not keep the plans of the others from being made."""

    def plan_one(work: AnyWork) -> Plan:
        try:
            return plan(engine, work, config, conditions, watcher)
        except RastersourcesError as error:
            return Plan(work.id, refusal=str(error))

    return [plan_one(work) for work in works]


def plan(
    engine: Engine, work: AnyWork, config: Path, conditions: Conditions, watcher: Watcher
) -> Plan:
    """What a sync of one definition would do; opens no file, changes nothing and is in no run's way."""
    if isinstance(work, DropWork):
        return plan_drop(engine, work, conditions, watcher)
    definition, found = work.definition, Plan(work.definition.id)
    buried = buried_groups(engine, definition.id)
    with listing_of(engine, definition, alone=False) as listing:
        fill(listing, work, conditions, watcher)
        compare(listing, definition, complete=True)
        found.unchanged = listing.counts()["unchanged"]
        for one in each(listing, conditions.batch_size):
            withheld = buried and is_buried(definition, one.file, buried)
            take(found, one, "withheld" if withheld else one.verdict)
        take_unlisted(found, listing.unlisted, listing.replaced())
        found.files["missing"] += listing.newly_missing(marked=definition.missing == "remove")
        for dispute in disputes(listing):
            take_dispute(found, dispute)
        found.cleared = listing.cleared()
        found.outdated_sources = outdated_sources(listing, definition)
        found.empty_sources = count_empty_sources(listing, definition)
        try:
            if not conditions.create:
                find_owner(engine, definition)
            refuse_many_missing(engine, definition, config, listing.absence())
            check_uuid(engine, definition)
        except CatalogueError as error:
            found.refusal = str(error)
    return found


def plan_drop(engine: Engine, work: DropWork, conditions: Conditions, watcher: Watcher) -> Plan:
    """The same for a drop folder: which files would be read, and which no raster source is meant for."""
    found, reception = Plan(work.id), reception_of(engine, conditions, work)
    with listing_of(engine, work.drop, alone=False) as listing:
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
        take_unlisted(found, listing.unlisted, listing.replaced())
        found.cleared = listing.cleared()
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


def take_unlisted(plan: Plan, unlisted: Sequence[Rejection], replaced: set[str]) -> None:
    """Sort in what could not be listed; `replaced` are known files that will leave their source for it."""
    for rejection in unlisted:
        kind = "update" if rejection.uri in replaced else "refused"
        plan.files[kind].append(rejection.uri)
        plan.reasons[rejection.uri] = rejection


def take_dispute(plan: Plan, dispute: Dispute) -> None:
    """Sort the refused files anew that would take the place of those of their source, and these."""
    winners = set(dispute.winners).intersection(plan.files["refused"])
    plan.files["refused"] = [uri for uri in plan.files["refused"] if uri not in winners]
    plan.files["add"] += sorted(winners)
    for uri in winners:
        del plan.reasons[uri]
    losers = set(dispute.losers).difference(*plan.files.values())
    plan.files["refused"] += sorted(losers)
    plan.unchanged -= len(losers)


def orphans(engine: Engine, config: Path, works: Sequence[AnyWork]) -> list[Orphan]:
    """Definitions and drop folders that left their sources.toml, and what they left."""
    return find_orphans(engine, config, [work.id for work in works])


def prune_all(engine: Engine, config: Path, works: Sequence[AnyWork]) -> list[Orphan]:
    """Remove what was left of definitions that left their sources.toml; what became of each.

    Before those that are in it are synced, as one of them may have been renamed. Raises Overlapping as `prune` does.
    """
    return [prune(engine, orphan) for orphan in orphans(engine, config, works)]
