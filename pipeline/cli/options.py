"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.completion import complete_definition
from pipeline.settings import Runner

ConfigFile = Annotated[
    Path, typer.Option("--config", help="The source definitions.", metavar="FILE", is_eager=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
RunAsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per definition when all are done.")
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only failures; see the exit status for the rest."),
]
Create = Annotated[
    bool, typer.Option("--create", help="Add organisations and suppliers that do not exist yet.")
]
EndWithInput = Annotated[bool, typer.Option("--end-with-input", hidden=True)]
"""For a process that must end with the process that started it."""
Suggest = Annotated[bool, typer.Option("--suggest", hidden=True)]
"""For the first sync of `up`, which then prints commands worth trying."""
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME...]",
        help="Ids of definitions; default: all of them.",
        autocompletion=complete_definition,
    ),
]
OfDefinition = Annotated[
    str | None,
    typer.Option(
        "--definition",
        help="Only those of this definition.",
        metavar="ID",
        autocompletion=complete_definition,
    ),
]
SourceName = Annotated[
    str, typer.Argument(metavar="UUID|NAME", help="A raster source.", show_default=False)
]
DEFAULT_CONFIG = Path("sources.toml")
ReadBy = Annotated[
    Runner | None,
    typer.Option("--runner", help="What reads files; default: RASTERSOURCES_RUNNER, or processes."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="The Dask scheduler, such as tcp://10.0.0.5:8786.", metavar="ADDRESS"),
]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Continue even if very many files are missing.")
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune", help="First remove the sources of definitions that the file no longer has."
    ),
]
Pool = Annotated[str, typer.Option(help="A work pool of type process.", metavar="NAME")]
Crs = Annotated[
    str | None,
    typer.Option("--crs", help="CRS of files without a CRS, such as EPSG:CODE.", metavar="CRS"),
]
CrsOverride = Annotated[
    bool, typer.Option("--crs-override", help="Use --crs even for files with another CRS.")
]
Nodata = Annotated[
    str | None,
    typer.Option(
        "--nodata", help="Nodata value of files without one, such as -9999 or nan.", metavar="VALUE"
    ),
]
