"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.runners import Runner

ConfigFile = Annotated[
    Path, typer.Option("--config", help="The source definitions.", metavar="FILE")
]
Create = Annotated[
    bool, typer.Option("--create", help="Add organisations and suppliers that are not there yet.")
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Ids of definitions; all of them without any."),
]
DEFAULT_CONFIG = Path("sources.toml")
ReadBy = Annotated[
    Runner | None,
    typer.Option("--runner", help="Who reads files; RASTERSOURCES_RUNNER or processes."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="The Dask scheduler, such as tcp://10.0.0.5:8786.", metavar="ADDRESS"),
]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Go on also when very many files are missing.")
]
Prune = Annotated[
    bool,
    typer.Option("--prune", help="First remove the sources of definitions that left the file."),
]
Pool = Annotated[str, typer.Option(help="A work pool of type process.", metavar="NAME")]
Crs = Annotated[
    str | None,
    typer.Option("--crs", help="CRS of files that have none, such as EPSG:CODE.", metavar="CRS"),
]
CrsOverride = Annotated[
    bool,
    typer.Option("--crs-override", help="Let --crs count for files that have another CRS, too."),
]
Nodata = Annotated[
    str | None,
    typer.Option(
        "--nodata",
        help="Nodata value of files that have none, such as -9999 or nan.",
        metavar="VALUE",
    ),
]
