"""Export of STAC GeoParquet: items/s and memory, beside PostgreSQL that only writes the items as JSON."""

from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import cast

from benchmarks.cluster import COMMAND, Database
from benchmarks.measure import Figures, Results, Work, measure_command, seconds


def measure_exports(results: Results, database: Database, target: Path, rounds: int) -> None:
    """Measure the first export of a catalogue, an export without changes, and one after a change."""
    ((items,),) = cast("list[tuple[int]]", database.execute("SELECT count(*) FROM stac_items"))
    environment = {**database.ours, "RASTERSOURCES_ASSET_URLS": "s3://bucket/=https://example.org/"}

    def export() -> Figures:
        command = [*COMMAND, "export", "geoparquet", target, "--quiet"]
        elapsed, memory = measure_command(command, environment)
        return {"items/s": items / elapsed, "largest_MiB": memory / 2**20}

    def first() -> Figures:
        rmtree(target, ignore_errors=True)
        return export()

    def after_a_change() -> Figures:
        database.execute(
            "UPDATE raster_files SET registered = now() WHERE id = (SELECT min(id) FROM stac_items)"
        )
        return export()

    works: dict[str, Work] = {
        "ours": first,
        "JSON alone": lambda: {"items/s": items / seconds(partial(copy_items, database))},
    }
    results.compare("export", "GeoParquet", "items/s", items, works, rounds)
    results.compare("export", "unchanged", "items/s", items, {"ours": export}, rounds)
    results.compare(
        "export", "one file changed", "items/s", items, {"ours": after_a_change}, rounds
    )


def copy_items(database: Database) -> None:
    """Let one process of PostgreSQL write all items as text, and throw them away."""
    with (
        database.connect() as connection,
        connection.cursor().copy("COPY (SELECT item::text FROM stac_items) TO STDOUT") as lines,
    ):
        for _ in lines:
            pass
