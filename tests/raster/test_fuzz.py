from pathlib import Path

from tests.fuzz import run


def test_mutated_headers_give_a_record_or_a_clean_refusal(tmp_path: Path) -> None:
    findings = run(600, seed=20240101, folder=tmp_path)
    assert findings.failures == ()
    assert findings.outcomes.total() == 600
    assert findings.outcomes["record"] > 60  # otherwise the mutants are too wild to prove much
    assert findings.slowest < 5
    assert findings.peak_memory < 500
