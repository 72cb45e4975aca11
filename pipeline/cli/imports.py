"""The command that imports other catalogues."""

from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli import options
from pipeline.cli.bootstrap import explain_stop, open_catalogue, open_run_context, run_options
from pipeline.cli.completion import complete_organisation
from pipeline.cli.register import AccessModifier, Description, Supplier, Temporal
from pipeline.cli.runners import open_row_reader
from pipeline.cli.terminal import echo, pluralize, print_document
from pipeline.settings import Runner, settings

if TYPE_CHECKING:
    from pipeline.ingest.stac.assets import AssetCounts
    from pipeline.ingest.stac.importing import StacImport

imports = typer.Typer(no_args_is_help=True, help="Import other catalogues.")
SHOWN_KINDS = 5


Catalogue = Annotated[
    str,
    typer.Argument(
        metavar="URL|FILE",
        help="A catalog.json, a STAC API, a collection, or a file of items.",
        show_default=False,
    ),
]
Organisation = Annotated[
    str,
    typer.Option(
        help="The owner of the files.",
        metavar="NAME",
        show_default=False,
        autocompletion=complete_organisation,
    ),
]
Collections = Annotated[
    list[str] | None,
    typer.Option(
        "--collection", help="Id of a collection to import; may be repeated.", metavar="ID"
    ),
]
Assets = Annotated[
    list[str] | None,
    typer.Option(
        "--asset",
        help="Name of an asset to import; may be repeated. Default: all GeoTIFFs with data.",
        metavar="NAME",
    ),
]
Group = Annotated[
    Literal["collection", "file"],
    typer.Option(
        help="collection: one raster source for each collection, asset and grid; file: one for each file."
    ),
]
ItemTimes = Annotated[
    bool,
    typer.Option("--item-times", help="Use the times of items for files that contain no time."),
]
Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        help="Name of this import, by which it finds its raster sources again. Default: made from the URL.",
        metavar="NAME",
    ),
]
ShowPlan = Annotated[
    bool, typer.Option("--plan", help="Show what would be done; change nothing and read no files.")
]


@imports.callback()
def import_() -> None:
    """Import other catalogues."""


@imports.command()
def stac(
    catalogue: Catalogue,
    organisation: Organisation,
    collections: Collections = None,
    assets: Assets = None,
    group: Group = "collection",
    item_times: ItemTimes = False,
    temporal: Temporal = False,
    access_modifier: AccessModifier = "Private",
    supplier: Supplier = None,
    description: Description = None,
    crs: options.Crs = None,
    crs_override: options.CrsOverride = False,
    nodata: options.Nodata = None,
    id: Id = None,
    plan: ShowPlan = False,
    create: options.Create = False,
    runner: options.ReadBy = None,
    scheduler: options.Scheduler = None,
    as_json: options.RunAsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Register the GeoTIFFs of a STAC catalogue, as `register` does; repeat the import to add new files.

    Exit status 0: all files are registered; 3: some were rejected, each with its reason; 1: the run failed. With --plan
    0: nothing to do; 2: there is something to do; 1: it failed.
    """
    from pipeline.ingest.stac.assets import AssetFilter
    from pipeline.ingest.stac.importing import open_import

    fields: dict[str, object] = {
        "id": id, "organisation": organisation, "access_modifier": access_modifier, "supplier": supplier,
        "description": description, "temporal": temporal, "crs": crs, "crs_override": crs_override, "nodata": nodata,
        "group": group,
    }  # fmt: skip
    asset_filter = AssetFilter(frozenset(collections or ()), frozenset(assets or ()), item_times)
    configured = settings()
    files = open_import(
        catalogue, fields, asset_filter, configured.roots, configured.stac_document_bytes
    )
    if plan:
        raise SystemExit(_plan(files, create=create, as_json=as_json, quiet=quiet))
    raise SystemExit(_import(files, runner, scheduler, create=create, as_json=as_json, quiet=quiet))


def _import(
    files: "StacImport",
    runner: Runner | None,
    scheduler: str | None,
    *,
    create: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Import, and print the outcome; return the exit status."""
    began = monotonic()
    with explain_stop(), open_row_reader(runner, scheduler) as reader:
        from pipeline.cli.output import outcome_document, print_outcomes
        from pipeline.ingest.stac.importing import import_stac

        with open_run_context(reader, create=create, quiet=quiet) as context:
            outcome = import_stac(context, files)
    if as_json:
        print_document({**outcome_document(outcome), "stac": _counts_document(files.counts)})
    elif not (quiet or outcome.failure):
        _print_counts(files.counts)
    return print_outcomes([outcome], monotonic() - began, quiet=quiet or as_json)


def _plan(files: "StacImport", *, create: bool, as_json: bool, quiet: bool) -> int:
    """Print what an import would do; return the exit status."""
    from pipeline.cli.output import plan_document, print_plans
    from pipeline.cli.progress import show_progress
    from pipeline.ingest.stac.importing import plan_import

    configured = settings()
    with (
        open_catalogue(configured) as engine,
        show_progress(lists_only=True, quiet=quiet) as progress,
    ):
        plan = plan_import(engine, files, run_options(configured, create=create), progress)
    if as_json:
        print_document({**plan_document(plan), "stac": _counts_document(files.counts)})
    elif not quiet:
        _print_counts(files.counts)
        print_plans([plan], ())
    return 2 if plan.changes else 0


def _counts_document(summary: "AssetCounts") -> dict[str, object]:
    return {
        "items": summary.items,
        "geotiffs": summary.geotiffs,
        "items_without_geotiff": summary.without,
        "other_assets": dict(summary.others.most_common()),
    }


def _print_counts(summary: "AssetCounts") -> None:
    """Print the size of the catalogue, and the kinds of assets that are left out."""
    without = f", {summary.without} without a GeoTIFF" if summary.without else ""
    geotiffs = f", with {pluralize(summary.geotiffs, 'GeoTIFF')}" if summary.geotiffs else ""
    echo(f"found {pluralize(summary.items, 'item')}{without}{geotiffs}")
    if not summary.items:
        echo("check the catalogue, and --collection if you gave it: it has no items", err=True)
    if summary.others:
        kinds = [f"{count} {kind}" for kind, count in summary.others.most_common(SHOWN_KINDS)]
        more = len(summary.others) - len(kinds)
        kinds += [f"{pluralize(more, 'more kind')}; --json names all of them"] if more else []
        total = pluralize(summary.others.total(), "other asset")
        echo(f"not imported: {total}: {', '.join(kinds)}")
