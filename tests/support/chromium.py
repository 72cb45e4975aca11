"""A real headless Chromium, and the actions of its users."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"
)
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser that logs its console and its requests, until the end of the block."""
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


GetBrowser = Callable[[bool], Any]
"""Returns a browser, which runs the scripts of pages if the argument is true."""


@contextmanager
def shared_browser() -> Iterator[GetBrowser]:
    """Return a browser that starts at the first call, and that is reset at each."""
    with ExitStack() as stack:
        started = cache(lambda: stack.enter_context(chromium()))
        yield lambda scripts: reset(started(), scripts=scripts)


def reset(browser: Any, *, scripts: bool) -> Any:
    """Forget the page, its size and colour scheme, the cookies and the logs."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get_log("browser")
    list(read_requests(browser))
    return browser


def sign_in(browser: Any, username: str, secret: str) -> None:
    """Sign in by the link on the page, which then opens again."""
    browser.find_element("link text", "Sign in").click()
    fill(browser, "username", username)
    fill(browser, "password", secret)
    click_button(browser, "Sign in")
    wait_for_text(browser, "Sign out")


def fill(browser: Any, name: str, text: str) -> None:
    """Replace the text of an input."""
    element = browser.find_element("name", name)
    element.clear()
    element.send_keys(text)


def click_button(browser: Any, label: str) -> None:
    """Click the button with this label."""
    browser.find_element("xpath", f"//button[normalize-space()='{label}']").click()


def wait_for_text(browser: Any, text: str) -> None:
    """Wait until the page shows a text; raises TimeoutException."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: text in browser.page_source)


def wait_for_script(browser: Any, script: str) -> None:
    """Wait until a script returns something true; raises TimeoutException."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(script))


def assert_no_errors(browser: Any, origin: str) -> set[str]:
    """Check that the console has no errors, and that all requests went to this origin; return their URLs."""
    entries = browser.get_log("browser")
    assert [entry for entry in entries if entry["level"] in ("SEVERE", "WARNING")] == []
    urls = set(read_requests(browser))
    assert [url for url in urls if not url.startswith((origin, "data:"))] == []
    return urls


def read_requests(browser: Any) -> Iterator[str]:
    """Yield the URLs that the browser requested since the last call."""
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]
