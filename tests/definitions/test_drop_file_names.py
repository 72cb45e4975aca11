"""Interpretations of the names of dropped files."""

from datetime import UTC, datetime

import pytest

from pipeline.definitions.drop_file_names import interpret_name

MIDNIGHT = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stem", "interpretations"),
    [
        ("rain", [("rain", None)]),
        ("rain_20240102", [("rain_20240102", None), ("rain", MIDNIGHT)]),
        ("rain_2024-01-02T00:00:00Z", [("rain_2024-01-02T00:00:00Z", None), ("rain", MIDNIGHT)]),
        ("rain_20240102_0000", [("rain_20240102_0000", None), ("rain", MIDNIGHT)]),
        ("rain_nl_20240102", [("rain_nl_20240102", None), ("rain_nl", MIDNIGHT)]),
        ("rain_nl", [("rain_nl", None)]),
        ("rain_1704067200", [("rain_1704067200", None)]),  # a number may mean anything
        ("rain_1711101200", [("rain_1711101200", None)]),
        ("_20240102", [("_20240102", None)]),
        ("", [("", None)]),
        ("rain_20240101_20240102", [("rain_20240101_20240102", None), ("rain_20240101", MIDNIGHT)]),
    ],
)
def test_a_name_is_a_code_or_a_code_and_a_time(
    stem: str, interpretations: list[tuple[str, datetime | None]]
) -> None:
    assert [
        (interpretation.key, interpretation.time) for interpretation in interpret_name(stem, "UTC")
    ] == interpretations


def test_a_time_without_offset_is_in_the_zone() -> None:
    interpretation = interpret_name("rain_20240701T1200", "Europe/Amsterdam")[1]
    assert interpretation.time == datetime(2024, 7, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stem", "fault"),
    [
        ("rain_20241327", "this time does not exist"),
        ("rain_20241027T0230", "show it twice"),
        ("rain_20240331T0230", "skip it"),
    ],
)
def test_an_impossible_time_has_a_fault(stem: str, fault: str) -> None:
    interpretation = interpret_name(stem, "Europe/Amsterdam")[1]
    assert (interpretation.key, interpretation.time) == ("rain", None)
    assert interpretation.fault is not None
    assert fault in interpretation.fault
