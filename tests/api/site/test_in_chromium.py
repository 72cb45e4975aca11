"""People use the pages in a real browser: they find, look at, edit and delete raster sources."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from httpx import Client
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from sqlalchemy import Engine, text

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.layers import add_layer
from pipeline.raster import ProcessReader
from tests.api.conftest import SOURCES, Add, address_of
from tests.api.site.conftest import OpenBrowser, set_scheme, wait_for_map
from tests.support.axe import find_violations
from tests.support.chromium import (
    assert_no_errors,
    click_button,
    fill,
    needs_chromium,
    read_requests,
    sign_in,
    wait_for_text,
)
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files
from tests.support.waiting import wait_until

pytestmark = [needs_chromium, pytest.mark.usefixtures("people")]


@pytest.fixture(scope="module")
def rain(engine: Engine, pool: ProcessReader[FileRow], tmp_path_factory: Any) -> str:
    """A series of two steps: its western half is 0 and then 100, its eastern half is 100 and then 0."""
    folder = tmp_path_factory.mktemp("rain")
    values = np.zeros((1, 200, 400), "float32")
    values[:, :, 200:] = 100
    paths = [folder / "rain_20240101T000000Z.tif", folder / "rain_20240101T060000Z.tif"]
    write_raster(paths[0], values=values, width=400, height=200)
    write_raster(paths[1], values=100 - values, width=400, height=200)
    item = definition_files(paths, id="rain", name="Rain", group="all", access_modifier="Public", temporal=True,
                            pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$")  # fmt: skip
    register_files(engine, pool.read, item)
    with engine.connect() as connection:
        query = text("SELECT uuid FROM raster_sources WHERE name = 'Rain'")
        return str(connection.execute(query).scalar_one())


def window_position(browser: Any, longitude: float, latitude: float) -> tuple[int, int]:
    """Return the position in the window of a place on earth."""
    script = """
        const element = document.getElementById("map"), {left, top} = element.getBoundingClientRect();
        const [x, y] = element.map.getPixelFromCoordinate(ol.proj.fromLonLat([arguments[0], arguments[1]]));
        return [Math.round(left + x), Math.round(top + y)];
    """
    x, y = browser.execute_script(script, longitude, latitude)
    return int(x), int(y)


def click(browser: Any, x: int, y: int) -> None:
    """Click a position in the window, as a person does."""
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def colours_at(browser: Any, *places: tuple[float, float]) -> list[tuple[int, ...]]:
    """Return the colours in the window at places on earth."""
    positions = [window_position(browser, longitude, latitude) for longitude, latitude in places]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile(browser.get_screenshot_as_png()) as png, png.open() as picture:
            pixels = picture.read()
    return [tuple(int(part) for part in pixels[:3, y, x]) for x, y in positions]


@pytest.mark.parametrize("width", [1300, 380])
def test_every_page_fits_and_is_accessible(
    open_browser: OpenBrowser, client: Client, people: dict[str, str], add_source: Add, rain: str, width: int,
    engine: Engine,
) -> None:  # fmt: skip
    address, browser = address_of(client), open_browser(width, "light")
    for number in range(30):
        add_source(f"Depth of the water at high tide, run {number}", description="What it shows.")
    add_layer(engine, "Rain of today", rain)  # type: ignore[arg-type]
    browser.get(f"{address}/")
    sign_in(browser, "admin", people["admin"])
    pages = ["/", "/?name__icontains=high&temporal=false", "/?in_bbox=x", "/?name=nothing", f"/sources/{rain}/",
             f"/sources/{rain}/gaps/", "/sources/new/", "/sources/nothing/"]  # fmt: skip
    own = client.get(SOURCES, params={"name__startswith": "Depth"}).json()["results"][0]["uuid"]
    pages += [f"/sources/{own}/edit/", f"/sources/{own}/delete/"]
    problems = {}
    for path in pages:
        browser.get(f"{address}{path}")
        if browser.find_elements("id", "map"):
            wait_for_map(browser)
        assert "– rastersources" in browser.title
        for scheme in ("light", "dark"):
            set_scheme(browser, scheme)
            wide = browser.execute_script(
                "return document.documentElement.scrollWidth > innerWidth"
            )
            problems[path, scheme] = [
                *find_violations(browser, scheme),
                *(["too wide"] if wide else []),
            ]
    assert {page: listed for page, listed in problems.items() if listed} == {}
    assert_only_expected_errors(browser, address)


def assert_only_expected_errors(browser: Any, address: str) -> None:
    """Check that all requests went to this address, and that the console has only the errors of invalid pages."""
    messages = [entry["message"] for entry in browser.get_log("browser")]
    expected = f"{address}/?in_bbox=x ", f"{address}/sources/nothing/ "
    assert [text for text in messages if not text.startswith(expected)] == []
    assert [url for url in read_requests(browser) if not url.startswith((address, "data:"))] == []


def test_a_box_and_a_click_on_the_map_find_a_source(
    open_browser: OpenBrowser, client: Client, add_source: Add
) -> None:
    address, browser = address_of(client), open_browser(1300, "light")
    add_source("Side: West", west=4.0, south=51.0, east=5.0, north=52.0)
    add_source("Side: East", west=6.0, south=51.0, east=7.0, north=52.0)
    browser.get(f"{address}/?name__startswith=Side")
    wait_for_map(browser)
    land, *filled = colours_at(browser, (5.5, 51.5), (6.5, 51.5), (4.5, 51.5))
    assert filled[0] != land, "the footprint is filled"
    assert filled[0] == filled[1]

    click(browser, *window_position(browser, 6.5, 51.5))
    wait_for_text(browser, "1 raster source here")
    assert browser.find_element("css selector", ".popup a").text == "Side: East"

    browser.get(f"{address}/?name__startswith=Side")  # the popup may have moved the map
    wait_for_map(browser)
    click_button(browser, "Draw a box")
    click(browser, *window_position(browser, 3.9, 50.9))
    click(browser, *window_position(browser, 5.2, 52.1))
    wait_for_text(browser, "1 found")
    names = [link.text for link in browser.find_elements("css selector", "tbody th a")]
    assert names == ["Side: West"]
    west, south, east, north = map(
        float, browser.find_element("id", "box").get_attribute("value").split(",")
    )
    assert (west, south, east, north) == pytest.approx((3.9, 50.9, 5.2, 52.1), abs=0.03)
    assert "in_bbox=" in browser.current_url
    wait_for_map(browser)
    assert colours_at(browser, (5.1, 51.5)) == [land]

    browser.find_element("link text", "Side: West").click()
    wait_for_text(browser, "Used by")
    assert browser.title == "Side: West – rastersources"
    wait_for_map(browser)


def test_the_raster_is_drawn_for_the_chosen_time(
    open_browser: OpenBrowser, client: Client, rain: str
) -> None:
    address, browser = address_of(client), open_browser(1300, "light")
    bounds = client.get(f"{SOURCES}{rain}/").json()["spatial_bounds"]
    wide, middle = bounds["east"] - bounds["west"], (bounds["south"] + bounds["north"]) / 2
    west, east = bounds["west"] + wide / 4, bounds["east"] - wide / 4
    browser.get(f"{address}/sources/{rain}/?colormap=grey")
    wait_for_map(browser)

    def read_halves() -> list[str]:
        colours = colours_at(browser, (west, middle), (east, middle))
        return ["dark" if max(c) < 60 else "bright" if min(c) > 220 else str(c) for c in colours]

    # The page first shows the last step, which is 100 (white) in the west and 0 (black) in the east.
    wait_until(lambda: read_halves() == ["bright", "dark"])
    slider = browser.find_element("id", "time")
    assert slider.get_attribute("max") == "1"
    slider.send_keys("\ue012")  # the arrow to the left
    wait_until(lambda: read_halves() == ["dark", "bright"])
    assert browser.find_element("id", "step").text == "2024-01-01T00:00:00Z"
    assert "time=2024-01-01T00%3A00%3A00Z" in browser.current_url
    wait_until(lambda: browser.find_element("id", "legend").is_displayed())
    ends = [browser.find_element("id", name).text for name in ("low", "high")]
    assert ends == ["0", "100"]
    wait_for_text(browser, "2 files, 2 steps: no step")
    assert_no_errors(browser, address)


def test_a_source_across_the_antimeridian_is_drawn_as_one(
    open_browser: OpenBrowser, client: Client, engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path
) -> None:  # fmt: skip
    values = np.full((1, 20, 20), 100, "float32")
    values[:, :10] = 0
    path = write_raster(
        tmp_path / "fiji.tif", width=20, height=20, crs="EPSG:4326",
        transform=Affine(0.1, 0, 179, 0, -0.1, 10), values=values,
    )  # fmt: skip
    register_files(engine, pool.read, definition_files([path], id="fiji", access_modifier="Public"))
    (row,) = client.get(SOURCES, params={"name": "fiji"}).json()["results"]
    address, browser = address_of(client), open_browser(1300, "light")
    browser.get(f"{address}/sources/{row['uuid']}/")
    wait_for_map(browser)
    corners = (179.5, 9.5), (180.5, 9.5), (179.5, 8.5), (180.5, 8.5)
    top_left, top_right, bottom_left, bottom_right = colours_at(browser, *corners)
    assert top_left == top_right != bottom_left == bottom_right
    browser.get(f"{address}/?name=fiji")
    wait_for_map(browser)
    extent = browser.find_element("id", "map").get_attribute("data-extent")
    assert list(map(float, extent.split(","))) == [179, 8, 181, 10]
    assert browser.execute_script(WIDEST_STEP_OF_LAND) < 120
    assert browser.execute_script(IS_LAND, [[179, 67.5], [-179, 67.5], [-179, 60]]) == [
        True,
        True,
        False,
    ]
    assert_no_errors(browser, address)


IS_LAND = """
    const land = document.getElementById("map").map.getLayers().item(0).getSource().getFeatures();
    const covers = (feature, place) => feature.getGeometry().intersectsCoordinate(ol.proj.fromLonLat(place));
    return arguments[0].map((place) => land.some((feature) => covers(feature, place)));
"""
"""Returns whether places are land on the map: Chukotka on both sides of 180 degrees is, the Bering Sea is not."""
WIDEST_STEP_OF_LAND = """
    const land = document.getElementById("map").map.getLayers().item(0).getSource().getFeatures()
        .filter((feature) => feature.get("name") !== "Antarctica");
    const rings = land.flatMap((feature) => feature.getGeometry().getCoordinates()).flat();
    const steps = rings.flatMap((ring) => ring.slice(1).map(([x], place) => Math.abs(x - ring[place][0])));
    return Math.max(...steps) * 180 / 20037508.342789244;
"""
"""Returns the widest step in degrees between two points of the outline of a country."""


def test_a_person_adds_changes_and_deletes_a_source(
    browser: Any, client: Client, people: dict[str, str], engine: Engine
) -> None:
    address = address_of(client)
    browser.get(f"{address}/")
    sign_in(browser, "admin", people["admin"])
    browser.find_element("link text", "New raster source").click()
    fill(browser, "name", "Made by hand")
    click_button(browser, "Add")
    wait_for_text(browser, "Made by hand</h1>")
    browser.find_element("link text", "Edit").click()
    fill(browser, "interval", "soon")
    click_button(browser, "Save")
    wait_for_text(browser, "Must be a duration")
    assert browser.find_element("name", "interval").get_attribute("value") == "soon"
    fill(browser, "interval", "PT5M")
    fill(browser, "name", "Changed <by> hand")
    click_button(browser, "Save")
    wait_for_text(browser, "Changed &lt;by&gt; hand</h1>")
    uuid = browser.current_url.rstrip("/").rpartition("/")[2]
    row = client.get(f"{SOURCES}{uuid}/", auth=("__key__", people["admin"])).json()
    assert (row["name"], row["interval"]) == ("Changed <by> hand", "00:05:00")
    assert row["organisation"]["name"] == "Owner"

    add_layer(engine, "A layer of it", uuid)
    browser.find_element("link text", "Delete").click()
    wait_for_text(browser, "A layer of it")
    click_button(browser, "Delete and break what uses it")
    wait_for_text(browser, "Raster sources</h1>")
    assert client.get(f"{SOURCES}{uuid}/", auth=("__key__", people["admin"])).status_code == 404
    click_button(browser, "Sign out")
    wait_for_text(browser, "Password or API key")
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in messages if "400" not in message] == []


CROWD = """
    -- These take most of the time, and this is the last test of the module.
    DROP INDEX raster_sources_name, raster_sources_name_trigram, raster_sources_supplier_code,
        raster_sources_supplier_code_down, raster_sources_supplier_code_upper, raster_sources_supplier_code_trigram,
        raster_sources_supplier_code_upper_trigram, raster_sources_organisation, raster_sources_organisation_modified,
        raster_sources_supplier, raster_sources_temporal, raster_sources_first, raster_sources_first_down,
        raster_sources_last, raster_sources_last_down, raster_sources_created, raster_sources_last_modified,
        raster_sources_size, raster_sources_size_down;
    ALTER TABLE raster_sources DISABLE TRIGGER raster_sources_created;
    INSERT INTO raster_sources (name, organisation_id, access_modifier, file_count, west, south, east, north,
        projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype,
        first_value_timestamp, last_value_timestamp)
    SELECT 'Crowd', organisation_id, 0, 1, 4 + x, 51 + y, 4.01 + x, 51.01 + y,
        projection, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, size, dtype,
        first_value_timestamp, last_value_timestamp
    FROM raster_sources, generate_series(1, 100000) AS n,
        LATERAL (SELECT 2.5 * mod(n * 0.618034, 1) AS x, 2.0 * n / 100000 AS y) AS place
    WHERE name = 'Crowd';
"""


def test_a_hundred_thousand_footprints_are_panned_and_zoomed(
    open_browser: OpenBrowser, client: Client, add_source: Add, engine: Engine
) -> None:
    add_source("Crowd", west=4.0, south=51.0, east=6.5, north=53.0)
    with engine.begin() as connection:
        connection.exec_driver_sql(CROWD)
    address, browser = address_of(client), open_browser(1300, "light")
    browser.get(f"{address}/#map=8/52/5.2")
    wait_for_map(browser)
    x, y = window_position(browser, 5.2, 52.0)
    for across, down in ((-250, 0), (-200, -200), (0, -250)):
        move_map(browser, partial(drag, browser, x, y, across, down))
        move_map(browser, browser.find_element("css selector", ".ol-zoom-in").click)
    script = """
        const tiles = performance.getEntriesByType("resource").filter(({name}) => name.includes(".mvt"));
        const sum = (field) => tiles.reduce((sum, tile) => sum + tile[field], 0);
        return [tiles.length, sum("encodedBodySize"), sum("decodedBodySize")];
    """
    tiles, sent, unpacked = browser.execute_script(script)
    assert tiles > 12
    assert sent < 1_000_000
    assert unpacked > 50_000
    assert_no_errors(browser, address)


def move_map(browser: Any, move: Callable[[], None]) -> None:
    """Call `move`, and wait until the map shows the new place."""
    before = browser.current_url
    browser.execute_script("document.getElementById('map').dataset.ready = ''")
    move()
    wait_until(lambda: bool(browser.current_url != before))
    wait_for_map(browser)


def drag(browser: Any, x: int, y: int, across: int, down: int) -> None:
    """Drag the map by so many pixels across and down, as a person does."""
    steps = [
        ("mousePressed", 0.0),
        ("mouseMoved", 0.5),
        ("mouseMoved", 1.0),
        ("mouseReleased", 1.0),
    ]
    for kind, share in steps:
        event = {
            "type": kind,
            "x": x + across * share,
            "y": y + down * share,
            "button": "left",
            "buttons": 1,
        }
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {**event, "clickCount": 1})
