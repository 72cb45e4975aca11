"""The commands that check the definitions of a sources.toml, and find gaps in their sources."""

import typer

from pipeline.cli import options
from pipeline.cli.gaps import gaps
from pipeline.cli.terminal import echo

sources = typer.Typer(
    help="The definitions of a sources.toml, and the gaps of their raster sources.",
    no_args_is_help=True,
)
sources.command("gaps")(gaps)


@sources.command("check")
def check(config: options.ConfigFile = options.DEFAULT_CONFIG) -> None:
    """Check a sources.toml; if it is wrong, print each wrong field with its line, and exit with 1."""
    from pipeline.definitions.check import config_warnings
    from pipeline.definitions.sources_toml import load_config

    definitions = load_config(config)
    for warning in config_warnings(definitions, config.absolute().parent):
        echo(f"warning: {warning}", err=True)
    count = len(definitions.source) + len(definitions.drop)
    echo("1 definition is right" if count == 1 else f"{count} definitions are right")


@sources.command("schema")
def schema() -> None:
    """Print the JSON Schema of a sources.toml, with which editors complete and check it."""
    from pipeline.definitions.json_schema import schema_text

    typer.echo(schema_text(), nl=False)
