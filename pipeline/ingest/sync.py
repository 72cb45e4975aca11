"""Syncs the catalogue with the present files of a sources.toml, including missing ones."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue import definitions
from pipeline.catalogue.comparison import Comparison
from pipeline.catalogue.definitions import Orphan
from pipeline.catalogue.grid_consistency import elect_grids
from pipeline.catalogue.missing_files import mark_missing, remove_empty_sources, remove_missing
from pipeline.catalogue.sync_runs import RunReport, SyncRun
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError
from pipeline.ingest.drop_folders import DropFolderFiles, load_drop_folders, sync_drop_folder
from pipeline.ingest.register import (
    DefinitionFiles,
    RunContext,
    RunOutcome,
    Steps,
    files_from_config,
    open_run,
    run_steps,
)

SyncItem = DefinitionFiles | DropFolderFiles


def load_sync_items(path: Path, *, empty: bool = False) -> list[SyncItem]:
    """Return the definitions and drop folders of a sources.toml; with `empty` there may be none.

    Raises CatalogueError that names what is wrong in the file.
    """
    return [*files_from_config(path, empty=empty), *load_drop_folders(path, empty=empty)]


def select_items(items: Sequence[SyncItem], names: Sequence[str]) -> list[SyncItem]:
    """Return the items with these ids, or all items without names; raise CatalogueError for an unknown name."""
    by_id = {item.id: item for item in items}
    unknown = [name for name in names if name not in by_id]
    if unknown:
        raise CatalogueError(
            f'there is no definition "{unknown[0]}"; choose one of: {", ".join(by_id)}'
        )
    return [by_id[name] for name in dict.fromkeys(names)] if names else list(items)


def sync_all(
    context: RunContext, items: Sequence[SyncItem], config: Path, *, accept_missing: bool = False
) -> list[RunOutcome]:
    """Sync all items; a failure does not stop the others."""

    def steps(context: RunContext, row: SyncRun, item: SyncItem) -> Steps:
        if isinstance(item, DropFolderFiles):
            definitions.record_definition(context.engine, item.id, config)
            yield from sync_drop_folder(context, item, row)
        else:
            yield from sync(context, item, config, row, accept_missing=accept_missing)

    return [run_steps(context, item.id, partial(steps, item=item)) for item in items]


def sync(
    context: RunContext, files: DefinitionFiles, config: Path, row: SyncRun, *, accept_missing: bool
) -> Steps:
    """Sync the catalogue with the present files of one definition."""
    engine, definition = context.engine, files.definition
    with open_run(context, files, row, complete=True) as run:
        comparison, organisation_id = run.comparison, run.owner.organisation_id
        if not accept_missing:
            require_few_missing(engine, definition, config, comparison)
        definitions.record_definition(engine, definition.id, config, definition.uuid)
        definitions.check_uuid(engine, definition, claim=True)
        yield from run.read_and_write()
        comparison.check_lock()
        comparison.add_left_behind()
        settle_missing = remove_missing if definition.missing == "remove" else mark_missing
        yield RunReport(missing=settle_missing(comparison))
        comparison.update_rejections(organisation_id, complete=True)
        rejected = {rejection.uri for rejection in row.report.rejected}
        yield elect_grids(comparison, organisation_id, rejected)
        remove_empty_sources(comparison, definition)


def require_few_missing(
    engine: Engine, definition: Definition, config: Path, comparison: Comparison
) -> None:
    """Raise CatalogueError when a larger share of the registered files is missing than the definition allows."""
    name, percent = definition.id, definition.max_missing_percent
    known, count = comparison.count_missing()
    if not known or 100 * count / known <= percent:
        return
    missing = f'{count} of the {known} files of "{name}" are missing, more than {percent:g}%'
    other = definitions.other_config(engine, definition, config)
    if other is not None:
        raise CatalogueError(
            f'{missing}: "{name}" was synced from {other}, which still exists; give one of the two another id'
        )
    raise CatalogueError(
        f"{missing}: check that the disk or bucket is available, or use --accept-missing if they were deleted"
    )


def list_orphans(engine: Engine, config: Path, items: Sequence[SyncItem]) -> list[Orphan]:
    """Return the definitions and drop folders that were removed from their sources.toml."""
    return definitions.find_orphans(engine, config, [item.id for item in items])


def prune_all(engine: Engine, config: Path, items: Sequence[SyncItem]) -> list[Orphan]:
    """Remove the sources of definitions that are no longer in their sources.toml.

    Call it before a sync, because a definition may have been renamed. Raises the errors of `prune`.
    """
    return [definitions.prune(engine, orphan) for orphan in list_orphans(engine, config, items)]
