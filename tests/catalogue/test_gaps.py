"""The report of gaps, compared with gaps by hand and by counting pixels."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import shapely
from affine import Affine
from pyproj import CRS
from shapely import affinity
from sqlalchemy import Engine, text

from pipeline.catalogue.gaps import Gaps, find_gaps
from pipeline.errors import CatalogueError
from pipeline.raster.placement.georeference import georeference_stored_grid

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
RD = CRS.from_epsg(28992).to_wkt()
CORNER = (150_000.0, 460_000.0)
"""Upper left corner of the mosaics; their pixels are ten metres."""

ADD_OWNER = "INSERT INTO organisations (name) VALUES ('Owner') ON CONFLICT (name) DO NOTHING"
ADD_SOURCE = """
    INSERT INTO raster_sources (name, organisation_id, temporal, declared_interval, definition, group_key)
    SELECT :name, id, :temporal, :interval, :definition, :group FROM organisations WHERE name = 'Owner'
    RETURNING id
"""
ADD_SYSTEM = """
    INSERT INTO coordinate_systems (wkt, projection) VALUES (:wkt, :projection) ON CONFLICT (wkt_md5) DO NOTHING
"""
ADD_FILE = """
    INSERT INTO raster_files (
        source_id, uri, fingerprint, size, width, height, band_count, transform, coordinate_system_id, rotated,
        origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, west, south, east, north, footprint,
        operation_name, proj_version, dtype, bands, times, area_or_point, layout, state)
    SELECT :source, 'file:///' || :number, 'f', 1, :width, :height, 1, :transform, system.id, :rotated,
        :origin_x, :origin_y, :upper_bound_x, :upper_bound_y, :pixelsize_x, :pixelsize_y, :west, :south, :east, :north,
        ST_GeomFromText('MULTIPOLYGON EMPTY', 4326), 'any', '9', 'f4', '[]', :times, 'Area', '{}', :state
    FROM coordinate_systems AS system WHERE wkt = :wkt
"""


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM raster_sources"))


class Source:
    """A raster source whose files are added as rows."""

    def __init__(
        self, engine: Engine, name: str = "Source", *, interval: timedelta | None = None,
        temporal: bool = False, definition: str | None = None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.name = name
        self.count = 0
        self._files: list[dict[str, Any]] = []
        values = {
            "name": name,
            "interval": interval,
            "temporal": temporal,
            "definition": definition,
            "group": definition and name,
        }
        with engine.begin() as connection:
            connection.execute(text(ADD_OWNER))
            self.id = connection.execute(text(ADD_SOURCE), values).scalar_one()

    def add(
        self, column: float, row: float, width: int, height: int, *times: datetime, state: str = "present"
    ) -> None:  # fmt: skip
        """Add a file whose upper left corner is this many pixels from CORNER."""
        x, y = CORNER[0] + 10 * column, CORNER[1] - 10 * row
        self.add_with_grid(Affine(10, 0, x, 0, -10, y), width, height, *times, state=state)

    def add_with_grid(
        self, transform: Affine, width: int, height: int, *times: datetime, state: str = "present",
        wkt: str = RD, projection: str = "EPSG:28992",
    ) -> None:  # fmt: skip
        """Add a file with any grid."""
        self.count += 1
        georeference = georeference_stored_grid(transform, width, height, wkt)
        fields = (
            "rotated",
            "origin_x",
            "origin_y",
            "upper_bound_x",
            "upper_bound_y",
            "pixelsize_x",
            "pixelsize_y",
        )
        self._files.append({
            "source": self.id, "number": str(self.count), "width": width, "height": height,
            "transform": list(georeference.transform[:6]), "times": sorted(times), "state": state, "wkt": wkt,
            "projection": projection, **vars(georeference.bounds),
            **{name: getattr(georeference, name) for name in fields},
        })  # fmt: skip

    def gaps(self) -> Gaps:
        """Return the report of its gaps."""
        with self.engine.begin() as connection:
            connection.execute(text(ADD_SYSTEM), self._files)
            connection.execute(text(ADD_FILE), self._files)
            connection.execute(
                text("SELECT derive_sources(ARRAY[:id]::bigint[])"), {"id": self.id}
            ).all()
        self._files = []
        (gaps,) = find_gaps(self.engine, self.name, "lizard")
        return gaps


def times_at(*minutes: float) -> list[datetime]:
    return [NOON + timedelta(minutes=minute) for minute in minutes]


def missing_runs(gaps: Gaps) -> list[tuple[float, float, int]]:
    """Return the first and last missing step of each run in minutes after noon, and the number of steps."""
    assert gaps.series is not None
    return [
        ((run.first - NOON) / timedelta(minutes=1), (run.last - NOON) / timedelta(minutes=1), run.steps)
        for run in gaps.series.missing
    ]  # fmt: skip


def box(column: float, row: float, width: float, height: float) -> tuple[float, ...]:
    """Return a box given in pixels in coordinates of the CRS."""
    x, y = CORNER[0] + 10 * column, CORNER[1] - 10 * row
    return (x, y - 10 * height, x + 10 * width, y)


def test_missing_steps_are_reported_run_by_run(engine: Engine) -> None:
    source = Source(engine, interval=timedelta(minutes=5), temporal=True)
    for step in times_at(0, 5, 30, 35, 45):
        source.add(0, 0, 10, 10, step)
    gaps = source.gaps()
    assert missing_runs(gaps) == [(10, 25, 4), (40, 40, 1)]
    assert gaps.series is not None
    assert (gaps.series.steps, gaps.series.missing_steps, gaps.series.declared) == (5, 5, True)
    assert gaps.series.off_grid == ()
    assert not gaps.complete


def test_the_most_frequent_interval_counts_if_none_is_declared(engine: Engine) -> None:
    source = Source(engine, temporal=True)
    source.add(0, 0, 10, 10, *times_at(0, 10, 20, 50))
    source.add(0, 0, 10, 10, *times_at(50, 60, 90))
    gaps = source.gaps()
    assert gaps.series is not None
    assert (gaps.series.interval, gaps.series.declared) == (timedelta(minutes=10), False)
    assert missing_runs(gaps) == [(30, 40, 2), (70, 80, 2)]


def test_two_steps_without_a_declared_interval_are_not_compared(engine: Engine) -> None:
    source = Source(engine, temporal=True)
    source.add(0, 0, 10, 10, *times_at(0))
    source.add(0, 0, 10, 10, *times_at(60))
    assert source.gaps().series is None


def test_a_declared_interval_gives_the_missing_steps_between_two(engine: Engine) -> None:
    source = Source(engine, interval=timedelta(minutes=20), temporal=True)
    source.add(0, 0, 10, 10, *times_at(0, 60))
    assert missing_runs(source.gaps()) == [(20, 40, 2)]


def test_steps_off_the_most_common_grid_are_listed(engine: Engine) -> None:
    source = Source(engine, interval=timedelta(minutes=5), temporal=True)
    source.add(0, 0, 10, 10, *times_at(0.5, 5, 10, 14.5, 20, 25.5))
    gaps = source.gaps()
    assert gaps.series is not None
    assert list(gaps.series.off_grid) == times_at(0.5, 14.5, 25.5)
    assert missing_runs(gaps) == [(15, 15, 1), (25, 25, 1)]
    assert [warning.code for warning in gaps.warnings] == ["interval_contradicted"]


def test_a_step_with_only_missing_files_is_missing(engine: Engine) -> None:
    source = Source(engine, interval=timedelta(minutes=5), temporal=True)
    for minute in (0, 5, 10):
        source.add(0, 0, 10, 10, *times_at(minute), state="present" if minute < 10 else "missing")
    gaps = source.gaps()
    assert missing_runs(gaps) == [(10, 10, 1)]
    assert (gaps.files, gaps.missing_files, gaps.steps) == (3, 1, 2)


def test_a_static_source_of_one_file_is_complete(engine: Engine) -> None:
    source = Source(engine)
    source.add(0, 0, 10, 10)
    gaps = source.gaps()
    assert gaps.complete
    assert (gaps.series, gaps.holes.count, gaps.tiles) == (None, 0, None)


def test_a_missing_tile_is_a_hole_with_files_all_around(engine: Engine) -> None:
    source = Source(engine)
    for column in range(3):
        for row in range(3):
            if (column, row) != (1, 1):
                source.add(100 * column, 50 * row, 100, 50)
    gaps = source.gaps()
    (hole,) = gaps.holes.largest
    assert gaps.holes.count == 1
    assert hole.box == box(100, 50, 100, 50)
    assert hole.pixels == pytest.approx(5_000)
    assert not hole.at_edge
    assert len(hole.rings) == 1
    assert len(hole.rings[0]) == 5
    expected = georeference_stored_grid(Affine(10, 0, 151_000, 0, -10, 459_500), 100, 50, RD).bounds
    assert vars(hole.bounds) == pytest.approx(vars(expected), abs=1e-12)


def test_holes_at_the_edge_may_have_any_outline(engine: Engine) -> None:
    source = Source(engine)
    source.add(0, 0, 10, 10)
    source.add(20, 10, 10, 10)
    (hole,) = source.gaps().holes.largest
    assert (hole.box, hole.at_edge) == (box(0, 0, 30, 20), True)
    assert hole.pixels == pytest.approx(400)
    corners = [(10, 0), (30, 0), (30, 10), (20, 10), (20, 20), (0, 20), (0, 10), (10, 10)]
    x, y = CORNER
    assert set(hole.rings[0]) == {(x + 10 * column, y - 10 * row) for column, row in corners}
    source.add(10, 0, 10, 20)
    assert [hole.box for hole in source.gaps().holes.largest] == [
        box(0, 10, 10, 10),
        box(20, 0, 10, 10),
    ]


def test_a_file_inside_a_hole_is_a_ring_of_it(engine: Engine) -> None:
    source = Source(engine)
    for column, row, width, height in (
        (0, 0, 30, 10),
        (0, 20, 30, 10),
        (0, 10, 5, 10),
        (25, 10, 5, 10),
    ):
        source.add(column, row, width, height)
    source.add(12, 13, 4, 2)
    (hole,) = source.gaps().holes.largest
    assert (hole.box, hole.at_edge) == (box(5, 10, 20, 10), False)
    assert hole.pixels == pytest.approx(200 - 8)
    assert len(hole.rings) == 2


def test_a_missing_file_leaves_a_hole(engine: Engine) -> None:
    source = Source(engine)
    source.add(0, 0, 10, 10)
    source.add(10, 0, 10, 10, state="missing")
    (hole,) = source.gaps().holes.largest
    assert hole.box == box(10, 0, 10, 10)


def test_a_source_with_only_missing_files_is_one_hole(engine: Engine) -> None:
    source = Source(engine)
    source.add(0, 0, 10, 10, state="missing")
    (hole,) = source.gaps().holes.largest
    assert hole.box == box(0, 0, 10, 10)


@pytest.mark.parametrize(("distance", "holes"), [(0.0, 0), (0.45, 0), (0.55, 1)])
def test_neighbours_less_than_half_a_pixel_apart_leave_no_sliver(
    engine: Engine, distance: float, holes: int
) -> None:
    source = Source(engine)
    source.add(0, 0, 100, 100)
    source.add(100 + distance, 0, 100, 100)
    assert source.gaps().holes.count == holes


def test_a_shorter_neighbour_at_the_edge_leaves_no_sliver(engine: Engine) -> None:
    source = Source(engine)
    source.add(0, 0, 100, 100)
    source.add(100, 0.4, 100, 100)
    assert source.gaps().holes.count == 0


def test_rotated_files_have_holes_along_their_own_grid(engine: Engine) -> None:
    turned = Affine.translation(*CORNER) @ Affine.rotation(30) @ Affine.scale(10, -10)
    source = Source(engine)
    for column in (0, 2):
        source.add_with_grid(turned @ Affine.translation(20 * column, 0), 20, 20)
    gaps = source.gaps()
    (hole,) = gaps.holes.largest
    assert hole.pixels == pytest.approx(400)
    corners = [turned @ corner for corner in ((20, 0), (40, 0), (40, 20), (20, 20))]
    for corner, expected in zip(sorted(hole.rings[0][:4]), sorted(corners), strict=True):
        assert corner == pytest.approx(expected)


def test_files_with_different_rotations_share_one_box(engine: Engine) -> None:
    source = Source(engine)
    for angle in (20, -20):
        around = Affine.translation(*CORNER) @ Affine.rotation(angle) @ Affine.scale(10, -10)
        source.add_with_grid(around @ Affine.translation(-50, -50), 100, 100)
    holes = source.gaps().holes
    # The union is a star of eight points. Its box leaves four corners, and a notch on each side.
    assert holes.count == 8
    assert all(hole.at_edge for hole in holes.largest)
    squares = [affinity.rotate(shapely.box(0, 0, 100, 100), angle) for angle in (20, -20)]
    union = shapely.union_all(squares)
    assert holes.pixels == pytest.approx(union.envelope.area - union.area, rel=1e-3)


def test_both_sides_of_the_antimeridian_meet(engine: Engine) -> None:
    source = Source(engine)
    wgs84 = CRS.from_epsg(4326).to_wkt()
    for west in (177.0, 178.0, -180.0, -179.0):
        source.add_with_grid(
            Affine(0.1, 0, west, 0, -0.1, -17), 10, 10, wkt=wgs84, projection="EPSG:4326"
        )
    (hole,) = source.gaps().holes.largest
    assert hole.box == pytest.approx((179.0, -18.0, 180.0, -17.0))
    assert hole.bounds is not None
    assert vars(hole.bounds) == pytest.approx(
        {"west": 179, "south": -18, "east": 180, "north": -17}
    )


def add_series_of_tiles(source: Source, steps: int, missing: set[tuple[int, int]]) -> None:
    """Add four tiles of 10 x 10 pixels beside each other, every five minutes."""
    for step in range(steps):
        for tile in range(4):
            if (step, tile) not in missing:
                source.add(10 * tile, 0, 10, 10, *times_at(5 * step))


def incomplete_runs(gaps: Gaps) -> list[tuple[float, float, int, list[tuple[float, ...]]]]:
    assert gaps.tiles is not None
    return [
        (
            (run.first - NOON) / timedelta(minutes=1),
            (run.last - NOON) / timedelta(minutes=1),
            run.steps,
            [area.box for area in run.missing],
        )
        for run in gaps.tiles.incomplete
    ]


def test_steps_that_miss_tiles_are_reported_run_by_run(engine: Engine) -> None:
    source = Source(engine, temporal=True)
    add_series_of_tiles(source, 6, {(1, 0), (1, 2), (3, 3), (4, 3)})
    gaps = source.gaps()
    assert gaps.tiles is not None
    assert gaps.tiles.count == 4
    assert gaps.holes.count == 0
    assert incomplete_runs(gaps) == [
        (5, 5, 1, [box(0, 0, 10, 10), box(20, 0, 10, 10)]),
        (15, 20, 2, [box(30, 0, 10, 10)]),
    ]
    bounds = georeference_stored_grid(Affine(10, 0, 150_300, 0, -10, 460_000), 10, 10, RD).bounds
    assert gaps.tiles.incomplete[1].missing[0].bounds == bounds


def test_a_step_covered_by_other_files_misses_no_tile(engine: Engine) -> None:
    source = Source(engine, temporal=True)
    add_series_of_tiles(source, 4, {(2, 0), (2, 1), (2, 2), (3, 1), (3, 2)})
    source.add(0, 0, 30, 10, *times_at(10))  # one large file
    source.add(9.8, 0.2, 11, 10, *times_at(15))  # moved by less than half a pixel, and too short
    assert incomplete_runs(source.gaps()) == [(15, 15, 1, [box(20, 0, 10, 10)])]


def test_a_file_of_several_steps_is_a_tile_at_each(engine: Engine) -> None:
    source = Source(engine, temporal=True)
    source.add(0, 0, 10, 10, *times_at(0, 5, 10, 15))
    source.add(10, 0, 10, 10, *times_at(0, 5))
    source.add(10, 0, 10, 10, *times_at(15))
    assert incomplete_runs(source.gaps()) == [(10, 10, 1, [box(10, 0, 10, 10)])]


def test_files_without_a_common_place_are_not_compared(engine: Engine) -> None:
    source = Source(engine, temporal=True)
    for index in range(10):
        source.add(100 * index, 0, 10, 10, *times_at(index))
    gaps = source.gaps()
    assert gaps.tiles is not None
    assert (gaps.tiles.comparable, gaps.tiles.incomplete) == (False, ())


def test_sources_are_found_by_name_uuid_or_definition(engine: Engine) -> None:
    for index in range(3):
        source = Source(engine, f"Tile {index}", definition="mosaic" if index else None)
        source.add(0, 0, 10, 10)
        uuid = source.gaps().uuid
    assert [gaps.name for gaps in find_gaps(engine, "mosaic", "lizard")] == ["Tile 1", "Tile 2"]
    assert [gaps.name for gaps in find_gaps(engine, "Tile 0", "lizard")] == ["Tile 0"]
    assert [gaps.name for gaps in find_gaps(engine, uuid, "lizard")] == ["Tile 2"]
    with pytest.raises(CatalogueError, match="definition 'Tile'"):
        list(find_gaps(engine, "Tile", "lizard"))


def test_uuids_and_definitions_come_before_names(
    engine: Engine,
) -> None:
    Source(engine, "Tile", definition="mosaic")
    with engine.connect() as connection:
        uuid = str(connection.execute(text("SELECT uuid FROM raster_sources")).scalar_one())
    for name in (uuid, "mosaic"):
        Source(engine, name)
        assert [gaps.name for gaps in find_gaps(engine, name, "lizard")] == ["Tile"]


def test_a_source_without_files_has_no_gaps(engine: Engine) -> None:
    Source(engine, "Empty")
    (gaps,) = find_gaps(engine, "Empty", "lizard")
    assert gaps.complete


SIDE = 24
"""Pixels on each side of the random mosaics."""


@pytest.mark.parametrize("seed", range(12))
def test_holes_are_the_pixels_that_no_file_covers(engine: Engine, seed: int) -> None:
    random = Random(seed)
    source = Source(engine)
    covered = {(0, 0), (SIDE - 1, SIDE - 1)}  # these give the source its extent
    jitter = 0.2 if seed % 2 else 0.0
    source.add(0, 0, 1, 1)
    source.add(SIDE - 1, SIDE - 1, 1, 1)
    for _ in range(random.randint(5, 60)):
        column, row = random.randrange(SIDE - 1), random.randrange(SIDE - 1)
        width, height = (random.randint(1, min(6, SIDE - start)) for start in (column, row))
        source.add(
            min(max(column + random.uniform(-jitter, jitter), 0), SIDE - width),
            min(max(row + random.uniform(-jitter, jitter), 0), SIDE - height), width, height,
        )  # fmt: skip
        covered |= {(column + x, row + y) for x in range(width) for y in range(height)}
    uncovered = {(x, y) for x in range(SIDE) for y in range(SIDE)} - covered
    holes = source.gaps().holes
    pieces = find_connected_groups(uncovered)
    assert holes.count == len(pieces), seed
    if not jitter:
        assert holes.pixels == pytest.approx(len(uncovered), abs=1e-3)
        expected = sorted(
            (len(piece), any({x, y} & {0, SIDE - 1} for x, y in piece)) for piece in pieces
        )
        assert sorted((round(hole.pixels), hole.at_edge) for hole in holes.largest) == expected


def find_connected_groups(cells: set[tuple[int, int]]) -> Sequence[set[tuple[int, int]]]:
    """Return the groups of cells that share edges."""
    pieces, remaining = [], set(cells)
    while remaining:
        piece, edge = set(), [remaining.pop()]
        while edge:
            x, y = edge.pop()
            piece.add((x, y))
            neighbours = {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} & remaining
            remaining -= neighbours
            edge += neighbours
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize("seed", range(6))
def test_incomplete_steps_are_those_that_miss_tiles(engine: Engine, seed: int) -> None:
    random = Random(seed)
    steps, tiles = random.randint(2, 12), random.randint(2, 9)
    present = {
        (step, tile) for step in range(steps) for tile in range(tiles) if random.random() < 0.7
    }
    present |= {(0, tile) for tile in range(tiles)} | {(step, 0) for step in range(steps)}
    source = Source(engine, temporal=True)
    for step, tile in sorted(present):
        source.add(10 * tile, 0, 10, 10, *times_at(step))
    expected = {
        times_at(step)[0]: {box(10 * tile, 0, 10, 10) for tile in range(tiles) if (step, tile) not in present}
        for step in range(steps)
    }  # fmt: skip
    reported: dict[datetime, set[tuple[float, ...]]] = {}
    for first, last, count, boxes in incomplete_runs(source.gaps()):
        assert count == last - first + 1
        reported |= {times_at(step)[0]: set(boxes) for step in range(int(first), int(last) + 1)}
    assert reported == {step: boxes for step, boxes in expected.items() if boxes}
