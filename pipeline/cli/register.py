"""The command that registers files without a sync: it adds and updates files, and keeps records of missing ones."""

from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.cli.bootstrap import explain_stop, open_run_context
from pipeline.cli.completion import complete_access, complete_organisation, complete_user
from pipeline.cli.runners import open_row_reader
from pipeline.errors import CatalogueError

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH...]", help="Files, folders or s3:// URLs; default: the files of --config."
    ),
]
Organisation = Annotated[
    str | None,
    typer.Option(
        help="The owner of the files.", metavar="NAME", autocompletion=complete_organisation
    ),
]
Name = Annotated[
    str, typer.Option(help="Name of each source; {stem} is the file's name without its ending.")
]
AccessModifier = Annotated[
    str,
    typer.Option(help="Public, Common, Private or Hidden.", autocompletion=complete_access),
]
Supplier = Annotated[
    str | None,
    typer.Option(
        help="The supplier of the files.", metavar="USERNAME", autocompletion=complete_user
    ),
]
SupplierCode = Annotated[str | None, typer.Option(help="The supplier's own name for the source.")]
Description = Annotated[str | None, typer.Option(help="Free text.")]
Temporal = Annotated[bool, typer.Option("--temporal", help="The files are time steps.")]
Time = Annotated[
    str | None, typer.Option(help='The time of the files, such as 2024-01-01T00:00:00Z, or "tag".')
]
Pattern = Annotated[
    str | None, typer.Option(help="Regular expression on the path; its group `time` is the time.")
]


def register(
    paths: Paths = None,
    organisation: Organisation = None,
    name: Name = "{stem}",
    access_modifier: AccessModifier = "Private",
    supplier: Supplier = None,
    supplier_code: SupplierCode = None,
    description: Description = None,
    temporal: Temporal = False,
    time: Time = None,
    pattern: Pattern = None,
    crs: options.Crs = None,
    crs_override: options.CrsOverride = False,
    nodata: options.Nodata = None,
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    create: options.Create = False,
    runner: options.ReadBy = None,
    scheduler: options.Scheduler = None,
    as_json: options.RunAsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Register files: one raster source for each file, or the sources of a sources.toml.

    Exit status 0: all files are registered; 3: some were rejected, each with its reason; 1: the run failed.
    """
    fields: dict[str, object] = {
        "organisation": organisation, "name": name, "access_modifier": access_modifier, "supplier": supplier,
        "supplier_code": supplier_code, "description": description, "temporal": temporal, "time": time,
        "pattern": pattern, "crs": crs, "crs_override": crs_override, "nodata": nodata,
    }  # fmt: skip
    require_matching_options(paths, fields, config)
    began = monotonic()
    # The reading processes import their libraries while this process imports its own.
    with explain_stop(), open_row_reader(runner, scheduler, early=bool(paths)) as reader:
        from pipeline.cli.output import print_outcomes
        from pipeline.ingest.register import files_from_arguments, files_from_config, register_all

        files = files_from_arguments(paths, fields) if paths else files_from_config(config)
        with open_run_context(reader, create=create, quiet=quiet) as context:
            outcomes = register_all(context, files)
    raise SystemExit(print_outcomes(outcomes, monotonic() - began, as_json=as_json, quiet=quiet))


def require_matching_options(
    paths: list[str] | None, fields: dict[str, object], config: Path
) -> None:
    """Raise CatalogueError if no files are given, PATH has no --organisation, or options of PATH are without PATH."""
    if not paths and config == options.DEFAULT_CONFIG and not config.exists():
        raise CatalogueError(
            f"{config} does not exist; give files or folders, or a sources.toml with --config"
        )
    if paths and fields["organisation"] is None:
        raise CatalogueError("give the owner of these files with --organisation NAME")
    if not paths and any(
        fields[name] not in (None, False) for name in ("crs", "crs_override", "nodata")
    ):
        raise CatalogueError(
            "--crs, --crs-override and --nodata need PATH; set them in the definitions of --config"
        )
