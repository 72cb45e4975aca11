"""Which files of a source fit each other, and which are evicted."""

from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from sqlalchemy import Engine, text

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.grid_consistency import QUERIES
from pipeline.database.engine import make_engine
from pipeline.errors import Rejection
from pipeline.ingest.register import Reader
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, plan_files, register_files, sync_files
from tests.support.sync_catalogue import COUNTS, nonzero_counts


def test_the_larger_group_of_files_is_accepted_whatever_came_first(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_raster(tmp_path / "a.tif", dtype="uint8", nodata=0)
    sync(tmp_path, group="all", name="all")
    assert rows(engine, "SELECT dtype FROM raster_sources") == [("u1",)]
    write_raster(tmp_path / "b.tif")
    assert [rejection.code for rejection in sync(tmp_path, group="all", name="all").rejected] == [
        "dtype_mismatch"
    ]
    write_raster(tmp_path / "c.tif")
    report = sync(tmp_path, group="all", name="all")
    assert [rejection.uri for rejection in report.rejected] == [file_uri(tmp_path / "a.tif")]
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("f4", 2)]
    rejections = rows(engine, "SELECT right(uri, 5), code FROM rejected_files")
    assert rejections == [("a.tif", "dtype_mismatch")]
    again = sync(tmp_path, group="all", name="all")
    assert (again.registered, again.unchanged, len(again.rejected)) == (0, 2, 1)
    (tmp_path / "b.tif").unlink()
    (tmp_path / "c.tif").unlink()
    sync(tmp_path, group="all", name="all", missing="remove")
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 1)]
    assert rows(engine, "SELECT FROM rejected_files") == []


def test_files_of_slightly_different_pixel_size_are_evicted_and_read_once(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    for name, size in (("a", 10.0), ("b", 10.00003), ("c", 10.00003), ("d", 10.00003)):
        transform = Affine(size, 0, 155_000, 0, -size, 463_000)
        write_raster(tmp_path / f"{name}.tif", transform=transform)
    report = sync(tmp_path, group="all", name="all")
    assert [rejection.uri for rejection in report.rejected] == [file_uri(tmp_path / "a.tif")]
    assert rows(engine, "SELECT pixelsize_x, file_count FROM raster_sources") == [(10.00003, 3)]
    sync(tmp_path, group="all", name="all")
    assert rows(engine, "SELECT right(uri, 5), attempts FROM rejected_files") == [("a.tif", 1)]


def write_classes(folder: Path, *, floats: str = "", integers: str = "") -> None:
    """Write files of two dtypes that do not fit each other, named by letters and each of its own size."""
    for name in floats:
        write_raster(folder / f"{name}.tif", width=ord(name))
    for name in integers:
        write_raster(folder / f"{name}.tif", width=ord(name), dtype="uint8", nodata=0)


@pytest.mark.parametrize("marked", [False, True])
def test_missing_files_do_not_vote_on_present_files(
    tmp_path: Path, engine: Engine, sync: Any, marked: bool
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="abc")
    sync(tmp_path, **fields)
    for path in tmp_path.iterdir():
        path.unlink()
    if marked:
        assert sync(tmp_path, **fields).missing == 3
    write_classes(tmp_path, integers="xy")
    report = sync(tmp_path, **fields)
    assert (report.registered, report.rejected, report.missing) == (2, [], 0 if marked else 3)
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 2)]
    assert rows(engine, "SELECT FROM rejected_files") == []
    again = sync(tmp_path, **fields)
    assert (again.registered, again.unchanged, again.missing) == (0, 2, 0)


@pytest.mark.parametrize("marked", [False, True])
def test_evicted_files_that_are_missing_do_not_count_as_rejected(
    tmp_path: Path, engine: Engine, sync: Any, marked: bool
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="abc")
    sync(tmp_path, **fields)
    for name in "ac":
        (tmp_path / f"{name}.tif").unlink()
    if marked:
        sync(tmp_path, **fields)
    write_classes(tmp_path, integers="xy")
    report = sync(tmp_path, **fields)
    assert [rejection.uri for rejection in report.rejected] == [file_uri(tmp_path / "b.tif")]
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 2)]
    assert rows(engine, "SELECT uri FROM rejected_files") == [(file_uri(tmp_path / "b.tif"),)]
    assert plan_files(engine, definition_files([tmp_path], **fields)).changes == 0


def test_missing_files_stay_in_a_source_that_they_fit(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="ab")
    sync(tmp_path, **fields)
    (tmp_path / "a.tif").unlink()
    sync(tmp_path, **fields)
    write_classes(tmp_path, floats="c", integers="x")
    assert [rejection.uri for rejection in sync(tmp_path, **fields).rejected] == [
        file_uri(tmp_path / "x.tif")
    ]
    states = "SELECT right(uri, 5), state FROM raster_files ORDER BY uri"
    assert rows(engine, states) == [
        ("a.tif", "missing"),
        ("b.tif", "present"),
        ("c.tif", "present"),
    ]


def test_evicted_files_count_once(tmp_path: Path, engine: Engine, sync: Any) -> None:
    def write(names: str, **kind: Any) -> int:
        """Write files; return their total size."""
        return sum(write_raster(tmp_path / f"{name}.tif", **kind).stat().st_size for name in names)

    write("ab", dtype="uint8", nodata=0)
    size = write("cde")
    sync(tmp_path, group="all", name="all")
    assert rows(engine, COUNTS) == [(5, 3, 0, 0, 2, size)]
    size = write("fghi", dtype="uint8", nodata=0)  # with a and b there are six, against three
    old = sum((tmp_path / f"{name}.tif").stat().st_size for name in "ab")
    sync(tmp_path, group="all", name="all")
    assert rows(engine, COUNTS) == [(9, 6, 0, 0, 3, size + old)]
    (tmp_path / "a.tif").unlink()
    write("jklmno")
    (tmp_path / "b.tif").unlink()
    sync(tmp_path, group="all", name="all")
    # c, d and e are accepted with the six new files: together they are more than f to i with the missing a and b
    assert rows(engine, COUNTS)[0][:5] == (13, 9, 0, 2, 4)
    assert rows(engine, "SELECT count(*) FROM raster_files") == [(9,)]
    assert rows(engine, "SELECT count(*) FROM rejected_files") == [(4,)]


def test_rejected_files_are_accepted_when_the_others_change_to_fit_them(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    for width, name in enumerate("bcda"):
        kind: dict[str, Any] = {} if name in "bc" else {"dtype": "uint8", "nodata": 0}
        write_raster(tmp_path / f"{name}.tif", width=20 + width, **kind)
    sync(tmp_path, **fields)
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("u1", 2)]
    for width, name in enumerate("da"):
        write_raster(tmp_path / f"{name}.tif", width=30 + width)
    report = sync(tmp_path, **fields)
    assert report.rejected == []
    assert rows(engine, "SELECT dtype, file_count FROM raster_sources") == [("f4", 4)]


def test_a_file_that_a_vote_accepts_keeps_its_facts_and_is_not_read_again(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow]
) -> None:
    facts = """
        SELECT to_jsonb(file) - '{id,source_id,registered,footprint,added_by,registered_by}'::text[],
               ST_AsHEXEWKB(footprint)
        FROM raster_files AS file WHERE uri LIKE '%b.tif'
    """
    read: list[str] = []

    def list_and_read(files: Any, options: Any) -> Any:
        requested = list(files)
        read.extend(file.name for file in requested)
        return pool.read(requested, options)

    work = definition_files(
        [tmp_path], group="all", name="all", temporal=True, time="2024-03-01T12:00:00.123456Z"
    )
    write_raster(tmp_path / "a.tif", dtype="uint8", nodata=0)
    write_raster(tmp_path / "b.tif")
    assert [rejection.code for rejection in sync_files(engine, list_and_read, work).rejected] == [
        "dtype_mismatch"
    ]
    write_raster(tmp_path / "c.tif", width=30)
    assert sync_files(engine, list_and_read, work).registered == 2
    assert sorted(read) == ["a.tif", "b.tif", "c.tif"]
    kept = rows(engine, facts)
    execute(engine, "DELETE FROM raster_sources")
    execute(engine, "DELETE FROM rejected_files")
    assert sync_files(engine, list_and_read, work).registered == 2
    assert rows(engine, facts) == kept != []


@pytest.fixture
def fail_b(pool: ProcessReader[FileRow]) -> Reader:
    """A reader that cannot open b.tif."""

    def read(files: Any, options: Any) -> Any:
        requested = list(files)
        for file, result in zip(requested, pool.read(requested, options), strict=True):
            unreadable = file.name == "b.tif"
            yield Rejection(file.uri, "permission_denied", "test") if unreadable else result

    return read


def test_a_registered_file_that_cannot_be_read_is_not_evicted_by_its_own_batch(
    tmp_path: Path, engine: Engine, pool: ProcessReader[FileRow], fail_b: Reader
) -> None:
    work = definition_files([tmp_path], group="all", name="all")
    write_classes(tmp_path, floats="ab")
    register_files(engine, pool.read, work)
    write_classes(tmp_path, integers="ab")
    report = register_files(engine, fail_b, work)
    rejected = {Path(file.uri).name: file.code for file in report.rejected}
    assert rejected == {"a.tif": "dtype_mismatch", "b.tif": "permission_denied"}
    assert (len(report.rejected), report.listed) == (2, 2)
    assert rows(engine, "SELECT right(uri, 5), dtype FROM raster_files") == [("b.tif", "f4")]
    codes = "SELECT right(uri, 5), code, facts IS NULL FROM rejected_files ORDER BY uri"
    assert rows(engine, codes) == [
        ("a.tif", "dtype_mismatch", False),
        ("b.tif", "permission_denied", True),
    ]


def test_a_sync_counts_a_registered_file_that_cannot_be_read_once(
    tmp_path: Path, engine: Engine, fail_b: Reader, sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="ab")
    sync(tmp_path, **fields)
    write_classes(tmp_path, integers="ab")
    report = sync_files(engine, fail_b, definition_files([tmp_path], **fields))
    assert (report.listed, report.registered, len(report.rejected)) == (2, 1, 1)
    assert rows(engine, "SELECT right(uri, 5), dtype FROM raster_files") == [("a.tif", "u1")]


@pytest.mark.parametrize(
    "rules",
    [
        {"temporal": True, "time": "2024-01-01T00:00:00Z"},
        {"group": "kind", "name": "{kind}", "pattern": r"(?P<kind>[ab])\.tif$"},
    ],
    ids=["another time", "another group"],
)
def test_kept_facts_of_earlier_reading_rules_are_not_accepted(
    tmp_path: Path, engine: Engine, sync: Any, rules: dict[str, Any]
) -> None:
    fields = {"group": "all", "name": "all", "missing": "remove"}
    write_classes(tmp_path, floats="a", integers="b")
    sync(tmp_path, **fields)
    (tmp_path / "a.tif").unlink()
    report = sync(tmp_path, **{**fields, **rules, "settle_seconds": 3600})
    assert (report.registered, report.settling, report.listed) == (0, 1, 1)
    assert rows(engine, "SELECT FROM raster_files") == []
    assert sync(tmp_path, **{**fields, **rules}).registered == 1


def test_an_accepted_file_is_registered_now(tmp_path: Path, engine: Engine, sync: Any) -> None:
    fields = {"group": "all", "name": "all", "missing": "remove"}
    write_classes(tmp_path, floats="a", integers="b")
    sync(tmp_path, **fields)
    ((now,),) = rows(engine, "SELECT clock_timestamp()")
    (tmp_path / "a.tif").unlink()
    sync(tmp_path, **fields)
    query = "SELECT right(uri, 5), registered > :now FROM raster_files"
    assert rows(engine, query, now=now) == [("b.tif", True)]


def test_a_sync_that_moves_no_file_does_not_wait_for_a_locked_source(
    tmp_path: Path, engine: Engine, database_url: str, pool: ProcessReader[FileRow], sync: Any
) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="a", integers="b")
    sync(tmp_path, **fields)
    mark = "&" if "?" in database_url else "?"
    engine_with_timeout = make_engine(f"{database_url}{mark}options=-c%20lock_timeout%3D5s")
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM raster_sources FOR UPDATE"))
        report = sync_files(engine_with_timeout, pool.read, definition_files([tmp_path], **fields))
    engine_with_timeout.dispose()
    assert (report.unchanged, len(report.rejected)) == (1, 1)


def test_a_plan_votes_without_missing_files(tmp_path: Path, engine: Engine, sync: Any) -> None:
    fields = {"group": "all", "name": "all"}
    write_classes(tmp_path, floats="abc", integers="xy")
    sync(tmp_path, **fields)
    for name in "ab":
        (tmp_path / f"{name}.tif").unlink()
    plan = plan_files(engine, definition_files([tmp_path], **fields))
    assert nonzero_counts(plan) == {"add": 2, "missing": 2, "rejected": 1}
    report = sync(tmp_path, **fields)
    assert (report.registered, report.missing, len(report.rejected)) == (2, 2, 1)


def test_the_check_of_an_upload_reads_the_files_of_its_source_only(
    tmp_path: Path, engine: Engine, sync: Any
) -> None:
    write_classes(tmp_path, floats="a")
    sync(tmp_path, group="all", name="all")
    with engine.connect() as connection:
        for statement in (
            """INSERT INTO raster_sources (name, organisation_id)
               SELECT n, organisation_id FROM raster_sources, generate_series(1, 10) AS n""",
            "CREATE TEMPORARY TABLE copy AS SELECT * FROM raster_files",
            "UPDATE copy SET definition = NULL",
            "INSERT INTO copy SELECT copy.* FROM copy, generate_series(2, 10000)",
            """UPDATE copy SET id = number + 1000000, uri = number, source_id = source.id
               FROM (SELECT ctid, row_number() OVER () AS number FROM copy) AS row
               JOIN raster_sources AS source ON source.name = (1 + row.number / 1001)::text
               WHERE row.ctid = copy.ctid""",
            "INSERT INTO raster_files OVERRIDING SYSTEM VALUE SELECT * FROM copy",
            "ANALYZE raster_files",
            """CREATE TEMPORARY TABLE staged AS
               SELECT * FROM copy ORDER BY id DESC LIMIT 1""",
        ):
            connection.execute(text(statement))
        query = f"EXPLAIN (FORMAT JSON) {QUERIES['find_misfit_of_upload'].text}"
        plan = str(connection.execute(text(query)).scalar_one())
    assert "raster_files" in plan
    assert "raster_files_pkey" not in plan
