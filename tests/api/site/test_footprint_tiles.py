"""Vector tiles show the right sources in the right places, for each caller, with the filters of the API."""

from math import asinh, floor, pi, radians, tan
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.api.site import footprint_tile
from pipeline.catalogue import footprints
from tests.api.conftest import SOURCES, Add, As
from tests.support.database import execute, rows
from tests.support.vector_tile import Feature, read_tile

pytestmark = pytest.mark.usefixtures("empty", "people")


def tile_path(z: int, x: int, y: int) -> str:
    return f"/map/footprints/{z}/{x}/{y}.mvt"


def get_layers(client: Client, path: str, **query: str) -> dict[str, list[Feature]]:
    """Return the features of a tile by layer."""
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    return read_tile(answer.content)


def get_ids(client: Client, path: str, **query: str) -> set[Any]:
    """Return the ids of the footprints of a tile."""
    return {feature.id for feature in get_layers(client, path, **query).get("footprints", [])}


def pixel(z: int, longitude: float, latitude: float) -> tuple[float, float]:
    """Return the position of a place on earth, in 1/4096 tile from the upper left corner of the world."""
    scale = 2**z * 4096
    return (
        (longitude + 180) / 360 * scale,
        (1 - asinh(tan(radians(latitude))) / pi) / 2 * scale,
    )


def test_an_outline_lies_where_web_mercator_puts_it(client: Client, add_source: Add) -> None:
    row = add_source("a", west=4.2, south=51.3, east=4.9, north=51.8)
    (left, bottom), (right, top) = pixel(7, 4.2, 51.3), pixel(7, 4.9, 51.8)
    x, y = floor(left / 4096), floor(top / 4096)
    assert (floor(right / 4096), floor(bottom / 4096)) == (x, y), "it lies in one tile"
    (feature,) = get_layers(client, tile_path(7, x, y))["footprints"]
    assert feature.id == row.id
    expected = (left - x * 4096, top - y * 4096, right - x * 4096, bottom - y * 4096)
    assert feature.box == pytest.approx(expected, abs=1)


def test_large_outlines_lie_below_small_ones(client: Client, add_source: Add) -> None:
    sides = {"small": 0.1, "large": 2.0, "middle": 1.0}
    ids = {
        name: add_source(name, west=4.0, south=51.0, east=4.0 + side, north=51.0 + side).id
        for name, side in sides.items()
    }
    order = [feature.id for feature in get_layers(client, tile_path(0, 0, 0))["footprints"]]
    assert order == [ids[name] for name in ("large", "middle", "small")]


def test_the_smallest_source_is_visible(client: Client, add_source: Add) -> None:
    row = add_source("a", west=4.0, south=52.0, east=4.0, north=52.0)
    (feature,) = get_layers(client, tile_path(0, 0, 0))["footprints"]
    left, top, right, bottom = feature.box
    assert feature.id == row.id
    assert (right - left, bottom - top) == (12, 12)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(pixel(0, 4, 52), abs=1)


def test_a_source_across_the_antimeridian_is_on_both_sides(client: Client, add_source: Add) -> None:
    row = add_source("a", west=179.0, south=-1.0, east=-179.0, north=1.0)
    assert get_ids(client, tile_path(1, 0, 0)) == get_ids(client, tile_path(1, 1, 1)) == {row.id}
    assert get_ids(client, tile_path(2, 1, 1)) == set()


def test_a_source_at_the_pole_is_cut_where_the_map_ends(client: Client, add_source: Add) -> None:
    add_source("a", west=-180.0, south=80.0, east=180.0, north=90.0)
    (feature,) = get_layers(client, tile_path(0, 0, 0))["footprints"]
    assert feature.box[1] == 0
    assert feature.box[3] == pytest.approx(pixel(0, 0, 80)[1], abs=1)


@pytest.mark.parametrize("caller", [None, "user", "supplier", "admin", "manager", "stranger"])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"name__icontains": "1"},
        {"name__regex": "[12]$"},
        {"in_bbox": "4,51,4.5,52"},
        {"temporal": "true", "organisation__name": "Owner"},
        {"writable": "true"},
    ],
)
@pytest.mark.parametrize("limit", [1000, 2])
def test_a_tile_shows_what_the_list_shows(
    client: Client, as_: As, add_source: Add, add_user: Any, monkeypatch: pytest.MonkeyPatch,
    caller: str | None, query: dict[str, str], limit: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(footprints, "MOST_OUTLINES", limit)
    supplier = add_user("supplier")
    for number, access in enumerate((0, 100, 200, 300)):
        for owner in ("Owner", "Other"):
            add_source(
                f"s{number}", owner, access_modifier=access, temporal=bool(number % 2),
                supplier_id=supplier, west=4.0 + number / 4, east=4.1 + number / 4,
            )  # fmt: skip
    reader = as_(caller) if caller else client
    listed = reader.get(SOURCES, params={**query, "page_size": 100}).json()["results"]
    path = tile_path(0, 0, 0)
    # Statements are cached, and have the limit of the time when they were made.
    monkeypatch.setattr(footprint_tile, "tile_query", footprint_tile.tile_query.__wrapped__)
    layers = get_layers(reader, path, **query)
    if len(listed) <= limit:
        ids = {feature.id for feature in layers.get("footprints", [])}
        assert ids == {row["id"] for row in listed}
    else:
        assert sum(feature.values["amount"] for feature in layers["cells"]) == len(listed)


MANY = """
    INSERT INTO raster_sources (name, organisation_id, access_modifier, file_count, west, south, east, north,
        projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype,
        first_value_timestamp, last_value_timestamp)
    SELECT 's' || n, organisation_id, 0, 1, w - n / 1e6, s - n / 1e6, w + n / 1e6, s + n / 1e6,
        projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype,
        first_value_timestamp, last_value_timestamp
    FROM raster_sources, generate_series(1, 1200) AS n, LATERAL (
        SELECT CASE WHEN n <= 1000 THEN 4.0 ELSE 100.0 END AS w, CASE WHEN n <= 1000 THEN 52.0 ELSE -30.0 END AS s
    ) AS place
    WHERE id = :id
"""


def test_a_crowded_tile_counts_each_source_once(
    client: Client, engine: Engine, add_source: Add
) -> None:
    """1,000 of 1,200 sources have their centre in one place, and 200 in another."""
    row = add_source("a")
    execute(engine, MANY, id=row.id)
    execute(engine, "DELETE FROM raster_sources WHERE id = :id", id=row.id)
    layers = get_layers(client, tile_path(0, 0, 0))
    assert "footprints" not in layers
    by_cell = {feature.box: feature.values["amount"] for feature in layers["cells"]}
    expected = {}
    for (longitude, latitude), amount in {(4.0, 52.0): 1000, (100.0, -30.0): 200}.items():
        left, top = (floor(number / 128) * 128 for number in pixel(0, longitude, latitude))
        expected[left, top, left + 128, top + 128] = amount
    assert by_cell == expected
    # A tile of a higher zoom level has fewer sources, and shows their outlines.
    x, y = (floor(number / 4096) for number in pixel(4, 100.0, -30.0))
    assert len(get_ids(client, tile_path(4, x, y))) == 200
    plain = client.get(tile_path(4, x, y), headers={"Accept-Encoding": "identity"})
    compressed = client.get(tile_path(4, x, y))
    assert compressed.headers["content-encoding"] == "gzip"
    assert plain.content == compressed.content
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"]) / 2


@pytest.mark.parametrize(
    "path", ["0/0/1", "0/1/0", "25/0/0", "3/8/0", "x/0/0", "1/-1/0", "1/0/0.5"]
)
def test_a_tile_that_does_not_exist_is_404(client: Client, path: str) -> None:
    answer = client.get(f"/map/footprints/{path}.mvt")
    assert (answer.status_code, answer.json()["code"]) == (404, 10)


def test_a_wrong_filter_is_named_in_the_envelope(client: Client) -> None:
    answer = client.get(tile_path(0, 0, 0), params={"in_bbox": "here", "created": "x"})
    assert (answer.status_code, set(answer.json()["detail"])) == (400, {"in_bbox", "created"})
    assert client.post(tile_path(0, 0, 0)).status_code == 405


def test_an_empty_tile_is_empty_and_private(client: Client) -> None:
    answer = client.get(tile_path(3, 0, 0))
    assert (answer.status_code, answer.content) == (200, b"")
    assert "private" in answer.headers["cache-control"]
    assert "Cookie" in answer.headers["vary"]
    head = client.head(tile_path(0, 0, 0))
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("bounds", "longitude", "latitude"),
    [
        ((4.0, 51.0, 6.0, 53.0), 5.0, 52.0),
        ((179.0, -1.0, -177.0, 1.0), -179.0, 0.0),
        ((-180.0, -90.0, -179.0, -88.0), -179.5, -85.0511),
        ((170.0, 87.0, 180.0, 90.0), 175.0, 85.0511),
    ],
)
def test_the_centre_of_a_source_has_a_place_on_the_map(
    engine: Engine, add_source: Add, bounds: tuple[float, ...], longitude: float, latitude: float
) -> None:
    west, south, east, north = bounds
    row = add_source("a", west=west, south=south, east=east, north=north)
    ((column, line),) = rows(
        engine, "SELECT map_column, map_row FROM raster_sources WHERE id = :id", id=row.id
    )
    # There are 2**29 columns and rows, which are 4096 for each tile of zoom level 17.
    assert (column, line) == pytest.approx(pixel(17, longitude, latitude), abs=1)
