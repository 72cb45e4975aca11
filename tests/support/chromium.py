"""A real headless Chromium, and what people do with its pages."""

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
    """A browser that logs its console and its requests."""
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


Browsers = Callable[[bool], Any]
"""Returns a browser, which runs the scripts of pages or does not."""


@contextmanager
def lasting_browser() -> Iterator[Browsers]:
    """One that starts when it is asked for, and is as new each time."""
    with ExitStack() as stack:
        started = cache(lambda: stack.enter_context(chromium()))
        yield lambda scripts: as_new(started(), scripts=scripts)


def as_new(browser: Any, *, scripts: bool) -> Any:
    """Forget the page, its size and scheme, the cookies and what was logged."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get_log("browser")
    list(requested(browser))
    return browser


def sign_in(browser: Any, username: str, secret: str) -> None:
    """By the link on the page, to which one comes back."""
    browser.find_element("link text", "Sign in").click()
    fill(browser, "username", username)
    fill(browser, "password", secret)
    press(browser, "Sign in")
    await_text(browser, "Sign out")


def fill(browser: Any, name: str, text: str) -> None:
    """Write into an input."""
    found = browser.find_element("name", name)
    found.clear()
    found.send_keys(text)


def press(browser: Any, label: str) -> None:
    """A button."""
    browser.find_element("xpath", f"//button[normalize-space()='{label}']").click()


def await_text(browser: Any, text: str) -> None:
    """Wait until the page shows a text; raises TimeoutException."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: text in browser.page_source)


def await_script(browser: Any, script: str) -> None:
    """Wait until a script returns something true; raises TimeoutException."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(script))


def assert_quiet(browser: Any, here: str) -> set[str]:
    """No error in the console, and no request that leaves the machine; the URLs that it asked for."""
    loud = [one for one in browser.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]
    assert loud == []
    urls = set(requested(browser))
    assert [url for url in urls if not url.startswith((here, "data:"))] == []
    return urls


def requested(browser: Any) -> Iterator[str]:
    """The URLs that the browser asked for since the last call."""
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]
