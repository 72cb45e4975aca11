"""Check the accessibility of pages with axe-core (Deque), which is in `vendor/`."""

from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
RUN = """
    const done = arguments[arguments.length - 1];
    const options = {resultTypes: ["violations"]};
    axe.run(document, options).then((results) => done(results.violations), (error) => done(String(error)));
"""


def find_violations(browser: Any) -> list[str]:
    """Return the serious and critical violations on the open page."""
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    violations = browser.execute_async_script(RUN)
    assert isinstance(violations, list), violations
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
