"""A browser of any width and colour scheme, and helpers for maps."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chromium import GetBrowser

OpenBrowser = Callable[[int, str], Any]
UNTIL_READY = """
    const done = arguments[0], map = document.getElementById("map");
    const look = () => map.dataset.ready === "true" ? done() : setTimeout(look, 20);
    look();
"""


@pytest.fixture
def open_browser(get_browser: GetBrowser) -> OpenBrowser:
    """Return a function that opens a browser with scripts, of a width and a colour scheme."""

    def prepare(width: int, scheme: str) -> Any:
        browser = get_browser(True)
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        set_scheme(browser, scheme)
        return browser

    return prepare


def set_scheme(browser: Any, scheme: str) -> None:
    """Show the open page and all later pages light or dark."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def wait_for_map(browser: Any) -> None:
    """Wait until the map is drawn completely."""
    browser.set_script_timeout(40)
    browser.execute_async_script(UNTIL_READY)
