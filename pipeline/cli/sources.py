"""The commands that check the definitions of a sources.toml, and find gaps in their sources."""

from typing import TYPE_CHECKING

import typer

from pipeline.cli import options
from pipeline.cli.gaps import gaps
from pipeline.cli.terminal import echo, print_document, print_rows
from pipeline.definitions.durations import format_interval

if TYPE_CHECKING:
    from pipeline.definitions.definition import CommonFields

sources = typer.Typer(
    help="The definitions of a sources.toml, and the gaps of their raster sources.",
    no_args_is_help=True,
)
sources.command("gaps")(gaps)


@sources.command("check")
def check(config: options.ConfigFile = options.DEFAULT_CONFIG) -> None:
    """Check a sources.toml; if it has errors, print each wrong field with its line, and exit with 1."""
    from pipeline.definitions.definition_warnings import config_warnings
    from pipeline.definitions.sources_toml import load_config

    definitions = load_config(config)
    for warning in config_warnings(definitions, config.absolute().parent):
        echo(f"warning: {warning}", err=True)
    count = len(definitions.source) + len(definitions.drop)
    echo("1 definition is valid" if count == 1 else f"{count} definitions are valid")


@sources.command("list")
def list_definitions(
    config: options.ConfigFile = options.DEFAULT_CONFIG,
    as_json: options.AsJson = False,
) -> None:
    """List the definitions and drop folders of a sources.toml, with their files and schedules.

    This needs no database.
    """
    from pipeline.definitions.sources_toml import load_config

    definitions = load_config(config)
    if as_json:
        for kind, tables in (("source", definitions.source), ("drop", definitions.drop)):
            for table in tables:
                fields = table.model_dump(mode="json", exclude_defaults=True)
                print_document({"kind": kind, **fields})
        return
    rows: list[tuple[object, ...]] = [
        (each.id, "source", each.files, each.organisation, each.access_modifier, when(each))
        for each in definitions.source
    ]
    rows += [
        (drop.id, "drop", drop.folder, drop.organisation, None, when(drop))
        for drop in definitions.drop
    ]
    print_rows(("id", "kind", "files", "organisation", "access", "runs"), rows)


def when(table: "CommonFields") -> str:
    """Return when a definition is synced."""
    if table.every is not None:
        return f"every {format_interval(table.every)}"
    return str(table.schedule or "by hand")


@sources.command("schema")
def schema() -> None:
    """Print the JSON Schema of a sources.toml; editors use it to complete and check the file."""
    from pipeline.definitions.json_schema import schema_text

    typer.echo(schema_text(), nl=False)
