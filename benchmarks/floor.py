"""The floor of lists: PostgreSQL makes the body of an answer in one prepared statement, without HTTP.

It works on the tables of the Django REST Framework service, and shows what the web costs. A cheaper count can beat it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.cluster import Database, programs, run
from benchmarks.load import CONNECTIONS
from benchmarks.measure import Figures, quantile, seconds
from benchmarks.sample import Sample

PAGE = """
SELECT json_build_object('next', NULL, 'previous', NULL,
    'count', (SELECT count(*) FROM drf.raster_source AS r WHERE access_modifier = 0 AND {where}),
    'results', (
        SELECT json_agg(drf.record(page, owner)) FROM (
            SELECT * FROM drf.raster_source AS r WHERE access_modifier = 0 AND {where}
            ORDER BY {order} OFFSET {offset} LIMIT 10) AS listed
        JOIN drf.raster_source AS page USING (id)
        JOIN drf.organisation AS owner ON owner.id = page.organisation_id))::text;
"""
DETAIL = """
SELECT drf.record(page, owner)::text FROM drf.raster_source AS page
JOIN drf.organisation AS owner ON owner.id = organisation_id
WHERE page.uuid = md5('raster source' || :n::text)::uuid AND access_modifier = 0;
"""
IN_BOX = "bounds && ST_MakeEnvelope(:x / 1e6, :y / 1e6, :x / 1e6 + {side}, :y / 1e6 + {side}, 4326)"
OWNED = "organisation_id = (SELECT id FROM drf.organisation WHERE uuid = md5('organisation' || :n::text)::uuid)"
FEW = 10
"""Transactions of each connection in less than a second."""
WEST, SOUTH, EAST, NORTH = 3.4, 50.8, 7.0, 53.4


def floor_scripts(sample: Sample) -> Mapping[str, str]:
    """Return a script of pgbench for each case."""
    boxes = {"bbox": sample.boxes, "bbox of 1,000": sample.large_boxes}
    pages = f"\\set n random({sample.pages[0]}, {sample.pages[-1]})"
    return {
        "uuid": f"\\set n random(1, {sample.rows}){DETAIL}",
        "organisation": "\\set n random(1, 50)" + page(OWNED, "last_modified DESC"),
        "deep pages": pages + page(offset="(:n::int - 1) * 10"),
        "first page": page(),
        **{case: boxes_script(examples[0]) for case, examples in boxes.items()},
    }


def page(where: str = "true", order: str = "r.id", offset: str = "0") -> str:
    """Return the statement of a page."""
    return PAGE.format(where=where, order=order, offset=offset)


def boxes_script(example: str) -> str:
    """Return a script for boxes of the size of an example."""
    west, _, east, _ = map(float, example.split(","))
    side = east - west
    corner = [f"\\set x random({WEST * 1e6:.0f}, {(EAST - side) * 1e6:.0f})",
              f"\\set y random({SOUTH * 1e6:.0f}, {(NORTH - side) * 1e6:.0f})"]  # fmt: skip
    return "\n".join(corner) + page(IN_BOX.format(side=side))


def pgbench(database: Database, script: str, duration: float) -> Figures:
    """Return the transactions/s and latencies of a script; pgbench counts in whole seconds, or in transactions."""
    length = ["-T", f"{duration:.0f}"] if round(duration) else ["-t", str(FEW)]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "script.sql").write_text(script)
        command = [
            programs() / "pgbench", "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "2", "-f", "script.sql",
            "--log", "--log-prefix=times", *length,
        ]  # fmt: skip
        elapsed = seconds(lambda: run(command, database.peers, Path(folder)))
        lines = [
            line for log in Path(folder).glob("times.*") for line in log.read_text().splitlines()
        ]
    times = [int(line.split()[2]) / 1000 for line in lines]
    rate = len(times) / (round(duration) or elapsed)
    return {"req/s": rate, "p50_ms": quantile(times, 0.5), "p99_ms": quantile(times, 0.99)}
