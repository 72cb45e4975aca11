"""A browser of any width and scheme, which looks at maps."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.conftest import until
from tests.support.chromium import chromium, requested

Look = Callable[[int, str], Any]


@pytest.fixture(scope="module")
def look() -> Iterator[Look]:
    """A browser with scripts, as wide and as light as asked for."""
    with chromium(scripts=True) as browser:

        def prepare(width: int, scheme: str) -> Any:
            size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            browser.delete_all_cookies()
            browser.get_log("browser")  # those of earlier tests
            list(requested(browser))
            return browser

        yield prepare


def ready(browser: Any) -> None:
    """Wait until the map has drawn everything."""
    script = "return document.getElementById('map')?.dataset.ready === 'true'"
    until(lambda: bool(browser.execute_script(script)), 40)
