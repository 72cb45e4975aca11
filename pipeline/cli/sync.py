"""The commands that keep the catalogue at what the files are: plan, sync, unregister, restore."""

from collections.abc import Callable
from time import monotonic
from typing import Annotated
from uuid import UUID

import typer

from pipeline.cli.bootstrap import catalogue, conditions
from pipeline.cli.options import (
    DEFAULT_CONFIG,
    AcceptMissing,
    ConfigFile,
    Create,
    Names,
    Prune,
    ReadBy,
    Scheduler,
)
from pipeline.cli.runners import reading
from pipeline.cli.terminal import say
from pipeline.errors import CatalogueError
from pipeline.settings import settings


def plan(
    names: Names = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per definition.")
    ] = False,
) -> None:
    """Say what a sync would do: which files are new, changed, moved, missing or refused; change nothing.

    Exit status 0: nothing to do; 2: there are changes; 1: it failed, or sync would refuse.
    """
    import orjson

    from pipeline.cli.output import plan_document, plans
    from pipeline.ingest import sync
    from pipeline.ingest.progress import watching

    works, how = sync.works_of_config(config), conditions(settings(), create=False)
    with catalogue(settings()) as engine, watching(lists_only=True) as watcher:
        found = sync.plan_all(engine, sync.chosen(works, names or ()), config, how, watcher)
        orphans = sync.orphans(engine, config, works)
    if as_json:
        for one in found:
            typer.echo(orjson.dumps(plan_document(one)))
    else:
        plans(found, orphans)
    if any(one.refusal for one in found):
        raise SystemExit(1)
    raise SystemExit(2 if any(one.changes for one in found) else 0)


def sync(
    names: Names = None,
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
    accept_missing: AcceptMissing = False,
    prune: Prune = False,
    runner: ReadBy = None,
    scheduler: Scheduler = None,
) -> None:
    """Bring the catalogue to what the files of a sources.toml are: add, update, move, and see to missing ones.

    Exit status 0: all good; 3: some files were refused, each with its reason; 1: the run failed.
    """
    from pipeline.cli.output import announce, pruned
    from pipeline.ingest.progress import watching
    from pipeline.ingest.register import Run
    from pipeline.ingest.sync import chosen, prune_all, sync_all, works_of_config

    began, configured = monotonic(), settings()
    works = works_of_config(config, empty=prune)
    how = conditions(configured, create=create)
    with reading(configured, runner, scheduler) as reader, catalogue(configured) as engine:
        if prune:
            pruned(prune_all(engine, config, works))
        with watching() as watcher:
            run = Run(engine, how, reader, watcher)
            outcomes = sync_all(
                run, chosen(works, names or ()), config, accept_missing=accept_missing
            )
    raise SystemExit(announce(outcomes, monotonic() - began))


def unregister(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|UUID...", help="Files, folders with all below them, or raster sources."
        ),
    ],
) -> None:
    """Take files out of the catalogue, and sources with their last file. The files themselves stay where they are.

    What a sources.toml names stays out also at the next sync, until `rastersources restore`.
    """
    from pipeline.catalogue.unregister import unregister
    from pipeline.cli.output import unregistered

    uris, uuids = told_apart(names)
    with catalogue(settings()) as engine:
        unregistered(unregister(engine, uris, uuids))


def restore(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH|UUID|ID...]", help="Files, folders, raster sources or definitions."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that was deleted.")] = False,
) -> None:
    """Let the next sync bring back what was deleted through the API or unregistered; without names, list it."""
    from pipeline.catalogue import tombstones
    from pipeline.cli.output import buried, counted

    with catalogue(settings()) as engine:
        if not names and not everything:
            buried(tombstones.tombstones(engine))
            return
        uris, uuids = told_apart(names or [])
        count = tombstones.restore(
            engine, [*(names or ()), *map(str, uuids)], uris, everything=everything
        )
    say(f"{counted(count, 'deletion')} lifted; the next sync or register brings back what is there")


def told_apart(names: list[str]) -> tuple[list[str], list[UUID]]:
    """The URIs of files and folders, and the uuids of raster sources."""
    from pipeline.storage import named_place

    uris, uuids = [], []
    for name in names:
        try:
            uuids.append(UUID(name))
        except ValueError:
            if not name.strip():
                raise CatalogueError(
                    "an empty name stands for nothing; name a path or a uuid"
                ) from None
            place = named_place(name)
            # where a link is by now, the file itself may have been
            uris += [place.uri, place.real_uri]
    return uris, uuids


COMMANDS: dict[str, Callable[..., None]] = {
    "plan": plan,
    "sync": sync,
    "unregister": unregister,
    "restore": restore,
}
