from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.errors import CatalogueError
from pipeline.raster import RasterFile, ReadOptions, TimeRule
from pipeline.raster.times.band_times import band_time
from pipeline.raster.times.time_forms import parse_time, parse_time_or_epoch
from pipeline.raster.times.timestamps import FileTimes, TimeTags, date_file
from tests.support.factory import read_path, write_raster

AMSTERDAM = "Europe/Amsterdam"


def date_by_rule(name: str = "a.tif", tags: TimeTags | None = None, **rule: object) -> FileTimes:
    return date_file(Path("/data") / name, tags or TimeTags(), TimeRule(**rule))  # type: ignore[arg-type]


def warning_codes(dating: FileTimes | RasterFile) -> list[str]:
    return [warning.code for warning in dating.warnings]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024:06:18 14:14:24", datetime(2024, 6, 18, 14, 14, 24)),
        ("2002/08/06 12:28:31", datetime(2002, 8, 6, 12, 28, 31)),
        ("2024-06-18T14:14:24Z", datetime(2024, 6, 18, 14, 14, 24)),
        ("2024-06-18T14:14:24+02:00", datetime(2024, 6, 18, 12, 14, 24)),
        ("20240101T0100Z", datetime(2024, 1, 1, 1)),
        ("2018-02-13T122056Z", datetime(2018, 2, 13, 12, 20, 56)),
        ("20240101T020000.784912Z", datetime(2024, 1, 1, 2, 0, 0, 784912)),
        ("20040415190500", datetime(2004, 4, 15, 19, 5)),
        ("2022103", datetime(2022, 4, 13)),  # 31 + 28 + 31 = 90 days before April
        ("2024-366", datetime(2024, 12, 31)),
        ("20240618", datetime(2024, 6, 18)),
        ("17111012", datetime(1711, 10, 12)),
        ("2024-06-18 UTC", datetime(2024, 6, 18)),
    ],
)
def test_times_are_read_in_the_forms_that_files_use(text: str, time: datetime) -> None:
    assert parse_time(text) == time.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["2017:08:21 15:08:70", "2023366", "2023-02-29", "20241301", "2024-01-01T25:00", "20240101x",
     "2024", "1234567890123456", "0001-01-01T00:00+05:00", "2024-01-01T00:00+99:00"],
)  # fmt: skip
def test_a_text_that_is_not_a_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_time(text)


def test_a_time_that_the_clocks_show_twice_is_ambiguous() -> None:
    dating = date_by_rule("x_20241027T0230.tif", pattern=r"_(?P<time>.*)\.tif", time_zone=AMSTERDAM)
    assert (dating.times, warning_codes(dating)) == ((), ["ambiguous_time"])


def test_a_time_that_the_clocks_skip_is_impossible() -> None:
    dating = date_by_rule("x_20240331T0230.tif", pattern=r"_(?P<time>.*)\.tif", time_zone=AMSTERDAM)
    assert (dating.times, warning_codes(dating)) == ((), ["impossible_time"])


def test_local_times_follow_their_zone_through_the_year() -> None:
    zone = ZoneInfo(AMSTERDAM)
    assert parse_time("2024-01-01T12:00", zone) == datetime(2024, 1, 1, 11, tzinfo=UTC)
    assert parse_time("2024-07-01T12:00", zone) == datetime(2024, 7, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "pattern", "time_format", "time"),
    [
        ("evap_20160602.tiff", r"_(?P<time>\d{8})", None, datetime(2016, 6, 2)),
        ("MOD11A1.A2022103.h09.TIF", r"A(?P<year>\d{4})(?P<yday>\d{3})", None, datetime(2022, 4, 13)),
        (
            "LC08_L2SP_098084_20210503_20210508_02.TIF",
            r"_\d{6}_(?P<time>\d{8})_",
            None,
            datetime(2021, 5, 3),
        ),
        (
            "OR_ABI_s20211451811238_e20211451811295.tif",
            r"s(?P<time>\d{13})",
            "%Y%j%H%M%S",
            datetime(2021, 5, 25, 18, 11, 23),
        ),
        ("m5_01-02-2024.tif", r"(?P<day>\d\d)-(?P<month>\d\d)-(?P<year>\d{4})", None,
         datetime(2024, 2, 1)),
        ("rain_20240101T020000.784912Z.tif", r"_(?P<time>.+)\.tif$", None,
         datetime(2024, 1, 1, 2, 0, 0, 784912)),
    ],
)  # fmt: skip
def test_a_pattern_finds_the_time_in_the_name(
    name: str, pattern: str, time_format: str | None, time: datetime
) -> None:
    dating = date_by_rule(name, pattern=pattern, time_format=time_format)
    assert dating.times == (time.replace(tzinfo=UTC),)
    assert dating.origin == "pattern of the file name"


def test_a_pattern_that_does_not_fit_the_name_is_searched_in_the_whole_path() -> None:
    assert date_by_rule("2024/x_2023.tif", pattern=r"(?P<year>20\d\d)").times == (
        datetime(2023, 1, 1, tzinfo=UTC),
    )
    dating = date_by_rule("2024/05/x.tif", pattern=r"/(?P<year>\d{4})/(?P<month>\d\d)/")
    assert dating.times == (datetime(2024, 5, 1, tzinfo=UTC),)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x_20210503_20210508.tif", "ambiguous_time"),
        ("x_20249999.tif", "impossible_time"),
        ("x_99999999.tif", "unreadable_time"),
        ("x.tif", "unmatched_pattern"),
    ],
)
def test_two_dates_and_numbers_that_are_not_dates_give_warnings(name: str, code: str) -> None:
    dating = date_by_rule(name, pattern=r"(?P<time>\d{8})")
    assert (dating.times, dating.origin, warning_codes(dating)) == ((), None, [code])


def test_the_same_date_twice_in_a_name_is_one_date() -> None:
    dating = date_by_rule("20210503/x_20210503.tif", pattern=r"[/_](?P<time>\d{8})")
    assert dating.times == (datetime(2021, 5, 3, tzinfo=UTC),)


def test_a_name_is_not_searched_without_a_pattern() -> None:
    assert date_by_rule("evap_20160602.tif").times == ()


def test_the_sources_of_time_have_an_order() -> None:
    all_tags = TimeTags(
        datetime="2005:01:01 00:00:00",
        acquisition="2003-01-01 00:00:00",
        bands=("2004-01-01T00:00:00Z",),
    )
    first = datetime(2001, 1, 1, tzinfo=UTC)
    name, pattern = "x_20020101.tif", r"(?P<time>\d{8})"
    assert [
        dating.times[0].year
        for dating in (
            date_by_rule(name, all_tags, time=first, pattern=pattern, from_tag=True),
            date_by_rule(name, all_tags, pattern=pattern, from_tag=True),
            date_by_rule(name, all_tags, from_tag=True),
            date_by_rule(
                name, TimeTags("2005:01:01 00:00:00", None, all_tags.bands), from_tag=True
            ),
            date_by_rule(name, TimeTags("2005:01:01 00:00:00"), from_tag=True),
        )
    ] == [2001, 2002, 2003, 2004, 2005]


def test_the_time_of_writing_dates_a_file_only_if_the_rule_says_so(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", tags={"TIFFTAG_DATETIME": "2024:06:18 14:14:24"})
    written = datetime(2024, 6, 18, 14, 14, 24, tzinfo=UTC)
    without_rule = read_path(path)
    assert (without_rule.datetime, without_rule.times) == (written, ())
    with_rule = read_path(path, ReadOptions(time_rule=TimeRule(from_tag=True)))
    assert (with_rule.datetime, with_rule.times) == (written, (written,))
    assert with_rule.provenance["times"] == "TIFFTAG_DATETIME"


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "    :  :     :  :  ", " " * 19])
def test_blanks_and_zeros_are_not_times(tmp_path: Path, text: str) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", tags={"TIFFTAG_DATETIME": text}))
    assert (raster.datetime, raster.times, warning_codes(raster)) == (None, (), [])


def test_an_impossible_time_of_writing_is_a_warning(tmp_path: Path) -> None:
    tags = {"TIFFTAG_DATETIME": "2017:08:21 15:08:70"}
    raster = read_path(write_raster(tmp_path / "a.tif", tags=tags))
    assert (raster.datetime, warning_codes(raster)) == (None, ["impossible_time"])


def test_acquisition_is_utc_whatever_the_zone_of_the_rule(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", imagery={"ACQUISITIONDATETIME": "2024-07-01 12:00:00"})
    raster = read_path(path, ReadOptions(time_rule=TimeRule(time_zone=AMSTERDAM)))
    assert raster.times == (datetime(2024, 7, 1, 12, tzinfo=UTC),)
    assert raster.provenance["times"] == "ACQUISITIONDATETIME"


def test_a_fixed_time_may_have_any_offset() -> None:
    time = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert date_by_rule(time=time).times == (datetime(2024, 1, 1, tzinfo=UTC),)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:00:00-12:00"])
def test_times_whose_offset_leads_out_of_the_calendar_are_errors(time: str) -> None:
    with pytest.raises(CatalogueError, match="lies outside the years 1 to 9999"):
        date_by_rule(time=datetime.fromisoformat(time))
    compact = time.replace(":", "")
    dating = date_by_rule(
        f"{compact}.tif", pattern=r"(?P<time>.+)\.tif", time_format="%Y-%m-%dT%H%M%S%z"
    )
    assert (dating.times, warning_codes(dating)) == ((), ["impossible_time"])


def test_each_band_of_a_series_has_its_time_and_the_series_an_interval(tmp_path: Path) -> None:
    texts = [f"2024-01-01T0{hour}:00:00Z" for hour in (0, 1, 2, 3)]
    raster = read_path(write_raster(tmp_path / "a.tif", count=4, descriptions=texts))
    times = tuple(datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (0, 1, 2, 3))
    assert raster.times == tuple(band.time for band in raster.bands) == times
    assert raster.interval == timedelta(hours=1)
    assert raster.provenance["times"] == "times of the bands"


def test_two_times_or_unequal_steps_make_no_interval() -> None:
    day = "2024-01-0{}".format
    assert date_by_rule(tags=TimeTags(bands=(day(1), day(2)))).interval is None
    assert date_by_rule(tags=TimeTags(bands=(day(1), day(2), day(4)))).interval is None


def test_times_of_bands_are_ascending_and_distinct() -> None:
    dating = date_by_rule(tags=TimeTags(bands=("2024-01-02", "2024-01-01", "2024-01-02")))
    assert [time.day for time in dating.times] == [1, 2]


def test_bands_whose_times_are_partly_missing_give_a_warning() -> None:
    dating = date_by_rule(tags=TimeTags(bands=("2024-01-01", "quality", None)))
    assert warning_codes(dating) == ["band_times_incomplete"]
    assert [time is not None for time in dating.bands] == [True, False, False]


def test_descriptions_that_only_contain_numbers_are_not_times() -> None:
    dating = date_by_rule(tags=TimeTags(bands=("B04", "NDVI 2024-01-01 to 2024-02-01", "1000")))
    assert (dating.times, warning_codes(dating)) == ((), [])


@pytest.mark.parametrize(
    ("band", "dataset"),
    [
        ({"GRIB_VALID_TIME": "  1704067200 sec UTC"}, {}),
        (
            {"NETCDF_DIM_time": "19723"},
            {"time#units": "days since 1970-01-01 00:00:00", "time#calendar": "standard"},
        ),
        ({"NETCDF_DIM_time": "12"}, {"time#units": "hours since 2023-12-31T12:00:00"}),
        ({"timestamp": "2024-01-01T00:00:00Z"}, {}),
    ],
)
def test_metadata_of_a_band_give_its_time(
    tmp_path: Path, band: dict[str, str], dataset: dict[str, str]
) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", band_tags=[band], tags=dataset))
    assert raster.times == (datetime(2024, 1, 1, tzinfo=UTC),)


@pytest.mark.parametrize(
    "rule",
    [
        {"pattern": "("},
        {"pattern": r"\d{8}"},
        {"pattern": r"(?P<year>\d{4})(?P<moth>\d\d)"},
        {"time_zone": "Europe/Atlantis"},
        {"time_zone": "../etc/passwd"},
        {"time": datetime(2024, 1, 1)},
    ],
)
def test_a_rule_that_cannot_work_is_an_error_of_the_definition(rule: dict[str, object]) -> None:
    with pytest.raises(CatalogueError):
        date_file(Path("/data/x_20240101.tif"), TimeTags(), TimeRule(**rule))  # type: ignore[arg-type]


NOON = datetime(2024, 1, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "metadata",
    [
        {"DATE": "2024-01-01", "TIME": "12:30"},
        {"date": "2024:01:01", "time": "12:30:00"},
        {"DATE": "20240101", "TIME": "123000"},
        {"DATE": "20240101", "TIME": "1230"},
        {"DATE": "2024-01-01", "TIME": "T12:30Z"},
        {"DATE": "2024-01-01", "TIME": "14:30:00+02:00"},
        {"DATE": "2024/01/01", "TIME": "12:30:00.000"},
        {"DATE": "2024-01-01T12:30", "TIME": "12:30"},
        {"DATE": "2024-01-01", "TIME": "2024-01-01T12:30"},
        {"ACQUISITION_DATE": "2024-01-01", "ACQUISITION_TIME": "12:30:00"},
        {"ACQUISITIONDATE": "20240101", "ACQUISITIONTIME": "12:30:00"},
    ],
)
def test_a_date_and_a_time_of_day_make_one_time(tmp_path: Path, metadata: dict[str, str]) -> None:
    band_raster = read_path(write_raster(tmp_path / "a.tif", band_tags=[metadata]))
    assert (band_raster.times, warning_codes(band_raster)) == ((NOON,), [])
    if "T" not in metadata.get("DATE", "") + metadata.get("TIME", "").lstrip("T"):
        file_raster = read_path(write_raster(tmp_path / "b.tif", tags=metadata))
        assert (file_raster.times, warning_codes(file_raster)) == ((NOON,), [])


def test_an_hour_of_one_digit_is_read() -> None:
    time = band_time(None, {"DATE": "2024-01-01", "TIME": "9:30"}, {})
    assert time.text == "2024-01-01 09:30"


def test_a_date_alone_is_its_midnight_and_a_time_of_day_alone_is_not_a_date(tmp_path: Path) -> None:
    date_only = read_path(write_raster(tmp_path / "a.tif", band_tags=[{"DATE": "2024-01-01"}]))
    assert date_only.times == (datetime(2024, 1, 1, tzinfo=UTC),)
    blank = {"DATE": "2024-01-01", "TIME": "  "}
    with_blank_time = read_path(write_raster(tmp_path / "b.tif", band_tags=[blank]))
    assert with_blank_time.times == date_only.times
    time_only = read_path(write_raster(tmp_path / "c.tif", band_tags=[{"TIME": "12:30"}]))
    assert (time_only.times, warning_codes(time_only)) == ((), [])
    tags_of_file = read_path(write_raster(tmp_path / "d.tif", tags={"DATE": "2024-01-01"}))
    assert tags_of_file.times == ()


@pytest.mark.parametrize("time", ["noon", "12", "36", "25:00"])
def test_a_date_beside_a_time_that_cannot_be_read_gives_a_warning_and_no_midnight(
    tmp_path: Path, time: str
) -> None:
    metadata = {"DATE": "2024-01-01", "TIME": time}
    raster = read_path(write_raster(tmp_path / "a.tif", band_tags=[metadata]))
    assert raster.times == ()
    assert warning_codes(raster) == ["impossible_time" if time == "25:00" else "unreadable_time"]


def test_a_time_of_day_of_a_band_does_not_hide_its_other_times() -> None:
    grib = {"TIME": "12:30", "GRIB_VALID_TIME": "1704067200 sec UTC"}
    assert band_time(None, grib, {}).text == "2024-01-01T00:00:00+00:00"


def test_an_acquisition_that_is_not_a_time_is_a_warning(tmp_path: Path) -> None:
    raster = read_path(
        write_raster(tmp_path / "a.tif", imagery={"ACQUISITIONDATETIME": "in week 5"})
    )
    assert (raster.times, warning_codes(raster)) == ((), ["unreadable_time"])


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1704067200", datetime(2024, 1, 1)),
        ("1711101200", datetime(2024, 3, 22, 9, 53, 20)),
        ("1704067200123", datetime(2024, 1, 1, 0, 0, 0, 123_000)),
        ("2024010112", datetime(2024, 1, 1, 12)),
        ("1999123123", datetime(1999, 12, 31, 23)),
        ("2021145181123", datetime(2021, 5, 25, 18, 11, 23)),
        ("202401011230", datetime(2024, 1, 1, 12, 30)),
    ],
)
def test_ten_or_thirteen_digits_are_an_epoch_unless_they_begin_with_19_or_20(
    text: str, time: datetime
) -> None:
    assert parse_time_or_epoch(text) == time.replace(tzinfo=UTC)
    assert date_by_rule(f"x_{text}.tif", pattern=r"_(?P<time>\d+)\.").times == (
        time.replace(tzinfo=UTC),
    )


@pytest.mark.parametrize("text", ["978307200", "978307200000", "2401011200", "1711101200Z"])
def test_digits_that_are_neither_a_date_nor_an_epoch_are_not_a_time(text: str) -> None:
    dating = date_by_rule(f"x_{text}.tif", pattern=r"_(?P<time>\w+)\.")
    assert dating.times == ()
    assert warning_codes(dating)[0] in ("unreadable_time", "impossible_time")


def test_a_number_that_describes_a_band_is_not_an_epoch(tmp_path: Path) -> None:
    raster = read_path(write_raster(tmp_path / "a.tif", descriptions=["1711101200"]))
    assert (raster.times, warning_codes(raster)) == ((), [])
    raster = read_path(write_raster(tmp_path / "b.tif", descriptions=["2024010112"]))
    assert raster.times == (datetime(2024, 1, 1, 12, tzinfo=UTC),)
