"""The pages about ingestion in a real browser, with and without scripts, at two widths, light and dark."""

from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from tests.api.conftest import address_of
from tests.api.site.conftest import OpenBrowser, set_scheme
from tests.api.site.test_ingestion import RD_IN_DEGREES
from tests.support.axe import find_violations
from tests.support.chromium import (
    assert_no_errors,
    click_button,
    needs_chromium,
    sign_in,
    wait_for_text,
)
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files

pytestmark = needs_chromium


@pytest.fixture
def run(engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path) -> int:
    """Register files with and without warnings, and reject others; return the id of the run."""
    execute(engine, "TRUNCATE raster_sources, rejected_files, sync_runs CASCADE")
    for number in range(6):
        write_raster(tmp_path / f"good{number}.tif", width=10 + number)
    write_raster(tmp_path / "degrees.tif", crs="EPSG:28992", transform=RD_IN_DEGREES)
    write_raster(tmp_path / "nowhere.tif", crs=None)
    write_raster(tmp_path / "nowhere2.tif", crs=None)
    (tmp_path / "empty.tif").write_bytes(b"")
    for _ in range(2):
        register_files(engine, pool.read, definition_files([tmp_path], id="rain"), batch_size=2)
    execute(engine, "UPDATE rejected_files SET rejected_by = (SELECT min(id) FROM sync_runs)")
    ((run_id,),) = rows(engine, "SELECT min(id) FROM sync_runs")
    return int(run_id)


def test_a_supplier_finds_what_went_wrong_and_tries_again(
    browser: Any, client: Client, people: dict[str, str], engine: Engine, run: int
) -> None:
    address = address_of(client)
    browser.get(f"{address}/ingestion/")
    wait_for_text(browser, "Members of an organisation see its ingestion")
    sign_in(browser, "supplier", people["supplier"])
    browser.find_element("link text", "rain").click()
    browser.find_element("link text", str(run)).click()
    assert f"Run {run} of rain" in browser.title
    for words in ("Files per second during the run", "outside_area_of_use", "missing_crs"):
        wait_for_text(browser, words)
    alarm = browser.find_element("class name", "alarming")
    assert "outside_area_of_use" in alarm.text
    assert alarm.value_of_css_property("border-left-width") == "5px"
    browser.find_element("link text", "Rejected files").click()
    buttons = browser.find_elements(
        "xpath", "//button[starts-with(normalize-space(), 'Try all 2 again')]"
    )
    buttons[0].click()
    wait_for_text(browser, "The next run reads 2 files again.")
    read_again = "SELECT code FROM rejected_files WHERE fingerprint IS NULL"
    assert rows(engine, read_again) == [("missing_crs",)] * 2
    browser.find_element("link text", "Warnings").click()
    browser.find_element("link text", "1 file").click()
    wait_for_text(browser, "degrees.tif")
    click_button(browser, "Sign out")
    assert_no_errors(browser, address)


@pytest.mark.parametrize("width", [1300, 380])
def test_the_pages_fit_and_axe_finds_nothing_serious(
    open_browser: OpenBrowser, client: Client, people: dict[str, str], run: int, width: int
) -> None:
    address, browser = address_of(client), open_browser(width, "light")
    browser.get(f"{address}/ingestion/")
    sign_in(browser, "admin", people["admin"])
    pages = (
        "",
        "runs/",
        f"runs/{run}/",
        f"runs/{run + 1}/",  # which has a chart with links to both runs
        "rejected/",
        "warnings/",
        "warnings/?code=outside_area_of_use",
    )
    for page in pages:
        browser.get(f"{address}/ingestion/{page}")
        for scheme in ("light", "dark"):
            set_scheme(browser, scheme)
            read_width = "return document.documentElement.scrollWidth"
            assert browser.execute_script(read_width) <= width, page
            assert find_violations(browser, scheme) == [], (page, scheme)
