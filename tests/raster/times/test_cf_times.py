"""Times in the CF conventions, compared with cftime and with instants by hand."""

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import cftime
import pytest

from pipeline.raster import InvalidTime, RasterFile, ReadOptions, TimeRule
from pipeline.raster.times.cf_times import parse_cf_time
from tests.support.factory import read_path, write_raster

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)


def read_cf_raster(
    folder: Path,
    value: str,
    units: str,
    calendar: str | None = None,
    zone: str = "UTC",
    dimension: str = "time",
) -> RasterFile:
    """Write a raster as GDAL translates it from netCDF; return its record."""
    tags = {f"{dimension}#units": units}
    if calendar is not None:
        tags[f"{dimension}#calendar"] = calendar
    band = {f"NETCDF_DIM_{dimension}": value}
    path = write_raster(folder / "a.tif", band_tags=[band], tags=tags)
    return read_path(path, ReadOptions(time_rule=TimeRule(time_zone=zone)))


@pytest.mark.parametrize(
    ("value", "units", "time"),
    [
        ("1704067200", "seconds since 1970-01-01 00:00:00 +01:00", datetime(2023, 12, 31, 23)),
        ("1704067200", "seconds since 1970-01-01 00:00:00+01:00", datetime(2023, 12, 31, 23)),
        ("1704067200", "seconds since 1970-01-01T00:00:00Z", NEW_YEAR),
        ("1704067200", "seconds since 1970-01-01 00:00:00 UTC", NEW_YEAR),
        # The example of the CF conventions: Mountain Daylight Time, which cftime reads without its zone.
        ("0", "seconds since 1992-10-8 15:15:42.5 -6:00", datetime(1992, 10, 8, 21, 15, 42, 500_000)),
        ("0", "days since 2000-01-01 -0330", datetime(2000, 1, 1, 3, 30)),
        ("0", "days since 2000-1-1 6", datetime(2000, 1, 1, 6)),
        ("1086960", "hours since 1900-01-01 00:00:00.0", NEW_YEAR),
        ("1086960", "hours since 1900-1-1 0:0:0", NEW_YEAR),
        ("45290", "Days Since 1900-01-01", NEW_YEAR),
        ("45290", "d since 19000101", NEW_YEAR),
        ("65217600", "min since 1900-01-01", NEW_YEAR),
        ("1704067200000", "msec since 1970-01-01", NEW_YEAR),
        ("1704067200123456", "microseconds since 1970-01-01", datetime(2024, 1, 1, 0, 0, 0, 123_456)),
        ("1704067200000000000", "nanoseconds since 1970-01-01", NEW_YEAR),
        ("6470", "weeks since 1900-01-01", NEW_YEAR),  # 45,290 days
        # 365 * 1899 days and 460 leap days until 1900; the Julian year 1 began two days before the Gregorian.
        ("693597", "days since 1-1-1", datetime(1900, 1, 1)),
        ("1", "days since 1582-10-4", datetime(1582, 10, 15)),
        ("-1", "days since 2024-01-02", NEW_YEAR),
        ("45290.5", "days since 1900-01-01", datetime(2024, 1, 1, 12)),
        ("45290.041666666664", "days since 1900-01-01", datetime(2024, 1, 1, 1)),
        ("4.529e4", "days since 1900-01-01", NEW_YEAR),
        ("0.000003", "seconds since 2024-01-01", datetime(2024, 1, 1, 0, 0, 0, 3)),
        ("0", "seconds since 2024-01-01 00:00:00.000003", datetime(2024, 1, 1, 0, 0, 0, 3)),
    ],
)  # fmt: skip
def test_units_are_read_in_every_usual_spelling(
    tmp_path: Path, value: str, units: str, time: datetime
) -> None:
    raster = read_cf_raster(tmp_path, value, units)
    assert raster.times == (time.replace(tzinfo=UTC),)
    assert [warning.code for warning in raster.warnings] == []


def test_units_without_a_zone_are_utc_whatever_the_zone_of_the_definition(tmp_path: Path) -> None:
    units = "hours since 1900-01-01 00:00:00.0"
    assert read_cf_raster(tmp_path, "1086960", units, zone="Europe/Amsterdam").times == (NEW_YEAR,)


@pytest.mark.parametrize(
    "calendar",
    ["noleap", "365_day", "all_leap", "366_day", "360_day", "none", "tai", "utc", "Mayan"],
)
def test_a_calendar_without_civil_days_gives_no_time_and_a_warning_that_names_it(
    tmp_path: Path, calendar: str
) -> None:
    raster = read_cf_raster(tmp_path, "100", "days since 2000-01-01", calendar)
    assert raster.times == ()
    (warning,) = raster.warnings
    assert warning.code == "no_civil_time"
    assert repr(calendar) in warning.message


@pytest.mark.parametrize(
    ("value", "units", "calendar", "time"),
    [
        # The first of January by the Julian calendar is the fourteenth by the Gregorian one, since 1900.
        ("0", "days since 2024-01-01", "julian", datetime(2024, 1, 14)),
        # Ten days apart in the sixteenth century, nine until 1500-02-28.
        ("0", "days since 1582-10-04", "standard", datetime(1582, 10, 14)),
        ("0", "days since 1500-01-01", "gregorian", datetime(1500, 1, 10)),
        # Julian days begin at noon of 1 January 4713 before Christ; 2,460,310.5 is the midnight of 2024.
        ("2460310.5", "days since -4713-01-01 12:00", "julian", datetime(2024, 1, 1)),
    ],
)
def test_julian_days_are_given_in_the_gregorian_calendar_with_a_warning(
    tmp_path: Path, value: str, units: str, calendar: str, time: datetime
) -> None:
    raster = read_cf_raster(tmp_path, value, units, calendar)
    assert raster.times == (time.replace(tzinfo=UTC),)
    assert [warning.code for warning in raster.warnings] == ["calendar_converted"]


@pytest.mark.parametrize(
    ("value", "units", "calendar", "code"),
    [
        ("NaN", "days since 2000-01-01", "standard", "unreadable_time"),
        ("inf", "days since 2000-01-01", "standard", "unreadable_time"),
        ("{1,2}", "days since 2000-01-01", "standard", "unreadable_time"),
        ("9.96920996838687e+36", "days since 2000-01-01", "standard", "impossible_time"),
        ("1e9999", "days since 2000-01-01", "standard", "impossible_time"),
        ("3000000", "days since 2000-01-01", "standard", "impossible_time"),
        ("-800000", "days since 2000-01-01", "standard", "impossible_time"),
        ("0", "days since 9999-12-31 23:00 -05", "standard", "impossible_time"),
        ("0", "days since 2023-02-29", "standard", "impossible_time"),
        ("0", "days since 1582-10-10", "standard", "impossible_time"),
        ("0", "days since 0000-01-01", "standard", "impossible_time"),
        ("0", "days since 2000-01-01 24:00", "standard", "impossible_time"),
        ("0", "days since 2000-01-01 00:00 +99:00", "standard", "impossible_time"),
        ("1", "months since 2000-01-01", "standard", "unreadable_time"),
        ("1", "years since 2000-01-01", "proleptic_gregorian", "unreadable_time"),
        ("1", "common_years since 2000-01-01", "standard", "unreadable_time"),
        ("1", "days since 2000-01-01 00:00:00 CET", "standard", "unreadable_time"),
        ("1", "days since yesterday", "standard", "unreadable_time"),
        ("20240101.5", "day as %Y%m%d.%f", "standard", "unreadable_time"),
        ("1", "days", "standard", "unreadable_time"),
    ],
)
def test_a_value_that_is_not_a_time_gives_no_time_and_a_warning(
    tmp_path: Path, value: str, units: str, calendar: str, code: str
) -> None:
    raster = read_cf_raster(tmp_path, value, units, calendar)
    assert raster.times == ()
    assert [warning.code for warning in raster.warnings] == [code]


@pytest.mark.filterwarnings("ignore::cftime.CFWarning")  # about years before Christ
@pytest.mark.parametrize("calendar", ["standard", "gregorian", "proleptic_gregorian", "julian"])
@pytest.mark.parametrize(
    "unit", ["microseconds", "milliseconds", "seconds", "minutes", "hours", "days"]
)
def test_cftime_gives_the_same_times(calendar: str, unit: str) -> None:
    references = ["2000-02-29 23:59:59", "1970-1-1", "1582-10-15", "1582-10-4 6:00", "1500-2-28"]
    references += ["0001-01-01", "1900-03-01 00:00:00 +05:30"]
    for reference, value in itertools.product(references, [0, 1, -1, 59, 1_000_003, 146_097]):
        units = f"{unit} since {reference}"
        expected = cftime.num2date(value, units, calendar).change_calendar("proleptic_gregorian")
        if expected.year < 1:
            with pytest.raises(InvalidTime, match="years 1 to 9999"):
                parse_cf_time(str(value), units, calendar)
            continue
        time, _ = parse_cf_time(str(value), units, calendar)
        assert time.replace(tzinfo=None).isoformat() == expected.isoformat(), (value, units)


def test_doubles_of_days_since_any_year_keep_their_seconds() -> None:
    for year, hour in itertools.product((1, 1600, 1800, 1900, 1970), range(24)):
        reference = datetime(year, 1, 1)
        expected = datetime(2024, 7, 1, hour, 7, 59)
        days = float(Fraction((expected - reference) // timedelta(seconds=1), 86_400))
        units = f"days since {year:04}-01-01"
        time, _ = parse_cf_time(repr(days), units, "proleptic_gregorian")
        assert time == expected.replace(tzinfo=UTC)


def test_each_band_has_its_time_and_a_common_problem_gives_one_warning(tmp_path: Path) -> None:
    bands = [{"NETCDF_DIM_time": str(day)} for day in (45290, 45291, 45292)]
    tags = {"time#units": "days since 1900-1-1"}
    series = read_path(write_raster(tmp_path / "a.tif", count=3, band_tags=bands, tags=tags))
    assert series.times == tuple(NEW_YEAR + timedelta(days=day) for day in range(3))
    assert series.interval == timedelta(days=1)
    tags["time#calendar"] = "noleap"
    raster = read_path(write_raster(tmp_path / "b.tif", count=3, band_tags=bands, tags=tags))
    assert [warning.code for warning in raster.warnings] == ["no_civil_time"]


def test_the_dimension_of_time_may_have_another_name(tmp_path: Path) -> None:
    raster = read_cf_raster(tmp_path, "45290", "days since 1900-1-1", dimension="valid_time")
    assert raster.times == (NEW_YEAR,)


def test_the_dimension_called_time_is_used_and_two_others_are_ambiguous(
    tmp_path: Path,
) -> None:
    since = "days since 1900-1-1"
    band = {"NETCDF_DIM_time": "45290", "NETCDF_DIM_run": "45000", "NETCDF_DIM_t": "45001"}
    units = {"time#units": since, "run#units": since, "t#units": since}
    with_time = read_path(write_raster(tmp_path / "a.tif", band_tags=[band], tags=units))
    assert with_time.times == (NEW_YEAR,)
    del band["NETCDF_DIM_time"]
    without_time = read_path(write_raster(tmp_path / "b.tif", band_tags=[band], tags=units))
    assert (without_time.times, [warning.code for warning in without_time.warnings]) == (
        (),
        ["ambiguous_time"],
    )
    units["run#standard_name"] = "time"
    with_standard_name = read_path(write_raster(tmp_path / "c.tif", band_tags=[band], tags=units))
    assert with_standard_name.times == (datetime(2023, 3, 17, tzinfo=UTC),)


def test_a_number_without_units_is_not_a_time(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", band_tags=[{"NETCDF_DIM_time": "45290"}])
    raster = read_path(path)
    assert (raster.times, [warning.code for warning in raster.warnings]) == (
        (),
        ["unreadable_time"],
    )


@pytest.mark.parametrize(
    ("value", "time"),
    [("  1704067200 sec UTC", NEW_YEAR), ("-86400 sec UTC", datetime(1969, 12, 31, tzinfo=UTC))],
)
def test_times_of_grib_are_seconds_since_1970(tmp_path: Path, value: str, time: datetime) -> None:
    path = write_raster(tmp_path / "a.tif", band_tags=[{"GRIB_VALID_TIME": value}])
    assert read_path(path).times == (time,)
    path = write_raster(tmp_path / "b.tif", band_tags=[{"GRIB_VALID_TIME": "9" * 12}])
    assert [warning.code for warning in read_path(path).warnings] == ["impossible_time"]


@pytest.mark.parametrize(
    ("units", "sentence"),
    [
        ("bananas since 2024-01-01", "is not a known unit; write days, hours or seconds"),
        ("fortnights since 2024-01-01", "is not a known unit; write days, hours or seconds"),
        ("months since 2024-01-01", "does not have a fixed length; write days, hours or seconds"),
        ("Years since 2024-01-01", "does not have a fixed length; write days, hours or seconds"),
        (
            "days since 2024-02-30",
            r"the reference time of its units does not exist \(invalid day number\)",
        ),
        (
            "days since 2024-13-01",
            r"the reference time of its units does not exist \(invalid month\)",
        ),
    ],
)
def test_units_that_cannot_be_counted_are_explained(units: str, sentence: str) -> None:
    with pytest.raises(InvalidTime, match=sentence + "$"):
        parse_cf_time("1", units)
