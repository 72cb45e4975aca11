"""A browser of any width and scheme, which looks at maps."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chromium import GetBrowser

Look = Callable[[int, str], Any]
UNTIL_READY = """
    const done = arguments[0], map = document.getElementById("map");
    const look = () => map.dataset.ready === "true" ? done() : setTimeout(look, 20);
    look();
"""


@pytest.fixture
def look(get_browser: GetBrowser) -> Look:
    """A browser with scripts, as wide and as light as asked for."""

    def prepare(width: int, scheme: str) -> Any:
        browser = get_browser(True)
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        prefer(browser, scheme)
        return browser

    return prepare


def prefer(browser: Any, scheme: str) -> None:
    """Show pages light or dark from now on, also the one that is open."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def ready(browser: Any) -> None:
    """Wait until the map has drawn everything."""
    browser.set_script_timeout(40)
    browser.execute_async_script(UNTIL_READY)
