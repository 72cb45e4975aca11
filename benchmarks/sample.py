"""The requests of the benchmarks of lists: a random choice of records in the catalogue."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cluster import Database

Paths = Mapping[str, Sequence[str]]
"""Case -> the paths that are requested at random."""
MATCHES = 1000
"""Records in a box of the case `bbox of 1,000`, whose boxes are smaller in a larger catalogue."""


@dataclass(frozen=True)
class Sample:
    """A random choice of records in the catalogue, and the boxes and pages that are requested."""

    rows: int
    boxes: list[str]
    large_boxes: list[str]
    names: list[str]
    uuids: list[str]
    organisations: list[str]
    pages: list[int]


def draw_sample(database: Database, rows: int) -> Sample:
    """Draw boxes, parts of names, and uuids of public records."""
    draw = random.Random(11)
    ids = [draw.randrange(rows) + 1 for _ in range(min(4000, 3 * rows))]
    records = database.execute(
        "SELECT CAST(uuid AS text), name FROM made.records WHERE access_modifier = 0 AND id = ANY (%s) ORDER BY id",
        ids,
    )
    names = []
    for _, name in records[:1500]:
        length = draw.randint(6, 10)
        start = draw.randrange(len(str(name)) - length + 1)
        names.append(str(name)[start : start + length].strip().lower())
    ((public,),) = database.execute("SELECT count(*) FROM made.records WHERE access_modifier = 0")
    side = side_of_box(database)
    last = max(1, min(1000, int(str(public)) // 10))
    return Sample(
        rows=rows,
        boxes=[box(draw, 0.01) for _ in range(5000)],
        large_boxes=[box(draw, side) for _ in range(1000)],
        names=names,
        uuids=[str(uuid) for uuid, _ in records],
        organisations=[
            str(uuid)
            for (uuid,) in database.execute("SELECT uuid FROM made.organisations ORDER BY id")
        ],
        pages=list(range(max(1, last - 49), last + 1)),
    )


def box(draw: random.Random, side: float) -> str:
    """Return a square inside the Netherlands."""
    west, south = draw.uniform(3.4, 7.0 - side), draw.uniform(50.8, 53.4 - side)
    return f"{west:.6f},{south:.6f},{west + side:.6f},{south + side:.6f}"


def side_of_box(database: Database) -> float:
    """Return the side of squares that some 1,000 public records meet, measured in the middle of the country."""
    query = (
        "SELECT count(*) FROM drf.raster_source WHERE access_modifier = 0"
        " AND bounds && ST_Expand(ST_SetSRID(ST_MakePoint(5.2, 52.1), 4326), %s)"
    )
    small, large = 0.0, 2.0
    for _ in range(20):
        middle = (small + large) / 2
        ((count,),) = database.execute(query, middle / 2)
        small, large = (small, middle) if int(str(count)) > MATCHES else (middle, large)
    return min(small, 1.5)
