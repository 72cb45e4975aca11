"""Registering is idempotent and atomic per batch; it keeps rejections and derives fields."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from sqlalchemy import Engine, text

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport
from pipeline.errors import CatalogueError
from pipeline.raster import ProcessReader
from tests.ingest.conftest import spoil
from tests.support.database import empty_catalogue, rows
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import definition_files, register_files


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


@pytest.fixture
def register(engine: Engine, pool: ProcessReader[FileRow]) -> Any:
    """A function that registers paths under a definition with these fields, and returns the report."""

    def register(
        paths: Sequence[Path], create: bool = True, batch_size: int = 500, **fields: Any
    ) -> RunReport:
        work = definition_files(paths, **fields)
        return register_files(engine, pool.read, work, create=create, batch_size=batch_size)

    return register


def read_versions(engine: Engine) -> list[Any]:
    """Return every row with the transaction that wrote it."""
    tables = "SELECT xmin::text, id, row_to_json(t)::text FROM {} AS t ORDER BY id"
    return [
        rows(engine, tables.format(name))
        for name in ("raster_sources", "raster_files", "organisations")
    ]


def codes(report: RunReport) -> list[str]:
    return sorted(rejection.code for rejection in report.rejected)


def test_registering_again_opens_no_file_and_changes_no_row(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    paths = [write_raster(tmp_path / f"{index}.tif") for index in range(20)]
    assert register([tmp_path], batch_size=7).registered == 20
    before = read_versions(engine)
    for path in paths:
        spoil(path)
    report = register([tmp_path], batch_size=7)
    assert (report.registered, report.unchanged, report.rejected) == (0, 20, [])
    assert read_versions(engine) == before


def test_a_file_that_changed_is_read_again_and_keeps_its_source(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    register([path])
    (before,) = rows(engine, "SELECT uuid, fill_value FROM raster_sources")
    write_raster(path, nodata=7, width=11)
    assert register([path]).registered == 1
    (after,) = rows(engine, "SELECT uuid, fill_value FROM raster_sources")
    assert (before.uuid, before.fill_value, after.fill_value) == (after.uuid, "-9999.0", "7.0")


def test_one_bad_file_does_not_stop_the_rest_and_is_kept_with_its_reason(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    write_raster(tmp_path / "good.tif")
    (tmp_path / "bad.tif").write_bytes(b"no TIFF")
    write_raster(tmp_path / "nowhere.tif", crs=None)
    report = register([tmp_path])
    assert (report.registered, codes(report)) == (1, ["missing_crs", "not_a_geotiff"])
    assert codes(register([tmp_path])) == ["missing_crs", "not_a_geotiff"]
    rejections = rows(
        engine, "SELECT right(uri, 7), code, attempts FROM rejected_files ORDER BY code"
    )
    assert [tuple(row) for row in rejections] == [
        ("ere.tif", "missing_crs", 1),
        ("bad.tif", "not_a_geotiff", 1),
    ]
    write_raster(tmp_path / "bad.tif")
    assert register([tmp_path]).registered == 1
    assert [row.code for row in rows(engine, "SELECT code FROM rejected_files")] == ["missing_crs"]


def test_a_file_that_broke_leaves_its_source(tmp_path: Path, engine: Engine, register: Any) -> None:
    path = write_raster(tmp_path / "a.tif")
    register([path])
    path.write_bytes(path.read_bytes()[:200])
    assert len(register([path]).rejected) == 1
    (source,) = rows(engine, "SELECT file_count, size, west FROM raster_sources")
    assert tuple(source) == (0, None, None)


def test_a_file_that_cannot_be_found_stays_as_it_was(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    register([path])
    path.rename(tmp_path / "b.tif")
    assert codes(register([path])) == ["not_found"]
    assert rows(engine, "SELECT file_count FROM raster_sources")[0].file_count == 1


def test_a_file_that_is_named_twice_is_one_file(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    assert register([path, path, tmp_path]).rejected == []
    assert rows(engine, "SELECT count(*) FROM raster_files")[0][0] == 1


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"crs": "EPSG:32631"}, "projection_mismatch"),
        ({"transform": RD_TRANSFORM @ Affine.scale(2)}, "pixelsize_mismatch"),
        ({"dtype": "int16"}, "dtype_mismatch"),
    ],
)
def test_a_file_that_does_not_fit_its_source_is_rejected(
    tmp_path: Path, engine: Engine, register: Any, other: dict[str, Any], code: str
) -> None:
    write_raster(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif", **other)
    assert codes(register([tmp_path], group="all")) == [code]
    write_raster(tmp_path / "c.tif", **other)
    write_raster(tmp_path / "d.tif")
    report = register([tmp_path], group="all")
    assert (report.registered, report.unchanged, codes(report)) == (1, 1, [code, code])
    assert rows(engine, "SELECT file_count FROM raster_sources")[0].file_count == 2


def test_another_nodata_value_gives_a_warning_of_the_source(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    write_raster(tmp_path / "a.tif", nodata=-1)
    write_raster(tmp_path / "b.tif", nodata=-2)
    assert register([tmp_path], group="all").rejected == []
    (source,) = rows(
        engine, "SELECT fill_value, warnings -> 0 ->> 'code' AS warning FROM raster_sources"
    )
    assert tuple(source) == ("-1.0", "nodata_differs")


def test_a_step_of_a_series_without_a_time_is_rejected(tmp_path: Path, register: Any) -> None:
    write_raster(tmp_path / "a.tif")
    assert codes(register([tmp_path], temporal=True)) == ["missing_time"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a_20240331T0230.tif", "the clocks of Europe/Amsterdam skip it"),
        ("a_20241027T0230.tif", "the clocks of Europe/Amsterdam show it twice"),
        ("a_20240230T0000.tif", "this time does not exist"),
        ("a.tif", "the pattern finds no time in the file name"),
    ],
)
def test_a_step_with_an_impossible_time_is_rejected_with_the_reason(
    tmp_path: Path, register: Any, name: str, reason: str
) -> None:
    write_raster(tmp_path / name)
    fields = {"pattern": r"_(?P<time>\d{8}T\d{4})", "time_zone": "Europe/Amsterdam"}
    (rejection,) = register([tmp_path], temporal=True, **fields).rejected
    assert (rejection.code, reason in rejection.message) == ("missing_time", True), (
        rejection.message
    )


SERIES = {"temporal": True, "group": "all", "name": "rain", "pattern": r"_(?P<time>\d{8}T\d{4}Z)"}


def write_step(folder: Path, time: datetime, **options: Any) -> Path:
    return write_raster(folder / f"rain_{time:%Y%m%dT%H%MZ}.tif", **options)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([0, 5], None),  # two steps are too few
        ([0, 5, 10], timedelta(minutes=5)),
        ([10, 0, 5, 15], timedelta(minutes=5)),
        ([0, 5, 15], None),
        ([0, 5, 10, 20], None),
    ],
)
def test_the_interval_is_that_of_three_or_more_equidistant_steps(
    tmp_path: Path, engine: Engine, register: Any, minutes: list[int], expected: timedelta | None
) -> None:
    start = datetime(2024, 2, 28, 23, 50, tzinfo=UTC)
    for minute in minutes:
        write_step(tmp_path, start + timedelta(minutes=minute))
    register([tmp_path], batch_size=2, **SERIES)
    (source,) = rows(engine, "SELECT * FROM raster_sources")
    assert source.interval == expected
    assert source.first_value_timestamp == start
    assert source.last_value_timestamp == start + timedelta(minutes=max(minutes))


def test_files_that_contradict_a_declared_interval_give_a_warning(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for minutes in (0, 10, 15):
        write_step(tmp_path, start + timedelta(minutes=minutes))
    register([tmp_path], interval="00:05:00", **SERIES)
    assert rows(engine, "SELECT warnings FROM raster_sources")[0].warnings == []
    write_step(tmp_path, start + timedelta(minutes=17))
    register([tmp_path], interval="00:05:00", **SERIES)
    (source,) = rows(engine, 'SELECT "interval", warnings FROM raster_sources')
    assert source.interval == timedelta(minutes=5)
    assert [warning["code"] for warning in source.warnings] == ["interval_contradicted"]


def test_a_static_file_without_a_time_shows_1970_and_stores_no_time(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    register([write_raster(tmp_path / "a.tif")])
    (source,) = rows(
        engine,
        "SELECT first_value_timestamp, last_value_timestamp, times FROM raster_sources, raster_files",
    )
    assert (
        source.first_value_timestamp
        == source.last_value_timestamp
        == datetime(1970, 1, 1, tzinfo=UTC)
    )
    assert source.times == []


def test_a_mosaic_has_the_union_of_its_tiles(tmp_path: Path, engine: Engine, register: Any) -> None:
    sizes = []
    for column, row in [(0, 0), (1, 0), (0, 3)]:
        shifted = RD_TRANSFORM @ Affine.translation(10 * column, 10 * row)
        sizes.append(
            write_raster(tmp_path / f"{column}_{row}.tif", transform=shifted).stat().st_size
        )
    register([tmp_path], group="all", name="mosaic")
    (source,) = rows(engine, "SELECT * FROM raster_sources")
    # tiles of 100 m below and to the right of (155000, 463000)
    assert (source.origin_x, source.upper_bound_x) == (155_000, 155_200)
    assert (source.origin_y, source.upper_bound_y) == (462_600, 463_000)
    assert source.size == sum(sizes)
    (union,) = rows(engine, "SELECT min(west), min(south), max(east), max(north) FROM raster_files")
    assert (source.west, source.south, source.east, source.north) == tuple(union)


def test_tiles_on_both_sides_of_the_antimeridian_have_bounds_that_cross_it(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    for name, west in (("a", 178.0), ("b", -180.0), ("c", 179.0)):
        transform = Affine(0.1, 0, west, 0, -0.1, 10)
        write_raster(tmp_path / f"{name}.tif", crs="EPSG:4326", transform=transform)
    register([tmp_path], group="all")
    (source,) = rows(
        engine, "SELECT west, east, ST_NumGeometries(extent) AS parts FROM raster_sources"
    )
    assert (source.west, source.east, source.parts) == (178, pytest.approx(-179), 2)


def test_one_source_for_each_value_of_a_named_group(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    for name in ("north_1", "north_2", "south_1"):
        write_raster(tmp_path / f"{name}.tif")
    write_raster(tmp_path / "other.tif")
    report = register(
        [tmp_path], group="region", pattern=r"(?P<region>[a-z]+)_\d", name="Part {region}"
    )
    assert codes(report) == ["unmatched"]
    sources = rows(engine, "SELECT name, file_count FROM raster_sources ORDER BY name")
    assert [tuple(row) for row in sources] == [("Part north", 2), ("Part south", 1)]


def test_a_changed_definition_is_applied_without_opening_files(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    register([path], description="one")
    spoil(path)
    report = register([path], description="two", access_modifier="Public", supplier="someone")
    assert (report.unchanged, report.rejected) == (1, [])
    (source,) = rows(
        engine,
        "SELECT description, access_modifier, username FROM raster_sources JOIN users ON users.id = supplier_id",
    )
    assert tuple(source) == ("two", 0, "someone")


def test_edits_of_users_stay_until_the_definition_changes(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    register([path], name="defined")
    with engine.begin() as connection:
        connection.execute(text("UPDATE raster_sources SET name = 'edited'"))
    write_raster(path, width=12)
    register([path], name="defined")
    assert rows(engine, "SELECT name FROM raster_sources")[0].name == "edited"
    register([path], name="defined anew")
    assert rows(engine, "SELECT name FROM raster_sources")[0].name == "defined anew"


def test_a_changed_grouping_moves_files_to_other_sources_and_leaves_no_empty_ones(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif")
    register([tmp_path])
    register([tmp_path], group="all", name="both")
    sources = rows(engine, "SELECT name, file_count FROM raster_sources ORDER BY file_count, name")
    assert [tuple(row) for row in sources] == [("both", 2)]
    assert rows(engine, "SELECT count(*) FROM raster_files")[0][0] == 2


def test_a_missing_organisation_is_named_and_not_added(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    path = write_raster(tmp_path / "a.tif")
    with pytest.raises(CatalogueError, match='organisation add "Nobody"'):
        register([path], create=False, organisation="Nobody")
    assert rows(engine, "SELECT FROM organisations") == []


def test_names_that_are_not_utf8_or_have_signs_are_registered(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    folder = os.fsencode(tmp_path)
    plain = write_raster(tmp_path / "a.tif").read_bytes()
    for name in (
        b"caf\xe9.tif",
        "café.tif".encode(),
        b"a\nb'\"\\.tif",
        b"100%_{x}.tif",
        b"a\tb.tif",
    ):
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(plain)  # noqa: PTH118 - bytes
    assert register([tmp_path]).registered == 6
    names = {row.name for row in rows(engine, "SELECT name FROM raster_sources")}
    assert names == {"a", "caf?", "café", "a\nb'\"\\", "100%_{x}", "a\tb"}


def test_sidecars_whose_names_are_not_utf8_are_registered_with_a_warning(
    tmp_path: Path, engine: Engine, register: Any
) -> None:
    placed = write_raster(tmp_path / "a.tif").read_bytes()
    unplaced = write_raster(tmp_path / "b.tif", transform=None).read_bytes()
    world_file = "100\n0\n0\n-100\n50\n-50\n"
    folder = os.fsencode(tmp_path / "odd")
    Path(os.fsdecode(folder)).mkdir()
    for name, content in (
        (b"caf\xe9.tif", placed),
        (b"caf\xe9.tfw", world_file.encode()),
        (b"\xff.tif", unplaced),
        (b"\xff.tfw", world_file.encode()),
        (b"\xfe.tif", unplaced),
        (b"\xfe.tif.aux.xml", b"not XML"),
    ):
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(content)  # noqa: PTH118 - bytes
    report = register([tmp_path / "odd"])
    assert report.registered == 2
    assert [rejection.code for rejection in report.rejected] == ["no_grid"]
    files = rows(engine, "SELECT sidecars, warnings FROM raster_files ORDER BY sidecars")
    assert [row.sidecars for row in files] == [
        [],
        ["?.tfw"],
    ]  # the sidecar of the first file is not used
    assert "sidecar caf?.tfw" in str(files[0].warnings)
