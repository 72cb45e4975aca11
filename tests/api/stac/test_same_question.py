"""Lizard, STAC, OGC API and SQL answer the same question with the same raster sources. They differ in three ways:

- Lizard, OGC API's list of raster sources and STAC's collections compare bounds; items compare footprints.
- A source without known times is at 1970-01-01 in Lizard, and at any time in the others.
- A source is found between two of its times. An item is found only at its own times.
"""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import shapely
from affine import Affine
from httpx import Client
from pyproj import Transformer
from sqlalchemy import Engine, text

from tests.api.stac.conftest import Uuids
from tests.support.factory import write_raster

LIZARD, SOURCES = "/api/v4/rastersources/", "/ogc/collections/rastersources/items"
Box = tuple[float, float, float, float]
"""West, south, east and north; east is above 180 across the antimeridian."""
RECTANGLES: dict[str, Box] = {
    "east-of-fiji": (178, 10, 179.5, 12),
    "west-of-fiji": (-179.5, 10, -178, 12),
    "up-to-it": (170, 20, 180, 22),
    "from-it": (-180, 20, -170, 22),
    "across": (170, -12, 190, -10),
    "world": (-180, -90, 180, 90),
}


class Cap(NamedTuple):
    """A square around a pole, in a polar CRS."""

    crs: str
    square: Box


CAPS = {
    "north": Cap("EPSG:3413", (-900_000, -900_000, 900_000, 900_000)),
    "south": Cap("EPSG:3031", (-300_000, -1_000_000, 1_700_000, 1_000_000)),
}
STEP = 0.5
"""The distance in degrees between the points that test a cap."""
BOXES: list[Box] = [
    (170, -11, 190, -10.5), (179.6, 11, 180.4, 11.5), (179.5, 11, 180.5, 11.5), (179, 20, 180, 21),
    (-180, 20, -179, 21), (178, 9, 360, 23), (-10, 89, 10, 90), (-180, 85, 180, 90), (-180, -90, 180, -88),
    (175, -90, 185, -80), (175, 60, 185, 80), (90, -75, 270, -70), (180, -11, 180, -11), (-180, 21, -180, 21),
    (-180, 90, 180, 90), (180, 15, 180, 25), (179.5, 12, 179.5, 12),
    (44, 79, 46, 80.5), (-91, -80, -89, -75),  # inside the bounds of a cap, outside its square
]  # fmt: skip


def random_boxes(count: int) -> list[Box]:
    """Make boxes of all sizes, many of them near the antimeridian or a pole."""
    rng = random.Random(13)
    boxes: list[Box] = []
    for _ in range(count):
        west = rng.choice([rng.randint(-180, 180), rng.randint(160, 180)])
        south = rng.choice([rng.randint(-90, 85), 75, -90, 9, -13])
        width, height = rng.choice([1, 3, 15, 90, 200]), rng.choice([1, 2, 5, 60])
        boxes.append((west, south, west + width, min(90, south + height)))
    return boxes


def boxes_intersect(first: Box, second: Box) -> bool:
    """Whether two boxes on the globe have a common point."""
    if first[1] > second[3] or second[1] > first[3]:
        return False
    return any(
        first[0] + turn <= second[2] and second[0] <= first[2] + turn for turn in (-360, 0, 360)
    )


def bounds_of(cap: Cap) -> Box:
    """Return the bounds of a cap: all longitudes, and the latitudes from its farthest corner to the pole."""
    west, south, east, north = cap.square
    to_degrees = Transformer.from_crs(cap.crs, 4326, always_xy=True)
    _, latitudes = to_degrees.transform([west, east, east, west], [south, south, north, north])
    return (-180, min(latitudes), 180, 90) if latitudes[0] > 0 else (-180, -90, 180, max(latitudes))


def intersects_cap(box: Box, cap: Cap) -> bool:
    """Whether any point of a grid over a box lies in a cap."""
    west, south, east, north = box
    grid = np.meshgrid(np.arange(west, east + STEP, STEP), np.arange(south, north + STEP, STEP))
    longitudes, latitudes = (
        np.minimum(axis, end) for axis, end in zip(grid, (east, north), strict=True)
    )
    polar = abs(latitudes) > 60
    if not polar.any():
        return False
    to_cap = Transformer.from_crs(4326, cap.crs, always_xy=True)
    x, y = to_cap.transform(longitudes[polar], latitudes[polar])
    left, lower, right, upper = cap.square
    return bool(((x >= left) & (x <= right) & (y >= lower) & (y <= upper)).any())


def is_clear(box: Box, cap: Cap) -> bool:
    """Whether a slightly larger and a slightly smaller box give the same result, because a grid misses slivers."""
    west, south, east, north = box
    larger = (west - STEP, max(-90, south - STEP), east + STEP, min(90, north + STEP))
    smaller = (west + STEP, south + STEP, east - STEP, north - STEP)
    if smaller[0] >= smaller[2] or smaller[1] >= smaller[3]:
        smaller = ((west + east) / 2, (south + north) / 2, (west + east) / 2, (south + north) / 2)
    return intersects_cap(larger, cap) == intersects_cap(smaller, cap)


@pytest.fixture(scope="module")
def placed(register: Callable[..., str], folder: Path) -> None:
    """Register a raster for each rectangle and cap."""
    places = {
        **{name: ("EPSG:4326", box) for name, box in RECTANGLES.items()},
        **{name: (cap.crs, cap.square) for name, cap in CAPS.items()},
    }
    for name, (crs, (west, south, east, north)) in places.items():
        pixels = Affine((east - west) / 20, 0, west, 0, (south - north) / 10, north)
        path = folder / f"{name}.tif"
        register(name, write_raster(path, crs=crs, transform=pixels, width=20, height=10))


def box_parameter(box: Box) -> str:
    """Return a box as the APIs read it: west is above east across the antimeridian."""
    west, south, east, north = box
    return ",".join(map(str, (west, south, east - 360 if east > 180 else east, north)))


def shape_of(box: Box) -> Any:
    """Return a box as a geometry; a box without an area becomes a line or a point."""
    shape = shapely.box(*box)
    return shape if shape.is_valid else shapely.make_valid(shapely.LineString([box[:2], box[2:]]))


class AllApis:
    """Asks each API, and returns the names of the raster sources that it finds."""

    def __init__(self, client: Client, engine: Engine) -> None:
        self.client, self.engine = client, engine
        collections = client.get("/stac/collections", params={"limit": 100}).json()["collections"]
        self.titles = {collection["id"]: collection["title"] for collection in collections}

    def lizard(self, **query: str) -> set[str]:
        return {row["name"] for row in self.get(LIZARD, "results", page_size="100", **query)}

    def ogc(self, **query: str) -> set[str]:
        return {feature["properties"]["name"] for feature in self.get(SOURCES, "features", **query)}

    def collections(self, **query: str) -> set[str]:
        return {
            collection["title"]
            for collection in self.get("/stac/collections", "collections", **query)
        }

    def items(self, **query: Any) -> set[str]:
        answer = self.client.post("/stac/search", json={"limit": 100, **query})
        assert answer.status_code == 200, answer.text
        return {self.titles[item["collection"]] for item in answer.json()["features"]}

    def sql(self, query: str, **values: Any) -> set[str]:
        with self.engine.connect() as connection:
            ids = connection.execute(text(query), values).scalars().all()
        return {self.titles.get(str(source_id), str(source_id)) for source_id in ids}

    def get(self, path: str, member: str, **query: str) -> Iterable[dict[str, Any]]:
        limit = {} if "page_size" in query else {"limit": "100"}
        answer = self.client.get(path, params={**limit, **query})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()[member]
        return rows


@pytest.fixture(scope="module")
def apis(client: Client, engine: Engine, placed: None) -> AllApis:
    return AllApis(client, engine)


ITEMS_IN = """
    SELECT collection FROM stac_items, unnest(ARRAY[-360, 0, 360]) AS turn
    WHERE ST_Intersects(geometry, ST_Translate(ST_GeomFromText(:shape, 4326), turn, 0))
"""


@pytest.mark.parametrize("box", [*BOXES, *random_boxes(30)], ids=str)
def test_a_box_finds_the_same_everywhere(apis: AllApis, box: Box) -> None:
    known = {*RECTANGLES, *CAPS}
    rectangles = {name for name, place in RECTANGLES.items() if boxes_intersect(box, place)}
    by_bounds = rectangles | {
        name for name, cap in CAPS.items() if boxes_intersect(box, bounds_of(cap))
    }
    for found in (
        apis.lizard(in_bbox=box_parameter(box)),
        apis.lizard(geometry=shape_of(box).wkt),
        apis.ogc(bbox=box_parameter(box)),
        apis.collections(bbox=box_parameter(box)),
        apis.collections(filter=f"S_INTERSECTS(geometry, BBOX({box_parameter(box)}))"),
    ):
        assert found & known == by_bounds
    by_footprint = rectangles | {name for name, cap in CAPS.items() if intersects_cap(box, cap)}
    certain = known - {name for name, cap in CAPS.items() if not is_clear(box, cap)}
    for found in (
        apis.items(bbox=[float(side) for side in box_parameter(box).split(",")]),
        apis.items(intersects=shapely.geometry.mapping(shape_of(box))),
        apis.items(filter=f"S_INTERSECTS(geometry, BBOX({box_parameter(box)}))"),
        apis.sql(ITEMS_IN, shape=shape_of(box).wkt),
    ):
        assert found & certain == by_footprint & certain


ANY_TIME = {"pacific", "polar", "custom", "empty"}
TIMES = {
    # Rain has the times 2024-01-01 01:00 and 2024-01-02 01:00.
    "2023-01-01T00:00:00Z/2023-12-31T00:00:00Z": (set(), set()),
    "2024-01-01T01:00:00Z/2024-01-01T01:00:00Z": ({"rain"}, {"rain"}),
    "2024-01-01T12:00:00Z/2024-01-01T13:00:00Z": ({"rain"}, set()),
    "2024-01-02T01:00:01Z/2030-01-01T00:00:00Z": (set(), set()),
    "1969-12-31T23:00:00Z/1970-01-01T01:00:00Z": (set(), set()),
}


@pytest.mark.parametrize("interval", TIMES)
def test_a_time_finds_the_same_everywhere(apis: AllApis, interval: str) -> None:
    start, end = interval.split("/")
    sources, items = TIMES[interval]
    known = {"rain", *ANY_TIME}
    lizard = apis.lizard(first_value_timestamp__lte=end, last_value_timestamp__gte=start)
    in_1970 = ANY_TIME - {"empty"} if "1970" in interval else set()
    assert lizard & known - {"empty"} == sources | in_1970
    assert apis.ogc(datetime=interval) & known == sources | ANY_TIME
    assert apis.collections(datetime=interval) & known == sources | ANY_TIME
    within = "coalesce(start_datetime <= :end AND end_datetime >= :start, true)"
    found = apis.sql(f"SELECT id FROM stac_collections WHERE {within}", start=start, end=end)
    assert found & known == sources | ANY_TIME
    files = ANY_TIME - {"empty"}
    assert apis.items(datetime=interval) & known == items | files
    tests = f"T_INTERSECTS(INTERVAL(start_datetime, end_datetime), INTERVAL('{start}', '{end}'))"
    assert apis.items(filter=tests) & known == items | files
    found = apis.sql(f"SELECT collection FROM stac_items WHERE {within}", start=start, end=end)
    assert found & known == items | files


QUESTIONS: dict[str, tuple[dict[str, str], str, str, set[str]]] = {
    "the name is": ({"name": "rain"}, "title = 'rain'", "title = 'rain'", {"rain"}),
    "the name has": (
        {"name__icontains": "FIJI"}, "CASEI(title) LIKE CASEI('%FIJI%')", "title ILIKE '%fiji%'",
        {"east-of-fiji", "west-of-fiji"},
    ),
    "the name begins": (
        {"name__startswith": "w"}, "title LIKE 'w%'", "title LIKE 'w%'", {"west-of-fiji", "world"},
    ),
    "it is a series": (
        {"temporal": "true"}, "\"rastersources:temporal\" = TRUE",
        "(collection ->> 'rastersources:temporal')::boolean", {"rain"},
    ),
    "it begins after": (
        {"first_value_timestamp__gt": "2000-01-01T00:00:00Z"}, "start_datetime > '2000-01-01T00:00:00Z'",
        "start_datetime > '2000-01-01'", {"rain"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_filter_of_sources_finds_the_same_everywhere(apis: AllApis, question: str) -> None:
    lizard, cql2, sql, expected = QUESTIONS[question]
    assert apis.lizard(**lizard) == expected
    assert apis.ogc(filter=cql2) == expected
    assert apis.collections(filter=cql2) == expected
    assert apis.sql(f"SELECT id FROM stac_collections WHERE {sql}") == expected


def test_uuids_and_organisations_find_the_same_everywhere(apis: AllApis, uuids: Uuids) -> None:
    uuid = uuids["polar"]
    assert apis.lizard(uuid=uuid) == {"polar"}
    assert apis.ogc(filter=f"id = '{uuid}'") == {"polar"}
    assert apis.collections(filter=f"id = '{uuid}'") == {"polar"}
    assert apis.items(collections=[uuid]) == {"polar"}
    assert apis.items(filter=f"collection = '{uuid}'") == {"polar"}
    assert apis.sql(f"SELECT collection FROM stac_items WHERE collection = '{uuid}'") == {"polar"}
    all_titles = set(apis.titles.values())
    assert apis.lizard(organisation__name="Owner") == all_titles
    assert apis.ogc(filter="organisation = 'Owner'") == all_titles
    assert (
        apis.collections(filter="organisation = 'Nobody'")
        == apis.lizard(organisation__name="Nobody")
        == set()
    )
