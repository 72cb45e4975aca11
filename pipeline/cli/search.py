"""The command that searches raster sources, with the filters of the API as options."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from inspect import Parameter, Signature
from itertools import islice
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pipeline.cli.bootstrap import open_catalogue
from pipeline.cli.completion import complete_access, complete_organisation, complete_user
from pipeline.cli.options import AsJson
from pipeline.cli.terminal import echo, is_terminal, print_document, print_rows
from pipeline.errors import CatalogueError
from pipeline.settings import settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row

    from pipeline.catalogue.access import Caller

ROWS_IN_A_TABLE = 100
COLUMNS = "uuid", "name", "organisation", "access", "projection", "from", "to", "bytes", "files"
TABLE_COLUMNS = (
    "name",
    "organisation",
    "access",
    "projection",
    "from",
    "to",
    "files",
    "bytes",
    "uuid",
)
"""Of the table in a terminal; the last two are there if it is wide."""
WIDE = 150
"""Characters of a terminal in which long names and all columns have room."""
ALIASES = {
    "since": ("last_value_timestamp__gte", "Has data at or after this time."),
    "until": ("first_value_timestamp__lte", "Has data at or before this time."),
    "changed_since": ("last_modified__gte", "Changed at or after this time."),
}
"""Short names of frequently used filters."""


COMPLETIONS = {
    "access_modifier": complete_access,
    "organisation__name": complete_organisation,
    "supplier": complete_user,
}
"""What completes the value of a filter."""


class SearchCommand(TyperCommand):
    """A command with an option for each filter of the API; the filters are imported when the command is used."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the command, then those of the filters; the help shows each filter once."""
        return [*super().get_params(ctx), *filter_options(completing=ctx.resilient_parsing)]

    def invoke(self, ctx: Any) -> Any:
        """Store the filters in `ctx.obj`, because the function of the command has no parameters for them.

        Raises CatalogueError for a value that only the database can check, such as a regular expression.
        """
        from psycopg.errors import DataError
        from sqlalchemy.exc import DBAPIError

        from pipeline.database.connection_errors import database_reason

        names = {option.name for option in filter_options()}
        ctx.obj = {name: ctx.params.pop(name) for name in names if name in ctx.params}
        try:
            return super().invoke(ctx)
        except DBAPIError as error:
            if not isinstance(error.orig, DataError):
                raise
            raise CatalogueError(f"a value is not usable: {database_reason(error)}") from error


@cache
def filter_options(*, completing: bool = False) -> list[Any]:
    """Return the options of all filters and lookups; options with a lookup are hidden, except for completion."""
    from typer.main import get_command

    from pipeline.catalogue.filters import RASTER_SOURCES, parameter_name

    texts: dict[str, tuple[str, bool]] = {
        name: (help, False) for name, (_, help) in ALIASES.items()
    }
    for field in RASTER_SOURCES:
        lookups = [lookup for lookup in field.kind.lookups if lookup]
        plain = next(iter(field.kind.lookups))
        also = f" Also with: -{', -'.join(lookups)}." if lookups else ""
        for lookup in field.kind.lookups:
            texts[parameter_name(field.name, lookup)] = f"{field.help}{also}", lookup != plain

    def command() -> None:
        """Dummy command that has these options."""

    command.__annotations__ = {
        name: Annotated[
            str | None,
            typer.Option(
                option_name(name), help=help, hidden=hidden and not completing, metavar="VALUE",
                autocompletion=COMPLETIONS.get(name),
            ),
        ]
        for name, (help, hidden) in texts.items()
    }  # fmt: skip
    command.__signature__ = Signature([  # type: ignore[attr-defined]
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in command.__annotations__.items()
    ])  # fmt: skip
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(command)
    return list(get_command(app).params)


def option_name(parameter: str) -> str:
    """Return the option for a query parameter: `--name-icontains` for `name__icontains`."""
    return "--" + parameter.replace("__", "-").replace("_", "-")


def search(
    context: typer.Context,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    as_geojson: Annotated[
        bool, typer.Option("--geojson", help="Print a GeoJSON FeatureCollection of the extents.")
    ] = False,
    count: Annotated[bool, typer.Option("--count", help="Print the number of sources.")] = False,
    ordering: Annotated[
        str,
        typer.Option(help="Columns to sort by, such as name,-size; - reverses.", metavar="NAMES"),
    ] = "",
    limit: Annotated[
        int | None, typer.Option(help="Print at most this many sources.", min=0, max=2**31 - 1)
    ] = None,
    as_user: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Search what this user may see; default: everything.",
            metavar="USERNAME",
            autocompletion=complete_user,
        ),
    ] = None,
) -> None:
    """Search the raster sources of the catalogue, with the filters of the API.

    Without a format, a terminal shows a table of at most 100 sources; a pipe gets a line of tab-separated values for
    each source.
    """
    from pipeline.catalogue import search as catalogue
    from pipeline.catalogue.lookups import BadValue
    from pipeline.database.engine import begin

    formats = {print_json: as_json, print_csv: as_csv, print_geojson: as_geojson}
    if sum(formats.values()) + count > 1:
        raise CatalogueError("choose one of --json, --csv, --geojson and --count")
    write = next((write for write, chosen in formats.items() if chosen), None)
    in_table = write is None and is_terminal() and limit is None
    tests = read_filters(context.obj)
    with open_catalogue(settings()) as engine, begin(engine) as connection:
        caller = catalogue.find_caller(connection, as_user)
        conditions = [test(caller) for test in tests]
        if count:
            typer.echo(catalogue.count_sources(connection, caller, conditions))
            return
        most = ROWS_IN_A_TABLE + 1 if in_table else limit
        try:
            statement = catalogue.sources_statement(caller, conditions, ordering, most)
        except BadValue as error:
            raise wrong_value("--ordering", ordering, error) from error
        rows = catalogue.stream(connection, statement)
        (write or partial(print_table, in_table=in_table))(rows)


def wrong_value(option: str, text: str, error: CatalogueError) -> CatalogueError:
    """Return the error of the API for a wrong value, with the name of the option."""
    sentence = str(error).rstrip(".")
    return CatalogueError(f'{option} "{text}": {sentence[0].lower()}{sentence[1:]}')


def read_filters(
    texts: dict[str, str | None],
) -> "list[Callable[[Caller], ColumnElement[bool]]]":
    """Return the conditions of the given filters; an empty value does not filter, as in the API.

    Raises CatalogueError that names the option with a wrong value.
    """
    from pipeline.catalogue.filters import RASTER_SOURCES, filters_by_parameter
    from pipeline.catalogue.lookups import BadValue

    known = filters_by_parameter(RASTER_SOURCES)
    tests: list[Callable[[Caller], ColumnElement[bool]]] = []
    for name, text in texts.items():
        if not text:
            continue
        field, lookup = known[ALIASES[name][0] if name in ALIASES else name]
        try:
            tests.append(partial(field.condition, field.parse(lookup, text.strip())))
        except BadValue as error:
            raise wrong_value(option_name(name), text, error) from error
    return tests


def print_json(rows: "Iterable[Row[Any]]") -> None:
    """Print one JSON object per line."""
    from pipeline.catalogue.search import source_document

    for row in rows:
        print_document(source_document(row))


def print_csv(rows: "Iterable[Row[Any]]") -> None:
    """Print CSV: times are in ISO 8601, unknown values are empty."""
    from pipeline.catalogue.search import SHOWN, plain_value, source_values

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(SHOWN)
    for row in rows:
        writer.writerow([plain_value(value) for value in source_values(row).values()])


def print_geojson(rows: "Iterable[Row[Any]]") -> None:
    """Print a FeatureCollection with one feature on each line."""
    import orjson

    from pipeline.catalogue.search import source_document

    typer.echo('{"type":"FeatureCollection","features":[', nl=False)
    for number, row in enumerate(rows):
        feature = {
            "type": "Feature",
            "id": str(row.uuid),
            "geometry": row.geometry and orjson.Fragment(row.geometry),
            "properties": source_document(row),
        }
        line = orjson.dumps(feature, option=orjson.OPT_UTC_Z).decode()
        typer.echo(("," if number else "") + "\n" + line, nl=False)
    typer.echo("\n]}")


def print_table(rows: "Iterator[Row[Any]]", *, in_table: bool) -> None:
    """Print the columns that identify sources; a terminal shows only the first rows, to save memory."""
    if not is_terminal():
        print_rows(COLUMNS, map(cells, rows))
        return
    shown = list(islice(rows, ROWS_IN_A_TABLE) if in_table else rows)
    if not shown:
        echo("no raster source matches", err=True)
        return
    count = None if get_terminal_size().columns >= WIDE else -2
    print_rows(TABLE_COLUMNS[:count], [table_cells(row)[:count] for row in shown])
    if in_table and next(rows, None) is not None:
        echo(
            f"only the first {ROWS_IN_A_TABLE} are shown; --limit N prints more, --count counts all",
            err=True,
        )


def table_cells(row: "Row[Any]") -> Sequence[object]:
    """Return a row of the table in a terminal, with days instead of times."""
    uuid, name, organisation, access, projection, first, last, size, files = cells(row)
    days = [str(time or "")[:10] for time in (first, last)]
    return [name, organisation, access, projection, *days, files, size, uuid]


def cells(row: "Row[Any]") -> Sequence[object]:
    """Return a row for a pipe."""
    from pipeline.catalogue.search import plain_value, source_values

    source = source_values(row)
    first, last = plain_value(row.first_value_timestamp), plain_value(row.last_value_timestamp)
    names = "uuid", "name", "organisation", "access_modifier", "projection"
    return [*(source[name] for name in names), first, last, row.size, row.file_count]
