"""The formats of sizes, numbers and times on pages."""

from datetime import UTC, datetime

import pytest

from pipeline.api.site.formats import show_day, show_number, show_period, show_size, show_time


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (733_758_945, "734 MB"),
        (12_345_678_901, "12.3 GB"),
        (4 * 10**18, "4 EB"),
        (None, "–"),
    ],
)
def test_a_size_has_three_digits_and_a_unit(size: int | None, shown: str) -> None:
    assert show_size(size) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.5, "0.5"), (-0.5, "-0.5"), (25.0, "25"), (1234567.0, "1,234,567"), (172724.5, "172,724.5"),
     (12345678901234, "12,345,678,901,234"), (42535415312.0, "42,535,415,312"), (1e20, "1e+20"),
     (1 / 3, "0.3333333333"), (None, "–")],
)  # fmt: skip
def test_a_number_has_at_most_ten_digits(number: float | None, shown: str) -> None:
    assert show_number(number) == shown


def test_a_time_is_shown_in_utc_with_the_whole_time_in_its_tooltip() -> None:
    morning = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
    attributes = 'datetime="2024-02-03T04:05:06Z" title="2024-02-03T04:05:06Z"'
    assert show_day(morning) == f"<time {attributes}>2024-02-03</time>"
    assert show_time(morning) == f"<time {attributes}>2024-02-03 04:05</time>"
    assert show_day(None) == "–"
    assert show_period(morning, morning) == show_day(morning)
    later = datetime(2025, 1, 1, tzinfo=UTC)
    assert show_period(morning, later) == f"{show_day(morning)}<br>{show_day(later)}"
    noon = datetime(2024, 2, 3, 12, tzinfo=UTC)
    assert show_period(morning, noon) == f"{show_time(morning)}<br>{show_time(noon)}"
