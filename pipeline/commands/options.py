"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
