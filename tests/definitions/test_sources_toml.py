"""Reading a sources.toml, and the messages about a wrong one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.definitions.definition import Definition, Limits
from pipeline.definitions.drop_folder import DropFolder
from pipeline.definitions.sources_toml import load_config
from pipeline.errors import CatalogueError
from pipeline.raster import AssignedValues, Budget, ReadOptions
from tests.support.commands import RASTERSOURCES, REPOSITORY, run

SOURCE = '[[source]]\nid = "rain"\nfiles = "*.tif"\norganisation = "A"\n'
DROP = '[[drop]]\nid = "in"\nfolder = "in"\n'
ABSOLUTE = DROP.replace('folder = "in"', 'folder = "/data/in"')
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "sources.toml"
        path.write_text(text)
        return path

    return write


def find_faults(path: Path) -> list[tuple[int, str]]:
    """Return the line and sentence of each fault, without the file and the table."""
    with pytest.raises(CatalogueError) as caught:
        load_config(path)
    lines = []
    for sentence in str(caught.value).splitlines():
        assert sentence.startswith(f"{path}, line ")
        line, _, rest = sentence.removeprefix(f"{path}, line ").partition(": ")
        lines.append((int(line), rest.partition(": ")[2]))
    return lines


def test_every_key_is_read(write: Write) -> None:
    path = write(
        SOURCE
        + 'group = "all"\nuuid = "4f3b1fd6-2bd6-4a55-8a3c-d3ca1af7bb7a"\nsettle_seconds = 2.5\n'
        + 'schedule = "*/5 6-18 * * MON-FRI"\nmissing = "remove"\nmax_missing_percent = 0\n'
        + "interval = 00:05:00\nlimits = { pixels = 7 }\n"
        + 'crs = "epsg:28992"\ncrs_override = true\nnodata = -9999\n'
        + DROP
        + 'crs = "EPSG:28992"\nnodata = nan\n'
        + 'organisation = "A"\nsupplier = "s"\ntime_zone = "Europe/Amsterdam"\ndone = "done"\nrejected = "../no"\n'
        + 'settle_seconds = 1\nevery = "PT10S"\n'
    )
    config = load_config(path)
    (source,) = config.source
    (drop,) = config.drop
    assert source.uuid == UUID("4f3b1fd6-2bd6-4a55-8a3c-d3ca1af7bb7a")
    assert (source.settle_seconds, source.schedule) == (2.5, "*/5 6-18 * * MON-FRI")
    assert (source.missing, source.max_missing_percent) == ("remove", 0)
    assert source.interval == timedelta(minutes=5)
    assert source.assigned == AssignedValues("EPSG:28992", True, "-9999", 'definition "rain"')
    assert drop.assigned == AssignedValues("EPSG:28992", False, "nan", 'definition "in"')
    assert (drop.done, drop.rejected, drop.every) == ("done", "../no", timedelta(seconds=10))


def test_omitted_keys_have_the_documented_default(write: Write) -> None:
    config = load_config(write(SOURCE + DROP))
    (source,), (drop,) = config.source, config.drop
    assert (source.missing, source.max_missing_percent, source.settle_seconds) == ("keep", 20, 0)
    assert (source.uuid, source.schedule, source.every, source.limits) == (None,) * 4
    assert (source.crs, source.crs_override, source.nodata) == (None, False, None)
    assert (drop.done, drop.rejected, drop.time_zone) == ("keep", "keep", "UTC")


WRONG = [
    (
        'interval = "soon"',
        5,
        "interval: is not a duration; write for example 00:05:00, PT5M or 300",
    ),
    ("interval = true", 5, "interval: is not a duration; write for example 00:05:00, PT5M or 300"),
    ('intervall = "00:05:00"', 5, 'intervall: is not a valid key; did you mean "interval"?'),
    ("settle = 5", 5, 'settle: is not a valid key; did you mean "settle_seconds"?'),
    ("zzz = 5", 5, "zzz: is not a valid key; remove it"),
    ("every = 0", 5, "every: must be at least one second, for example 00:00:10"),
    ('every = "PT0.5S"', 5, "every: must be at least one second, for example 00:00:10"),
    ('schedule = "* * * * * *"', 5, "schedule: must have five fields"),
    ('schedule = "60 * * * *"', 5, "schedule: is not a cron line: bad minute"),
    ('schedule = "0 0 31 2 *"', 5, "schedule: is not a cron line: bad day-of-month"),
    ('schedule = "@daily"', 5, "schedule: must have five fields"),
    ('schedule = "0 6 * * *"\nevery = "01:00:00"', 6, "every: cannot be combined with schedule"),
    ('time_zone = "Mars/Olympus"', 5, "time_zone: is not a time zone"),
    ('missing = "forget"', 5, "missing: must be 'keep' or 'remove'"),
    ("max_missing_percent = 101", 5, "max_missing_percent: must be less than or equal to 100"),
    ("settle_seconds = -1", 5, "settle_seconds: must be greater than or equal to 0"),
    ('settle_seconds = "1"', 5, "settle_seconds: must be a valid number"),
    ("settle_seconds = nan", 5, "settle_seconds: must be "),
    ('temporal = "yes"', 5, "temporal: must be a valid boolean"),
    ('group = "all"\nuuid = "x"', 6, "uuid: must be a valid UUID"),
    ('uuid = "4f3b1fd6-2bd6-4a55-8a3c-d3ca1af7bb7a"', 5, 'uuid: needs group = "all"'),
    ('group = "month"', 5, 'group: "month" is not "file"'),
    ('name = "{month}"', 5, "name: {month} is not {stem}"),
    ('pattern = "("', 5, "pattern: is not a regular expression"),
    ("time = 2024-01-01T00:00:00", 5, "time: needs an offset"),
    ("time = 2024-01-01", 5, "time: needs a date and a time of day"),
    ('time = "yesterday"', 5, "time: is not a time"),
    ('supplier = " "', 5, "supplier: must not be blank"),
    (f'supplier = "{"x" * 151}"', 5, "supplier: must have at most 150 characters"),
    (f'supplier_code = "{"x" * 256}"', 5, "supplier_code: must have at most 255 characters"),
    (r'description = "a\u0000b"', 5, "description: must not contain the character NUL"),
    (r'name = "a\u0000b"', 5, "name: must not contain the character NUL"),
    (
        'pattern = "(?P<year>[0-9]{4})_(?P<area>[a-z]+)"\ngroup = "area"',
        5,
        "pattern: cannot date files: the pattern's groups ['area'] need a group named time",
    ),
    ("time = 2024", 5, "time: is not a time"),
    ("time = true", 5, "time: is not a time"),
    ("time = 0001-01-01T00:00:00+12:00", 5, "time: must lie in the years 1 to 9999"),
    ("limits = 5", 5, "limits: must be a table, for example { seconds = 30 }"),
    ('time_zone = "localtime"', 5, "time_zone: is not a time zone"),
    ('schedule = "0 0 * * 5L"', 5, "schedule: contains L, W or #, which cron does not support"),
    ('schedule = "0 0 30 2 1"', 5, "schedule: is not a cron line: bad day-of-month"),
    ('schedule = "0 0 * * MON#1"', 5, "schedule: contains L, W or #, which cron does not support"),
    ('schedule = "0 0 LW * *"', 5, "schedule: contains L, W or #, which cron does not support"),
    ('schedule = "0 0 15w * *"', 5, "schedule: contains L, W or #, which cron does not support"),
    ("limits = { pixles = 4 }", 5, 'limits.pixles: is not a valid key; did you mean "pixels"?'),
    ("[source.limits]\nseconds = 0", 6, "limits.seconds: must be greater than 0"),
    (DROP.replace('"in"', '"rain"', 1), 6, "id: is used above"),
    ('crs = "RD New"', 5, "crs: is not a CRS; write its authority and code, such as EPSG:CODE"),
    ("crs = 28992", 5, "crs: must be a valid string"),
    ('crs = "EPSG:28999999"', 5, "crs: PROJ has no CRS EPSG:28999999"),
    (
        'crs = "EPSG:4978"',
        5,
        "crs: EPSG:4978 cannot be used: the CRS 'WGS 84' (Geocentric CRS) has",
    ),
    ("crs_override = true", 5, "crs_override: needs crs; give crs too"),
    ('crs = "EPSG:28992"\ncrs_override = 1', 6, "crs_override: must be a valid boolean"),
    ('nodata = "none"', 5, "nodata: is not a number; write for example -9999 or nan"),
    ("nodata = true", 5, "nodata: is not a number; write for example -9999 or nan"),
    ("nodata = [0]", 5, "nodata: is not a number; write for example -9999 or nan"),
    (DROP + 'crs = "EPSG:0"', 8, "crs: PROJ has no CRS EPSG:0"),
    (DROP + "crs_override = true", 8, "crs_override: needs crs; give crs too"),
    (DROP + 'nodata = "much"', 8, "nodata: is not a number; write for example -9999 or nan"),
    (DROP + "organisation = []", 8, "organisation: must name at least one organisation"),
    (DROP + 'organisation = ["A", " "]', 8, "organisation: must not be blank"),
    (DROP + "organisation = 3", 8, "organisation: must be a valid list"),
    (DROP + 'done = "in"', 8, "done: lies in the watched folder"),
    (DROP + 'rejected = "x/../in/rejected"', 8, "rejected: lies in the watched folder"),
    (ABSOLUTE + 'done = "FILE:///data/./in/done"', 8, "done: lies in the watched folder"),
    (ABSOLUTE + 'done = "file:///data/%69n/done"', 8, "done: lies in the watched folder"),
    (DROP + 'done = "S3://bucket/done"', 8, "done: must be of the same kind as folder"),
    (DROP + 'done = "file://host/done"', 8, 'done: "file://host/done" is not a local path'),
    (DROP + 'done = "s3://bucket/done"', 8, "done: must be of the same kind as folder"),
    (
        DROP.replace('folder = "in"', 'folder = "s3://"'),
        7,
        'folder: "s3://" does not name a bucket',
    ),
]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("s3:///rain/*.tif", "does not name a bucket"),
        ("s3://bucket//rain.tif", "not a key that obstore accepts"),
        ("file://host/rain", "is not a local path"),
        ("*/../rain.tif", 'has ".." after a wildcard'),
        ("ftp://host/rain.tif", "ftp:/ cannot be read; write a path, file:///path or s3://"),
        ("s3:/bucket/rain.tif", "s3:/ cannot be read"),
    ],
)
def test_an_invalid_entry_is_named_with_its_line(write: Write, entry: str, sentence: str) -> None:
    ((line, message),) = find_faults(write(SOURCE.replace("*.tif", entry)))
    assert line == 1 + SOURCE.splitlines().index('files = "*.tif"')
    assert message.startswith("files: ")
    assert sentence in message


@pytest.mark.parametrize(("text", "line", "sentence"), WRONG, ids=[text for text, _, _ in WRONG])
def test_a_wrong_field_is_named_with_its_line(
    write: Write, text: str, line: int, sentence: str
) -> None:
    ((found_line, message),) = find_faults(write(SOURCE + text + "\n"))
    assert found_line == line
    assert message.startswith(sentence), message


def test_all_faults_are_reported_at_once_in_the_order_of_lines(write: Write) -> None:
    text = (
        SOURCE
        + 'every = "x"\n'
        + DROP.replace("folder", "fodler")
        + '[[source]]\nid = "register"\n'
    )
    assert find_faults(write(text)) == [
        (5, "every: is not a duration; write for example 00:05:00, PT5M or 300"),
        (6, "folder: is missing"),
        (8, 'fodler: is not a valid key; did you mean "folder"?'),
        (9, "files: is missing"),
        (9, "organisation: is missing"),
        (10, 'id: "register" is reserved for the command; choose another'),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no [[source]]"),
        (b"\xef\xbb\xbf", "has no [[source]]"),
        (b"# caf\xe9\n", "is not UTF-8 from byte 6 on"),
        (b"\n[source]\nid = 1\n", "line 2: write [[source]], with two brackets"),
        (b"source = 1\n", "line 1: write [[source]], with two brackets"),
        (
            b"\n\n[[sources]]\n",
            'line 3: "sources" is not [[source]] or [[drop]]; did you mean [[source]]?',
        ),
        (b"a = 1\nb = \n", "line 2: not valid TOML at column 5: Invalid value"),
        (b'[[source]]\nid = "rain', "line 2: not valid TOML"),
        (b"a = " + b"[" * 100_000, ""),
    ],
)
def test_a_file_that_is_not_a_sources_toml_gives_one_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "sources.toml"
    path.write_bytes(content)
    with pytest.raises(CatalogueError) as caught:
        load_config(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_give_one_sentence_each(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="is a folder"):
        load_config(tmp_path)
    with pytest.raises(CatalogueError, match="does not exist"):
        load_config(tmp_path / "sources.toml")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode() + b"zone = 1\r\n")
    ((line, message),) = find_faults(path)
    assert (line, message) == (5, 'zone: is not a valid key; did you mean "time_zone"?')


@pytest.mark.parametrize(
    ("fields", "of_sources", "reading"),
    [
        ({"settle_seconds": 5}, False, False),
        ({"schedule": "0 6 * * *"}, False, False),
        ({"every": "00:05:00"}, False, False),
        ({"missing": "remove"}, False, False),
        ({"max_missing_percent": 50}, False, False),
        ({"group": "all", "uuid": "4f3b1fd6-2bd6-4a55-8a3c-d3ca1af7bb7a"}, False, False),
        ({"files": ["elsewhere"]}, False, False),
        ({"limits": {"pixels": 5}}, False, True),
        ({"crs": "EPSG:28992"}, False, True),
        ({"nodata": 0}, False, True),
        ({"description": "new"}, True, False),
        ({"temporal": True}, True, True),
    ],
)
def test_hashes_change_with_fields_of_sources_and_fields_of_reading(
    fields: dict[str, Any], of_sources: bool, reading: bool
) -> None:
    plain = {"id": "a", "files": ["*"], "organisation": "A", "group": fields.get("group", "file")}
    before, after = Definition.make(plain), Definition.make({**plain, **fields})
    assert (before.hash() != after.hash()) is of_sources
    assert (before.reading_hash() != after.reading_hash()) is reading


def test_the_reading_hash_of_a_drop_folder_depends_on_crs_and_override() -> None:
    plain = DropFolder(id="in", folder="in")
    with_crs = DropFolder(id="in", folder="in", crs="EPSG:28992")
    with_override = DropFolder(id="in", folder="in", crs="EPSG:28992", crs_override=True)
    assert len({folder.reading_hash() for folder in (plain, with_crs, with_override)}) == 3


def test_hashes_without_assigned_values_are_those_of_earlier_releases() -> None:
    """With another hash every catalogue would read all its files again."""
    plain = Definition.make({"id": "a", "files": ["*"], "organisation": "A"})
    assert plain.hash() == "70e28dddb5a1b260272ce7ad763b43b5.5733e811478d082b9483c7d74eb6e0f5"
    assert plain.reading_hash() == "e9a1685aa2c9e0514b5b9a8dbe9a3d7e"
    assert DropFolder(id="in", folder="in").reading_hash() == "586b517deec4af91d61c106974181a46"


def test_limits_replace_those_of_the_settings(write: Write) -> None:
    (source,) = load_config(write(SOURCE + "limits = { pixels = 7, seconds = 1.5 }\n")).source
    defaults = ReadOptions(budget=Budget(bands=3))
    assert source.read_options(defaults).budget == replace(defaults.budget, pixels=7, seconds=1.5)


def test_check_counts_definitions_and_prints_warnings(write: Write) -> None:
    path = write(
        SOURCE
        + SOURCE.replace("rain", "snow").replace('"*.tif"', '["./*.tif", "gone/a/*.tif"]')
        + DROP
    )
    check = [*RASTERSOURCES, "sources", "check", "--config", path]
    done = run(check)
    assert done.stdout == "3 definitions are valid\n"
    assert done.stderr.splitlines() == [
        f'warning: "snow": {path.parent}/gone/a does not exist',
        f'warning: "in": {path.parent}/in does not exist',
        f'warning: "rain" and "snow" have the same files: {path.parent}/*.tif',
    ]
    path.write_text(SOURCE + "a = 1\nb = 2\n")
    done = run(check, status=1)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


def test_check_warns_of_sources_of_several_files_named_after_one_file(
    write: Write,
) -> None:
    path = write(SOURCE + 'group = "all"\n')
    (path.parent / "a.tif").touch()
    check = [*RASTERSOURCES, "sources", "check", "--config", path]
    assert run(check).stderr == (
        'warning: "rain": its sources have several files; {stem} in name would be the name of the first '
        "file; use a name without {stem}\n"
    )
    path.write_text(path.read_text() + 'name = "Rain"\n')
    assert run(check).stderr == ""


def test_the_samples_are_right_without_warnings() -> None:
    config = REPOSITORY / "sample_data" / "sources.toml"
    done = run([*RASTERSOURCES, "sources", "check", "--config", config])
    assert (done.stdout, done.stderr) == ("10 definitions are valid\n", "")


def test_every_key_is_explained_in_the_documentation() -> None:
    page = (REPOSITORY / "docs" / "sources.md").read_text()
    for model in (Definition, Limits, DropFolder):
        for key in model.model_fields:
            assert f"`{key}`" in page, key
