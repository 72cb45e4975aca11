"""`make screenshots` writes the pictures of the docs. The test only checks that they can be made."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import Client
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from tests.api.conftest import address_of
from tests.api.site.conftest import OpenBrowser, wait_for_map
from tests.support.chromium import needs_chromium, wait_for_text
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import definition_files, register_files

pytestmark = needs_chromium
PLACES = {
    "Surface level Veluwe": (170_000, 500_000, 25),
    "Surface level Utrecht": (120_000, 470_000, 25),
    "Land use Gelderland": (175_000, 470_000, 100),
    "Heat stress Zwolle": (197_000, 506_000, 5),
    "Subsidence Flevoland": (150_000, 520_000, 50),
    "Groundwater Achterhoek": (215_000, 460_000, 25),
    "Evaporation IJssel": (200_000, 490_000, 25),
}
STEPS = (
    "20240611T0000",
    "20240611T0100",
    "20240611T0200",
    "20240611T0300",
    "20240611T0600",
    "20240611T0700",
)


@pytest.fixture(scope="module")
def catalogue(engine: Engine, pool: ProcessReader[FileRow], tmp_path_factory: Any) -> str:
    """Register some maps, and a series of rain with a gap; return the uuid of the series."""
    folder = tmp_path_factory.mktemp("maps")
    for number, (name, (x, y, pixel)) in enumerate(PLACES.items()):
        transform = RD_TRANSFORM.translation(x, y) @ RD_TRANSFORM.scale(pixel, -pixel)
        path = write_raster(folder / f"{number}.tif", values=make_hills(number, 600, 800), width=800, height=600,
                            transform=transform, compress="deflate")  # fmt: skip
        item = definition_files([path], id=f"map{number}", name=name, access_modifier="Public")
        register_files(engine, pool.read, item)
    transform = RD_TRANSFORM.translation(180_000, 500_000) @ RD_TRANSFORM.scale(50, -50)
    paths = [
        write_raster(folder / f"rain_{step}00Z.tif", values=make_hills(9 + number / 3, 600, 800), width=800, height=600,
                     transform=transform, compress="deflate")
        for number, step in enumerate(STEPS)
    ]  # fmt: skip
    item = definition_files(paths, id="rain", name="Rain, hourly radar composite", group="all", temporal=True,
                            access_modifier="Public", interval="PT1H",
                            pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$")  # fmt: skip
    register_files(engine, pool.read, item)
    with engine.connect() as connection:
        query = text("SELECT uuid FROM raster_sources WHERE temporal")
        return str(connection.execute(query).scalar_one())


def make_hills(seed: float, height: int, width: int) -> NDArray[Any]:
    """Return smooth hills, with nodata where they are lowest."""
    y, x = np.mgrid[0:height, 0:width] / 90.0
    hills = np.sin(x + seed) * np.cos(0.7 * y - seed) + 0.6 * np.sin(2.3 * x - y + 2 * seed)
    values: NDArray[Any] = (10 * (hills + 1.6)).astype("float32")
    values[values < 4] = -9999
    shaped: NDArray[Any] = values[None]
    return shaped


def test_the_pictures_of_the_docs_can_be_made(
    open_browser: OpenBrowser,
    client: Client,
    catalogue: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    address, browser = address_of(client), open_browser(1300, "light")
    pages = {"catalogue.png": "/", "source.png": f"/sources/{catalogue}/?time=2024-06-11T02:00Z"}
    for name, path in pages.items():
        browser.get(f"{address}{path}")
        wait_for_map(browser)
        if "sources" in path:
            wait_for_text(browser, "steps are missing")
        picture = tmp_path / name
        picture.write_bytes(browser.get_screenshot_as_png())
        assert picture.stat().st_size > 20_000
        if folder := request.config.getoption("--screenshots"):
            shutil.copy(picture, folder)
