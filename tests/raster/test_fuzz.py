import json
import sys

from tests.support.commands import run


def test_mutated_headers_give_a_record_or_a_rejection() -> None:
    # In a process whose only children are the readers, so that their peak memory can be measured.
    findings = json.loads(
        run([sys.executable, "-m", "tests.support.fuzz", "600", "20240101"]).stdout
    )
    assert findings["failures"] == []
    assert sum(findings["outcomes"].values()) == 600
    # With fewer records the mutants would be too broken to prove much.
    assert findings["outcomes"]["record"] > 60
    assert findings["slowest"] < 5
    assert findings["peak_memory"] < 500
