"""Check the accessibility of pages with axe-core (Deque), which is in `vendor/`."""

from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
LOADED = "return 'axe' in window"
RUN = """
    const [coloursOnly, done] = arguments;
    const options = {resultTypes: ["violations"]};
    if (coloursOnly) options.runOnly = {type: "rule", values: ["color-contrast", "link-in-text-block"]};
    axe.run(document, options).then((results) => done(results.violations), (error) => done(String(error)));
"""


def find_violations(browser: Any, scheme: str) -> list[str]:
    """Return the serious and critical violations on the open page.

    In the dark scheme only the rules about colours are checked, as our style sheets change nothing else there.
    """
    if not browser.execute_script(LOADED):
        browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    violations = browser.execute_async_script(RUN, scheme == "dark")
    assert isinstance(violations, list), violations
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
