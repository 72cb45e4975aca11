import json
import sys

from tests.support.commands import run


def test_mutated_headers_give_a_record_or_a_rejection() -> None:
    # Another process, with the readers as its only children, so that their peak memory can be measured.
    findings = json.loads(
        run([sys.executable, "-m", "tests.support.fuzz", "600", "20240101"]).stdout
    )
    assert findings["failures"] == []
    assert sum(findings["outcomes"].values()) == 600
    assert findings["outcomes"]["record"] > 60  # otherwise the mutants are too wild to prove much
    assert findings["slowest"] < 5
    assert findings["peak_memory"] < 500
