"""Formats and patterns of definitions that name a date, and others that do not."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.definitions.sources_toml import load_config
from pipeline.errors import CatalogueError
from pipeline.raster import TimeRule, TimeTags, check_format, compile_pattern, date_file

SOURCE = "[[source]]\nid = 'rain'\nfiles = '*.tif'\norganisation = 'A'\n"
DAY = datetime(2024, 5, 2, tzinfo=UTC)
MINUTE = datetime(2024, 5, 2, 14, 30, tzinfo=UTC)

DATES = [
    ("%Y%m%d", "20240502", DAY),
    ("%y%m%d", "240502", DAY),  # POSIX: 69 to 99 are of the twentieth century
    ("%y%m%d", "690502", datetime(1969, 5, 2, tzinfo=UTC)),
    ("%Y%m", "202405", datetime(2024, 5, 1, tzinfo=UTC)),
    ("%Y", "2024", datetime(2024, 1, 1, tzinfo=UTC)),
    ("%Y%j", "2024123", DAY),
    ("%d%b%Y", "02May2024", DAY),
    ("%d-%B-%Y", "02-May-2024", DAY),
    ("%a%d%b%Y", "Thu02May2024", DAY),
    ("%Y%m%d_%H%M", "20240502_1430", MINUTE),
    ("%Y%m%d_%I%M%p", "20240502_0230PM", MINUTE),
    ("%Y%m%d%H%M%S.%f", "20240502143000.5", MINUTE.replace(microsecond=500_000)),
    ("%Y%m%dT%H%M%z", "20240502T1630+0200", MINUTE),
    ("%Y%m%dT%H%M%z", "20240502T1430Z", MINUTE),
    ("%Y%%%m%d", "2024%0502", DAY),
    ("%G%V%u", "2024184", DAY),  # ISO 8601: 2024-W18-4
    ("%G-W%V-%a", "2024-W18-Thu", DAY),
    ("%Y%W%w", "2024184", DAY),  # the 18th Monday of 2024 was 29 April
    ("%Y%U%A", "202417Thursday", DAY),  # the 17th Sunday was 28 April
    ("%s", "1714660200", MINUTE),
    ("%s", "1714660200000", MINUTE),
    ("%s", "0", datetime(1970, 1, 1, tzinfo=UTC)),
    ("%s", "946684800", datetime(2000, 1, 1, tzinfo=UTC)),
    ("%s", "1924992000", datetime(2031, 1, 1, tzinfo=UTC)),
]
NO_DATES = [
    "", "rain", "%H%M", "%H", "%M", "%S", "%f", "%I%p", "%p", "%d", "%m", "%m%d", "%b%d", "%j", "%j%H", "%U", "%W",
    "%V", "%a", "%A", "%w", "%u", "%z", "%%", "%Y%W", "%Y%U", "%y%W", "%Y%a", "%Y%m%W", "%G", "%G%V", "%V%u", "%Y%V%u",
    "%G%u", "%G%V%u%m", "%G%j", "%Y%d", "%Y%H", "%Y%m%H", "%Y%m%d%M", "%Y%m%d%H%S", "%Y%m%d%H%M%f", "%Y%m%d%j",
    "%Y%m%j", "%Y%m%d%I", "%Y%m%d%I%M", "%Y%m%d%H%p", "%Y%m%d%H%I%p", "%Z", "%Y%m%d%Z", "%Y%m%d_%H%M%Z", "%c", "%x",
    "%X", "%Y%m%d%X", "%x %H%M", "%Y%s", "%Y%m%d%", "%Y%m%d %Y", "%Y %y", "%y%m%d_%Y",
    "%Y%m%b%d", "%b%B%Y", "%Y%W%U%w", "%Y%W%w%a", "%Y%m%d%e", "%F", "%D", "%T",
    "%-d%m%Y", "%:z", "%N", "%Y%é",
]  # fmt: skip


@pytest.mark.parametrize(("time_format", "text", "time"), DATES)
def test_a_format_that_names_a_date_is_read(
    tmp_path: Path, time_format: str, text: str, time: datetime
) -> None:
    rule = TimeRule(pattern=r"^x_(?P<time>.+)\.tif$", time_format=time_format)
    dating = date_file(Path(f"/data/x_{text}.tif"), TimeTags(), rule)
    assert (dating.times, dating.warnings) == ((time,), ())
    path = tmp_path / "sources.toml"
    path.write_text(SOURCE + f"pattern = '(?P<time>.+)'\ntime_format = '{time_format}'\n")
    assert load_config(path).source[0].time_rule().time_format == time_format


@pytest.mark.parametrize("time_format", NO_DATES)
def test_a_format_without_a_date_is_an_error_of_the_definition(
    tmp_path: Path, time_format: str
) -> None:
    with pytest.raises(CatalogueError):
        check_format(time_format)
    path = tmp_path / "sources.toml"
    path.write_text(SOURCE + f"pattern = '(?P<time>.+)'\ntime_format = '{time_format}'\n")
    with pytest.raises(
        CatalogueError, match=r"line 6: .*time_format: cannot date files: the format"
    ):
        load_config(path)


def test_every_directive_of_strptime_is_read_or_rejected() -> None:
    """The directives are those that Python documents for strptime."""
    for directive in "aAwdbBmyYHIpMSfzZjUWcxX%GuV":
        accepted = {known for format_, *_ in DATES for known in re.findall("%(.)", format_)}
        rejected = {known for format_ in NO_DATES for known in re.findall("%(.?)", format_)}
        assert directive in accepted | rejected, directive


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "Asia/Tokyo"])
@pytest.mark.parametrize("language", ["nl_NL.UTF-8", "C", "de_DE.UTF-8"])
def test_neither_language_nor_zone_of_the_machine_changes_times(zone: str, language: str) -> None:
    text = "02May2024_0230PM"
    program = (
        "from pathlib import Path; from pipeline.raster import TimeRule, TimeTags, date_file; "
        f"rule = TimeRule(pattern='(?P<time>.+)', time_format='%d%b%Y_%I%M%p'); print(date_file(Path({text!r}), "
        "TimeTags(), rule).times[0].isoformat())"
    )
    environment = {**os.environ, "TZ": zone, "LC_ALL": language, "LANG": language}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == MINUTE.isoformat()


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (r"(?P<year>\d{2})(?P<month>\d\d)", "group year must have exactly four digits"),
        (r"(?P<year>[0-9][0-9])", "group year must have exactly four digits"),
        (r"(?P<year>2\d|1[0-9])_", "group year must have exactly four digits"),
        (r"(?P<year>\d+)(?P<zone>Z)?", "group year must have exactly four digits"),
        (r"(?P<year>.{2,4})", "group year must have exactly four digits"),
        (r"(x)(?P<year>\d{2,4})", "group year must have exactly four digits"),
        (r"(?P<year>\d{4}|\d\d)_", "group year must have exactly four digits"),
        (r"((?:a|(?P<year>\d{4}\d?)){2})", "group year must have exactly four digits"),
        (r"(?P<hour>\d\d)(?P<minute>\d\d)", "needs a group named time, or year"),
        (r"_(?P<month>\d\d)\.", "needs a group named time, or year"),
        (r"(?P<area>[a-z]+)_(?P<yday>\d{3})", "needs a group named time, or year"),
        (r"(?P<time>\d{6})", "group time is too short for a date; set time_format"),
        (r"(?P<time>\d{4})_", "group time is too short for a date; set time_format"),
        (r"(?P<time>..|.{1,6})_", "group time is too short for a date; set time_format"),
        (r"(?P<year>\d{4})(?P<day>\d\d)", "the month is missing"),
        (r"(?P<year>\d{4})_(?P<hour>\d\d)", "an hour needs its day"),
        (r"(?P<year>\d{4})(?P<month>\d\d)(?P<hour>\d\d)", "an hour needs its day"),
        (r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<minute>\d\d)", "the hour of its minute"),
        (r"(?P<year>\d{4})(?P<month>\d\d)(?P<yday>\d{3})", "has the day twice"),
    ],
)
def test_groups_without_a_date_are_an_error_of_the_definition(
    tmp_path: Path, pattern: str, sentence: str
) -> None:
    with pytest.raises(CatalogueError, match=sentence):
        compile_pattern(pattern)
    path = tmp_path / "sources.toml"
    path.write_text(SOURCE + f"pattern = '{pattern}'\n")
    with pytest.raises(CatalogueError, match=f"line 5: .*pattern: cannot date files: .*{sentence}"):
        load_config(path)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<year>\d{4})", r"(?P<year>20\d\d)(?P<yday>\d{3})", r"(?P<year>(?:19|20)[0-9]{2})\[\)(?P<month>\d\d)",
        r"(?P<year>[12][^)\]]{3})_", r"(?i:(?:x|y)(?P<year>(?=2)\d\d(?:\d{2})\b))", r"(?P<year>\d{4})(?P<zone>Z)?",
        r"(?P<time>\d{7})", r"(?P<time>\d+)", r"(?P<time>.{4,7})_(?P<month>\d\d)",
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)?",
    ],
)  # fmt: skip
def test_groups_that_name_a_date_are_read(pattern: str) -> None:
    assert compile_pattern(pattern).groups


@pytest.mark.parametrize("pattern", [r"_(?P<zone>\d\d)\.", r"(?P<fraction>[a-z]+)_"])
def test_groups_that_are_not_a_date_by_themselves_name_files(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(SOURCE + f"pattern = '{pattern}'\n")
    assert load_config(path).source[0].time_rule().pattern is None


@pytest.mark.parametrize(
    "text",
    ["00241231", "02412313", "0024366", "00241231Z", "00241231T1200", "17110101", "99999999", "00241231120000"],
)  # fmt: skip
def test_digits_of_an_unlikely_century_need_a_format(text: str) -> None:
    dating = date_file(
        Path(f"/data/x_{text}.tif"), TimeTags(), TimeRule(pattern=r"_(?P<time>\w+)\.tif")
    )
    assert (dating.times, [warning.code for warning in dating.warnings]) == (
        (),
        ["unreadable_time"],
    )


def test_a_format_or_separators_date_files_to_any_century() -> None:
    rule = TimeRule(pattern=r"_(?P<time>\d{8})\.", time_format="%Y%m%d")
    assert date_file(Path("/x_17110102.tif"), TimeTags(), rule).times == (
        datetime(1711, 1, 2, tzinfo=UTC),
    )
    rule = TimeRule(pattern=r"_(?P<time>[0-9-]+)\.")
    assert date_file(Path("/x_1711-01-02.tif"), TimeTags(), rule).times == (
        datetime(1711, 1, 2, tzinfo=UTC),
    )


@pytest.mark.parametrize("pattern", ["", r"pattern = '(?P<year>\d{4})'", "pattern = '(?P<area>x)'"])
def test_a_format_without_a_group_time_is_rejected(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(SOURCE + f"{pattern}\ntime_format = '%Y%m%d'\n")
    with pytest.raises(CatalogueError, match=r"line 6: .*time_format: needs a group named time"):
        load_config(path)


def test_a_short_time_is_read_with_its_format(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(SOURCE + "pattern = '(?P<time>.{6})'\ntime_format = '%y%m%d'\n")
    dating = date_file(
        Path("/data/240502.tif"), TimeTags(), load_config(path).source[0].time_rule()
    )
    assert dating.times == (DAY,)


def load_in_zone(tmp_path: Path, time_format: str, zone: str) -> str:
    """Load a definition with this format and zone; return the zone in which it reads times."""
    path = tmp_path / "sources.toml"
    fields = f"pattern = '(?P<time>.+)'\ntime_format = '{time_format}'\ntime_zone = '{zone}'\n"
    path.write_text(SOURCE + fields)
    return load_config(path).source[0].time_rule().time_zone


@pytest.mark.parametrize(
    ("time_format", "stated_zone"),
    [
        ("%Y%m%d_%H%MZ", "UTC"), ("%Y%m%d_%H%MUTC", "UTC"), ("%Y%m%d_%H%MGMT", "UTC"), ("%Y%m%d_%H%M_UTC", "UTC"),
        ("%Y%m%dZ", "UTC"), ("%Y%m%d%H%M UTC", "UTC"), ("%Y%m%d%H%M-UTC", "UTC"), ("%Y%m%d%H%Mutc", "UTC"),
        ("%Y%m%d%H%Mz", "UTC"), ("%Y%m%d%H%M%SZ_v2", "UTC"), ("UTC%Y%m%d%H%M", "UTC"), ("gmt_%Y%m%d", "UTC"),
        ("%Y%m%d%H%M+0000", "+0000"), ("%Y%m%d%H%M-0500", "-0500"), ("%Y%m%dT%H:%M+01:00", "+01:00"),
    ],
)  # fmt: skip
def test_a_format_with_a_zone_excludes_another_zone(
    tmp_path: Path, time_format: str, stated_zone: str
) -> None:
    if stated_zone == "UTC" or stated_zone == "+0000":
        load_in_zone(tmp_path, time_format, "UTC")
        load_in_zone(tmp_path, time_format, "Etc/UTC")
    sentence = re.escape(f"time_format: contains {stated_zone}, but time_zone is Europe/Amsterdam")
    with pytest.raises(CatalogueError, match=sentence):
        load_in_zone(tmp_path, time_format, "Europe/Amsterdam")


@pytest.mark.parametrize("offset", ["+0100", "-0500", "+01:00"])
def test_an_offset_in_plain_text_excludes_utc(tmp_path: Path, offset: str) -> None:
    with pytest.raises(CatalogueError, match=re.escape(f"time_format: contains {offset}, but")):
        load_in_zone(tmp_path, f"%Y%m%d%H%M{offset}", "UTC")
    load_in_zone(tmp_path, "%Y-0101", "UTC")


@pytest.mark.parametrize(
    "time_format",
    ["%Y%m%dT%H%M%z", "%Y%m%d_%H%M_UTC%z", "%Y%m%d_NZ", "zone_%Y%m%d", "%Y%m%d_%H00", "%Y-%m-%d-00001", "%Y%m%d%%Zulu"],
)  # fmt: skip
def test_a_format_without_a_zone_allows_every_zone(tmp_path: Path, time_format: str) -> None:
    assert load_in_zone(tmp_path, time_format, "Europe/Amsterdam") == "Europe/Amsterdam"
