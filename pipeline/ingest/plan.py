"""Plans a sync: lists what it would do, without opening a file, changing anything or taking a lock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue.comparison import ChangedFile, Comparison, open_comparison
from pipeline.catalogue.definitions import check_uuid, count_outdated_sources
from pipeline.catalogue.grid_consistency import find_grid_conflict
from pipeline.catalogue.missing_files import count_empty_sources
from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.tombstones import find_deleted_groups
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError, RastersourcesError, Rejection
from pipeline.ingest.drop_folders import DropFolderFiles, open_drop_folder
from pipeline.ingest.register import (
    DefinitionFiles,
    ProgressReporter,
    RunOptions,
    is_deleted_group,
    list_and_compare,
)
from pipeline.ingest.sync import SyncItem, require_few_missing

PLANNED_KINDS = (
    "add",
    "update",
    "moved",
    "outdated",
    "missing",
    "rejected",
    "withheld",
    "settling",
)
"""Kinds of files that are not unchanged, in the order in which plans show them."""
SOURCE_COUNTS = ("outdated_sources", "empty_sources")
"""Kinds of raster sources without listed files that a sync would change."""
CHANGES = ("add", "update", "moved", "outdated", "missing", "cleared", *SOURCE_COUNTS)
"""The kinds that make a sync necessary."""


@dataclass
class SyncPlan:
    """What a sync of one definition would do."""

    definition: str
    unchanged: int = 0
    files: dict[str, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in PLANNED_KINDS}
    )
    """Kind -> URIs of the files."""
    moved_from: dict[str, str] = field(default_factory=dict)
    """URI of each moved file -> its former URI."""
    reasons: dict[str, Rejection] = field(default_factory=dict)
    """URI -> the earlier rejection of the file, or the reason why it cannot be listed."""
    cleared: int = 0
    """Rejections that would be deleted, because their files are gone."""
    outdated_sources: int = 0
    """Raster sources without an unchanged file that would get the new fields of their definition."""
    empty_sources: int = 0
    """Empty raster sources that would be deleted."""
    refusal: str | None = None
    """Why a sync would refuse to run."""

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> number of files or sources."""
        kinds = {kind: len(uris) for kind, uris in self.files.items()}
        further = {name: getattr(self, name) for name in ("cleared", *SOURCE_COUNTS)}
        return {"unchanged": self.unchanged, **kinds, **further}

    @property
    def changes(self) -> int:
        """The number of changes that a sync would make."""
        return sum(self.counts[name] for name in CHANGES)

    def add_files(
        self,
        comparison: Comparison,
        definition: Definition,
        deleted: frozenset[str],
        batch_size: int,
    ) -> None:
        """Add the files of a definition; `deleted` are the keys of groups that users deleted."""
        self.unchanged = comparison.counts()["unchanged"]
        for batch in comparison.batches(batch_size):
            for changed in batch:
                withheld = is_deleted_group(definition, changed.file, deleted)
                self.add(changed, "withheld" if withheld else changed.verdict)
        self.add_unlisted(comparison)

    def add(self, changed: ChangedFile, verdict: str) -> None:
        """Add a file under a verdict."""
        uri, old_uri = changed.file.uri, changed.moved_from
        self.files[verdict].append(uri)
        if old_uri is not None and verdict == "withheld":
            self.files["missing"].append(old_uri)
        elif old_uri is not None:
            self.moved_from[uri] = old_uri
        if changed.rejection is not None:
            self.reasons.setdefault(uri, changed.rejection)

    def add_unlisted(self, comparison: Comparison) -> None:
        """Add files that could not be listed; a registered file with the same URI would be removed from its source."""
        replaced = comparison.replaced()
        for rejection in comparison.unlisted:
            self.files["update" if rejection.uri in replaced else "rejected"].append(rejection.uri)
            self.reasons[rejection.uri] = rejection

    def vote(self, comparison: Comparison) -> None:
        """Accept and reject the files that a vote on the grids would accept and reject."""
        fitting, misfits = find_grid_conflict(comparison)
        accepted = set(fitting).intersection(self.files["rejected"])
        self.files["rejected"] = [uri for uri in self.files["rejected"] if uri not in accepted]
        self.files["add"] += sorted(accepted)
        for uri in accepted:
            del self.reasons[uri]
        evicted = set(misfits).difference(*self.files.values())
        self.files["rejected"] += sorted(evicted)
        self.unchanged -= len(evicted)


def plan_all(
    engine: Engine,
    items: Sequence[SyncItem],
    config: Path,
    options: RunOptions,
    progress: ProgressReporter,
) -> list[SyncPlan]:
    """Plan all items; a failure does not stop the others."""
    plans = []
    for item in items:
        try:
            plans.append(plan(engine, item, config, options, progress))
        except RastersourcesError as error:
            plans.append(SyncPlan(item.id, refusal=str(error)))
    return plans


def plan(
    engine: Engine, item: SyncItem, config: Path, options: RunOptions, progress: ProgressReporter
) -> SyncPlan:
    """Return what a sync of a definition or drop folder would do."""
    if isinstance(item, DropFolderFiles):
        return _plan_drop_folder(engine, item, options, progress)
    return _plan_definition(engine, item, config, options, progress)


def _plan_definition(
    engine: Engine,
    files: DefinitionFiles,
    config: Path,
    options: RunOptions,
    progress: ProgressReporter,
) -> SyncPlan:
    definition, result = files.definition, SyncPlan(files.id)
    deleted = find_deleted_groups(engine, definition.id)
    with open_comparison(engine, definition, exclusive=False) as comparison:
        list_and_compare(comparison, files, options, progress, complete=True)
        result.add_files(comparison, definition, deleted, options.batch_size)
        result.files["missing"] += comparison.missing_uris(marked=definition.missing == "remove")
        result.vote(comparison)
        result.cleared = comparison.cleared()
        result.outdated_sources = count_outdated_sources(comparison, definition)
        result.empty_sources = count_empty_sources(comparison, definition)
        try:
            if not options.create:
                find_owner(engine, definition)
            require_few_missing(engine, definition, config, comparison)
            check_uuid(engine, definition)
        except CatalogueError as error:
            result.refusal = str(error)
    return result


def _plan_drop_folder(
    engine: Engine, files: DropFolderFiles, options: RunOptions, progress: ProgressReporter
) -> SyncPlan:
    """Return the files that would be read, and those without a matching raster source."""
    result, run = SyncPlan(files.id), open_drop_folder(engine, options, files)
    with open_comparison(engine, files.drop, exclusive=False) as comparison:
        run.list_and_compare(comparison, progress)
        result.unchanged = comparison.counts()["unchanged"]
        for batch in comparison.batches(options.batch_size):
            for changed, match in run.match_files(batch):
                if match is None:
                    result.add(changed, changed.verdict)
                elif isinstance(match, Rejection):
                    result.reasons[match.uri] = match
                    result.add(changed, "rejected")
                else:
                    result.add(changed, "update" if changed.verdict == "update" else "add")
        result.add_unlisted(comparison)
        result.cleared = comparison.cleared()
    return result
