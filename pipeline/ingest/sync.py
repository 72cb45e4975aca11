"""Plan and sync: what a definition's files are now, and the catalogue brought to that; missing files included."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue.comparison import (
    TO_READ,
    ChangedFile,
    Comparison,
    MissingCounts,
    open_comparison,
)
from pipeline.catalogue.definitions import (
    Orphan,
    check_uuid,
    claim_source,
    find_orphans,
    other_config,
    prune,
    record_definition,
)
from pipeline.catalogue.grid_consistency import GridConflict, find_grid_conflicts, standings
from pipeline.catalogue.missing_files import (
    count_empty_sources,
    mark_missing,
    remove_empty_sources,
    remove_missing,
)
from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.redefinition import count_outdated_sources
from pipeline.catalogue.register import ReadItem, RejectedItem
from pipeline.catalogue.run_report import RunReport
from pipeline.catalogue.tombstones import find_deleted_groups
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError, RastersourcesError, Rejection
from pipeline.ingest.drop_folders import (
    DropFolderFiles,
    load_drop_folders,
    open_drop_folder,
    sync_drop_folder,
)
from pipeline.ingest.register import (
    DefinitionFiles,
    DefinitionRun,
    ProgressReporter,
    RunContext,
    RunOptions,
    RunOutcome,
    compare,
    files_from_config,
    fill,
    is_deleted_group,
    open_run,
    read_and_write,
    run_definition,
)

PLANNED_KINDS = ("add", "update", "moved", "outdated", "missing", "refused", "withheld", "settling")
"""What can become of a file that is not simply unchanged, in the order in which plans show it."""
SOURCE_COUNTS = ("outdated_sources", "empty_sources")
"""What can become of raster sources that no file stands for."""
CHANGES = ("add", "update", "moved", "outdated", "missing", "cleared", *SOURCE_COUNTS)
"""What makes a sync necessary."""


SyncItem = DefinitionFiles | DropFolderFiles


def load_sync_items(path: Path, *, empty: bool = False) -> list[SyncItem]:
    """The definitions and drop folders of a sources.toml; raises CatalogueError that says what is wrong in it.

    `empty` says that there may be none.
    """
    return [*files_from_config(path, empty=empty), *load_drop_folders(path, empty=empty)]


def select_items(works: Sequence[SyncItem], names: Sequence[str]) -> list[SyncItem]:
    """The works of these ids; all without names. Raises CatalogueError for a name that is none of them."""
    by_id = {work.id: work for work in works}
    unknown = [name for name in names if name not in by_id]
    if unknown:
        raise CatalogueError(
            f'there is no definition "{unknown[0]}"; there are: {", ".join(by_id)}'
        )
    return [by_id[name] for name in dict.fromkeys(names)] if names else list(works)


def sync_all(
    run: RunContext, works: Sequence[SyncItem], config: Path, *, accept_missing: bool = False
) -> list[RunOutcome]:
    """Bring the catalogue to what the files are; one definition that fails does not keep the others from it."""

    def sync_one(work: SyncItem, report: RunReport) -> None:
        if isinstance(work, DropFolderFiles):
            record_definition(run.engine, work.id, config)
            sync_drop_folder(run, work, report)
        else:
            sync(run, work, config, report, accept_missing=accept_missing)

    return [run_definition(work.id, partial(sync_one, work)) for work in works]


def sync(
    run: RunContext, work: DefinitionFiles, config: Path, report: RunReport, *, accept_missing: bool
) -> None:
    """Bring the catalogue to what the files of one definition are."""
    definition = work.definition
    with open_run(run, work, report, complete=True) as (ingestion, listing):
        if not accept_missing:
            require_few_missing(run.engine, definition, config, listing.count_missing())
        record_definition(run.engine, definition.id, config, definition.uuid)
        claim_source(run.engine, definition)
        read_and_write(run, ingestion, listing, report)
        listing.check_lock()
        listing.add_left_behind()
        report.missing = (
            remove_missing(listing) if definition.missing == "remove" else mark_missing(listing)
        )
        settle_disputes(run, ingestion, listing, report)
        listing.update_rejections(ingestion.owner.organisation_id, complete=True)
        remove_empty_sources(listing, definition)


def require_few_missing(
    engine: Engine, definition: Definition, config: Path, absence: MissingCounts
) -> None:
    """Raises CatalogueError when a larger share of the known files is missing than the definition says."""
    name, percent = definition.id, definition.max_missing_percent
    if absence.percent <= percent:
        return
    found = f'{absence.missing} of the {absence.known} files of "{name}" are missing, more than {percent:g}%'
    other = other_config(engine, definition, config)
    if other is not None:
        raise CatalogueError(
            f'{found}: "{name}" was synced from {other}, which is still there; give one of the two another id'
        )
    raise CatalogueError(
        f"{found}: see that the disk or bucket is there, or say --accept-missing if they really are gone"
    )


def settle_disputes(
    run: RunContext, ingestion: DefinitionRun, listing: Comparison, report: RunReport
) -> None:
    """Where refused files that fit each other outnumber those of their source, let them take their place."""
    for dispute in find_grid_conflicts(listing):
        won = set(dispute.accepted)
        files = listing.files(dispute.accepted)
        results = ingestion.reader(files, ingestion.options)
        items = [
            RejectedItem(result, file) if isinstance(result, Rejection) else ReadItem(file, result)
            for file, result in zip(files, results, strict=True)
        ]
        settled = run.write(ingestion, items, dispute.evicted)
        report.rejected = [one for one in report.rejected if one.uri not in won]
        take_back(listing, dispute, settled, report)
        report.add(settled)


def take_back(
    listing: Comparison, dispute: GridConflict, settled: RunReport, report: RunReport
) -> None:
    """Files that gave way count as refused, and no longer as what they were before."""
    lost = {one.uri for one in settled.rejected}.intersection(dispute.evicted)
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
    files: dict[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in PLANNED_KINDS}
    )
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
        further = {name: getattr(self, name) for name in ("cleared", *SOURCE_COUNTS)}
        return {"unchanged": self.unchanged, **kinds, **further}

    @property
    def changes(self) -> int:
        """How much there is to do."""
        return sum(self.counts[name] for name in CHANGES)


def plan_all(
    engine: Engine,
    works: Sequence[SyncItem],
    config: Path,
    conditions: RunOptions,
    watcher: ProgressReporter,
) -> list[Plan]:
    """What a sync would do; one definition that fails does not keep the plans of the others from being made."""

    def plan_one(work: SyncItem) -> Plan:
        try:
            return plan(engine, work, config, conditions, watcher)
        except RastersourcesError as error:
            return Plan(work.id, refusal=str(error))

    return [plan_one(work) for work in works]


def plan(
    engine: Engine, work: SyncItem, config: Path, conditions: RunOptions, watcher: ProgressReporter
) -> Plan:
    """What a sync of one definition would do; opens no file, changes nothing and is in no run's way."""
    if isinstance(work, DropFolderFiles):
        return plan_drop(engine, work, conditions, watcher)
    definition, found = work.definition, Plan(work.definition.id)
    buried = find_deleted_groups(engine, definition.id)
    with open_comparison(engine, definition, alone=False) as listing:
        fill(listing, work, conditions, watcher)
        compare(listing, definition, complete=True)
        found.unchanged = listing.counts()["unchanged"]
        for one in each(listing, conditions.batch_size):
            withheld = buried and is_deleted_group(definition, one.file, buried)
            take(found, one, "withheld" if withheld else one.verdict)
        take_unlisted(found, listing.unlisted, listing.replaced())
        found.files["missing"] += listing.missing_uris(marked=definition.missing == "remove")
        for dispute in find_grid_conflicts(listing):
            take_dispute(found, dispute)
        found.cleared = listing.cleared()
        found.outdated_sources = count_outdated_sources(listing, definition)
        found.empty_sources = count_empty_sources(listing, definition)
        try:
            if not conditions.create:
                find_owner(engine, definition)
            require_few_missing(engine, definition, config, listing.count_missing())
            check_uuid(engine, definition)
        except CatalogueError as error:
            found.refusal = str(error)
    return found


def plan_drop(
    engine: Engine, work: DropFolderFiles, conditions: RunOptions, watcher: ProgressReporter
) -> Plan:
    """The same for a drop folder: which files would be read, and which no raster source is meant for."""
    found, reception = Plan(work.id), open_drop_folder(engine, conditions, work)
    with open_comparison(engine, work.drop, alone=False) as listing:
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


def each(listing: Comparison, size: int) -> Iterator[ChangedFile]:
    """All files but the unchanged ones."""
    for batch in listing.batches(size):
        yield from batch


def take(plan: Plan, found: ChangedFile, verdict: str) -> None:
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


def take_dispute(plan: Plan, dispute: GridConflict) -> None:
    """Sort the refused files anew that would take the place of those of their source, and these."""
    winners = set(dispute.accepted).intersection(plan.files["refused"])
    plan.files["refused"] = [uri for uri in plan.files["refused"] if uri not in winners]
    plan.files["add"] += sorted(winners)
    for uri in winners:
        del plan.reasons[uri]
    losers = set(dispute.evicted).difference(*plan.files.values())
    plan.files["refused"] += sorted(losers)
    plan.unchanged -= len(losers)


def list_orphans(engine: Engine, config: Path, works: Sequence[SyncItem]) -> list[Orphan]:
    """Definitions and drop folders that left their sources.toml, and what they left."""
    return find_orphans(engine, config, [work.id for work in works])


def prune_all(engine: Engine, config: Path, works: Sequence[SyncItem]) -> list[Orphan]:
    """Remove what was left of definitions that left their sources.toml; what became of each.

    Before those that are in it are synced, as one of them may have been renamed. Raises RunInProgress as `prune` does.
    """
    return [prune(engine, orphan) for orphan in list_orphans(engine, config, works)]
