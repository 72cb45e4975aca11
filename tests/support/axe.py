"""Accessibility of a page, judged by axe-core (Deque), which is kept in `vendor/`."""

from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
RUN = """
    const done = arguments[arguments.length - 1];
    const options = {resultTypes: ["violations"]};
    axe.run(document, options).then((found) => done(found.violations), (error) => done(String(error)));
"""


def findings(browser: Any) -> list[str]:
    """Serious and critical findings on the page that is open."""
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text()})
    violations = browser.execute_async_script(RUN)
    assert isinstance(violations, list), violations
    return [
        f"{found['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for found in violations
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]
