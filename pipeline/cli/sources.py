"""The commands of the command line that look at source definitions, and at what their sources lack."""

import typer

from pipeline.cli.gaps import gaps
from pipeline.cli.options import DEFAULT_CONFIG, ConfigFile
from pipeline.cli.terminal import echo

sources = typer.Typer(
    help="The definitions of a sources.toml, and what their raster sources lack.",
    no_args_is_help=True,
)
sources.command("gaps")(gaps)


@sources.command("check")
def check(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Say whether a sources.toml is right; exit status 1, and each wrong field with its line, when it is not."""
    from pipeline.definitions.check import config_warnings
    from pipeline.definitions.sources_toml import load_config

    found = load_config(config)
    for warning in config_warnings(found, config.absolute().parent):
        echo(f"warning: {warning}", err=True)
    number = len(found.source) + len(found.drop)
    echo("1 definition is right" if number == 1 else f"{number} definitions are right")


@sources.command("schema")
def schema() -> None:
    """Print the JSON Schema of a sources.toml, by which editors complete and check it."""
    from pipeline.definitions.json_schema import schema_text

    typer.echo(schema_text(), nl=False)
