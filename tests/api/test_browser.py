"""The pages in a real browser: no console error, no request that leaves the machine, and all of it without scripts."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Client

from tests.api.conftest import SOURCES, Add, base

selenium: Any = pytest.importorskip("selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"
    ),
    pytest.mark.usefixtures("empty", "people"),
]


@pytest.fixture(scope="module", params=["with scripts", "without scripts"])
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Headless Chromium that logs its console and its requests."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
    ):
        options.add_argument(argument)
    if request.param == "without scripts":
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": 2}
        )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(DRIVER))
    yield driver
    driver.quit()


def requested(browser: Any) -> set[str]:
    """The URLs that the browser asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }


def fill(browser: Any, name: str, text: str) -> None:
    found = browser.find_element("name", name)
    found.clear()
    found.send_keys(text)


def await_text(browser: Any, text: str) -> None:
    """Wait until the page shows a text; raises TimeoutException."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: text in browser.page_source)


def press(browser: Any, label: str) -> None:
    browser.find_element("xpath", f"//button[normalize-space()='{label}']").click()


def test_one_finds_signs_in_adds_changes_and_deletes(
    browser: Any, client: Client, people: dict[str, str], owner: str, add_source: Add
) -> None:
    for number in range(12):
        add_source(f"s{number}", description="<script>document.title = 'broken'</script>")
    here = base(client)
    browser.get(f"{here}/")
    browser.find_element("link text", f"{here}{SOURCES}").click()
    assert "Raster Source List" in browser.title
    browser.find_element("link text", "Next").click()
    await_text(browser, "s11")
    browser.find_element("xpath", "//summary[.='Filter']").click()
    fill(browser, "name__icontains", "S7")
    press(browser, "Filter")
    await_text(browser, "1 in all")
    press(browser, "OPTIONS")
    await_text(browser, "display_name")

    browser.get(f"{here}{SOURCES}")
    browser.find_element("link text", "Sign in").click()
    fill(browser, "username", "admin")
    fill(browser, "password", people["admin"])
    press(browser, "Sign in")
    await_text(browser, "_content")
    assert "Raster Source List" in browser.title
    fill(browser, "_content", f'{{"name": "by hand", "organisation": "{owner}"}}')
    press(browser, "POST")
    await_text(browser, "HTTP 201 Created")
    url = client.get(SOURCES, params={"name": "by hand"}, auth=("__key__", people["admin"])).json()[
        "results"
    ][0]["url"]
    browser.get(f"{url}?format=api")
    browser.find_elements("name", "_content")[1].clear()
    browser.find_elements("name", "_content")[1].send_keys('{"name": "changed"}')
    press(browser, "PATCH")
    await_text(browser, '"changed"')
    press(browser, "DELETE")
    await_text(browser, "HTTP 204 No Content")
    press(browser, "Sign out")
    await_text(browser, "Password or API key")
    browser.get(f"{here}/api/v4/docs/")
    await_text(browser, "name__icontains")

    assert [
        entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
    ] == []
    urls = requested(browser)
    assert f"{here}/static/pages.css" in urls
    assert [url for url in urls if not url.startswith((here, "data:"))] == []
