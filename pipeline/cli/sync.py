"""The commands plan, sync, unregister and restore, which update the catalogue from the present files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from pipeline.cli import options
from pipeline.cli.bootstrap import explain_stop, open_catalogue, open_run_context, run_options
from pipeline.cli.runners import open_row_reader
from pipeline.cli.terminal import echo, pluralize, print_document
from pipeline.settings import Runner, settings

if TYPE_CHECKING:
    from pipeline.ingest.register import BatchWriter, RunOutcome


@dataclass(frozen=True)
class SyncOptions:
    """Options that only an operator may choose; they are not parameters of a flow."""

    create: bool
    accept_missing: bool = False
    prune: bool = False
    runner: Runner | None = None
    """None: the runner of the settings."""
    scheduler: str | None = None
    quiet: bool = False
    """Show no progress."""


def plan(
    names: options.Names = None,
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per definition.")
    ] = False,
) -> None:
    """Show what a sync would do: the files that are new, changed, moved, missing or rejected. Change nothing.

    Exit status 0: nothing to do; 2: there are changes; 1: it failed, or a sync would refuse to run.
    """
    from pipeline.cli.output import plan_document, print_plans
    from pipeline.cli.progress import show_progress
    from pipeline.ingest.plan import plan_all
    from pipeline.ingest.sync import list_orphans, load_sync_items, select_items

    items, how = load_sync_items(config), run_options(settings(), create=False)
    with open_catalogue(settings()) as engine, show_progress(lists_only=True) as progress:
        plans = plan_all(engine, select_items(items, names or ()), config, how, progress)
        orphans = list_orphans(engine, config, items)
    if as_json:
        for plan in plans:
            print_document(plan_document(plan))
    else:
        print_plans(plans, orphans)
    if any(plan.refusal for plan in plans):
        raise SystemExit(1)
    raise SystemExit(2 if any(plan.changes for plan in plans) else 0)


def sync(
    names: options.Names = None,
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    accept_missing: options.AcceptMissing = False,
    prune: options.Prune = False,
    runner: options.ReadBy = None,
    scheduler: options.Scheduler = None,
    as_json: options.RunAsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Update the catalogue from the present files of a sources.toml: add, update, move, mark or remove files.

    Exit status 0: all files are registered; 3: some files were rejected, each with its reason; 1: the run failed.
    """
    from pipeline.cli.output import print_outcomes

    began = monotonic()
    chosen = SyncOptions(create, accept_missing, prune, runner, scheduler, quiet)
    with explain_stop():
        outcomes = run_sync(config, names or (), chosen)
    raise SystemExit(print_outcomes(outcomes, monotonic() - began, as_json=as_json, quiet=quiet))


def run_sync(
    config: Path,
    names: Sequence[str],
    chosen: SyncOptions,
    write: "BatchWriter | None" = None,
    flow_run: UUID | None = None,
) -> list["RunOutcome"]:
    """Sync definitions of a sources.toml; without names, sync all of them.

    `write` writes a batch of files; `flow_run` is the id of the Prefect flow run that calls this.
    """
    from pipeline.ingest.sync import load_sync_items, prune_all, select_items, sync_all

    items = load_sync_items(config, empty=chosen.prune)
    with (
        open_row_reader(chosen.runner, chosen.scheduler) as reader,
        open_run_context(reader, create=chosen.create, quiet=chosen.quiet, write=write) as context,
    ):
        if chosen.prune:
            for orphan in prune_all(context.engine, config, items):
                removed = pluralize(orphan.sources - orphan.kept, "source")
                kept = f", {orphan.kept} kept because still in use" if orphan.kept else ""
                if not chosen.quiet:
                    echo(f"pruned {orphan.id}: {removed} removed{kept}", err=True)
        selected = select_items(items, names)
        context = replace(context, flow_run=flow_run)
        return sync_all(context, selected, config, accept_missing=chosen.accept_missing)


def unregister(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|UUID...",
            help="Files, folders with everything below them, or raster sources.",
        ),
    ],
) -> None:
    """Remove files from the catalogue, and sources with their last file. The files themselves are not deleted.

    The next sync does not register them again, until `rastersources restore`.
    """
    from pipeline.catalogue.unregister import unregister

    uris, uuids = split_names(names)
    with open_catalogue(settings()) as engine:
        counts = unregister(engine, uris, uuids)
    files, sources = pluralize(counts.files, "file"), pluralize(counts.sources, "source")
    kept = f"; {pluralize(counts.emptied, 'source')} stayed, empty" if counts.emptied else ""
    echo(f"{files} and {sources} taken out of the catalogue{kept}")


def restore(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH|UUID|ID...]", help="Files, folders, raster sources or definitions."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that was deleted.")] = False,
) -> None:
    """Make the next sync register deleted or unregistered files again. Without names, list them."""
    from pipeline.catalogue import tombstones

    with open_catalogue(settings()) as engine:
        if not names and not everything:
            for row in tombstones.list_tombstones(engine):
                source = f"{row.definition}  {row.source}  {row.name}"
                echo(f"{row.created:%Y-%m-%d %H:%M}  {source}  {row.uri or 'the whole source'}")
            return
        uris, uuids = split_names(names or [])
        count = tombstones.restore(
            engine, [*(names or ()), *map(str, uuids)], uris, everything=everything
        )
    echo(
        f"{pluralize(count, 'deletion')} undone; the next sync or register registers the files that exist"
    )


def split_names(names: list[str]) -> tuple[list[str], list[UUID]]:
    """Return the URIs of files and folders, and the uuids of raster sources. Raises CatalogueError."""
    from pipeline.storage import literal_location

    uris, uuids = [], []
    for name in names:
        try:
            uuids.append(UUID(name))
        except ValueError:
            location = literal_location(name)
            # a link may have taken the place of a registered file
            uris += [location.uri, location.real_uri]
    return uris, uuids
