"""The command that reads files and prints their metadata, without a database."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import typer

from pipeline.cli import options
from pipeline.cli.bootstrap import read_options
from pipeline.errors import Rejection
from pipeline.settings import settings

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Files, folders with everything below them, or file:// and s3:// URLs.",
    ),
]


def inspect(
    paths: Paths,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Also read pixels, from an overview if there is one.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Like --stats, but read every pixel.")
    ] = False,
    crs: options.Crs = None,
    crs_override: options.CrsOverride = False,
    nodata: options.Nodata = None,
    jobs: Annotated[int, typer.Option("-j", help="Processes that read.", min=1, max=256)] = 1,
) -> None:
    """Read files and print their metadata, without a database; exit status 1 if a file was rejected."""
    from pipeline.cli.inspection import inspect_raster
    from pipeline.cli.inspection_output import print_json, print_table
    from pipeline.cli.progress import PixelBars
    from pipeline.raster import ProcessReader
    from pipeline.raster.stated_values import check_assigned_values
    from pipeline.storage import EVERYWHERE, list_files, literal_location

    configured = settings()
    assigned = check_assigned_values(crs, nodata, override=crs_override)
    look: Literal["overview", "exact"] | None = "exact" if exact else "overview" if stats else None
    reading = replace(read_options(configured), statistics=look, assigned=assigned)
    locations = [literal_location(path) for path in paths]
    files = list_files(locations, configured.roots or EVERYWHERE, repeat=True)
    convert = partial(inspect_raster, stats=look is not None)
    rejected = False
    with ProcessReader(jobs, convert) as reader, PixelBars() as bars:
        for outcome in reader.read(files, reading, bars.update):
            bars.hide()
            (print_json if as_json else print_table)(outcome)
            rejected |= isinstance(outcome, Rejection)
    raise SystemExit(1 if rejected else 0)
