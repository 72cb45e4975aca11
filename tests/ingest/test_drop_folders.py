"""Drop folders: a file is registered in the source that its name gives, and is then moved."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from string import ascii_letters
from typing import Any

import pytest

from pipeline.catalogue import rejected_files
from pipeline.catalogue.definitions import Orphan
from pipeline.errors import CatalogueError
from pipeline.ingest.sync import list_orphans, prune_all
from pipeline.storage import current_fingerprint, file_uri, find_file
from tests.ingest.conftest import spoil
from tests.support.commands import RASTERSOURCES, run
from tests.support.database import execute, rows
from tests.support.drop_folder import Site, tree
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import CONFIG, plan_files, sync_files

# Which source, which time ------------------------------------------------------------------------------------------


def test_a_file_goes_to_the_source_of_its_code_and_then_to_done(
    site: Site,
) -> None:
    site.add_source("rain")
    site.add_source("snow")
    path = site.drop("rain.tif")
    size = path.stat().st_size
    report = site.sync()
    assert (report.registered, report.bytes, report.rejected) == (1, size, [])
    assert site.files() == [("rain", "done/rain.tif")]
    assert (tree(site.folder), tree(site.done)) == ([], ["rain.tif"])
    (stored,) = rows(site.engine, "SELECT fingerprint FROM raster_files")
    assert stored[0] == current_fingerprint(find_file(site.done / "rain.tif", ["/"]))
    assert (site.sync().listed, site.files()) == (0, [("rain", "done/rain.tif")])


def test_names_too_long_for_the_catalogue_are_rejected_and_stay(site: Site) -> None:
    site.add_source("rain")
    path = site.drop("rain.tif")
    letters = random.Random(1).choices(ascii_letters, k=2600)
    folders = ["".join(letters[start : start + 200]) for start in range(0, 2600, 200)]
    deep = site.folder.joinpath(*folders)
    deep.mkdir(parents=True)
    long = deep / "snow.tif"
    path.rename(long)
    for _ in range(2):
        report = site.sync()
        assert (report.registered, [rejection.code for rejection in report.rejected]) == (
            0,
            ["unmatched"],
        )
        assert long.exists()
    long.rename(site.folder / "rain.tif")
    done = site.base.joinpath(*folders[:11], "d" * (2480 - 11 * 201 - len(file_uri(site.base))))
    done.mkdir(parents=True)
    report = site.sync(done=str(done))
    assert [rejection.code for rejection in report.rejected] == ["unmatched"]
    assert (site.files(), tree(site.folder)) == ([], ["rain.tif"])
    assert site.sync().registered == 1


@pytest.mark.parametrize("form", [str, lambda uuid: uuid.hex, lambda uuid: str(uuid).upper()])
@pytest.mark.parametrize("tail", ["", "_20240102T0300Z", "_2024-01-02 03:00"])
def test_a_file_goes_to_the_source_of_its_uuid(
    site: Site, form: Callable[[Any], str], tail: str
) -> None:
    uuid = site.add_source("rain")
    site.drop(f"{form(uuid)}{tail}.tif")
    assert site.sync().registered == 1
    (times,) = rows(site.engine, "SELECT times FROM raster_files")
    assert times == ([datetime(2024, 1, 2, 3, tzinfo=UTC)] if tail else [],)


def test_a_uuid_counts_before_the_same_text_as_a_code(site: Site) -> None:
    uuid = site.add_source("rain")
    site.add_source(str(uuid))
    site.drop(f"{uuid}.tif")
    assert site.sync().registered == 1
    assert site.files() == [("rain", f"done/{uuid}.tif")]


def test_codes_may_contain_underscores_and_times(site: Site) -> None:
    site.add_source("rain_nl", temporal=True)
    site.add_source("rain_20240101")
    site.drop("rain_nl_20240101T0100.tif")
    site.drop("rain_20240101.tif")
    assert site.sync(time_zone="Europe/Amsterdam").registered == 2
    files = rows(
        site.engine,
        "SELECT name, times FROM raster_files JOIN raster_sources AS source ON source.id = source_id ORDER BY name",
    )
    assert files == [("rain_20240101", []), ("rain_nl", [datetime(2024, 1, 1, tzinfo=UTC)])]


def test_the_tag_dates_a_file_of_a_series_without_a_time_in_its_name(site: Site) -> None:
    site.add_source("rain", temporal=True)
    site.add_source("land")
    tags = {"TIFFTAG_DATETIME": "2024:06:18 14:14:24"}
    site.drop("rain.tif", tags=tags)
    site.drop("land.tif", tags=tags)
    assert site.sync().registered == 2
    files = rows(site.engine, "SELECT right(uri, 8), times FROM raster_files ORDER BY uri")
    assert files == [
        ("land.tif", []),
        ("rain.tif", [datetime(2024, 6, 18, 14, 14, 24, tzinfo=UTC)]),
    ]


@pytest.mark.parametrize(
    ("name", "raster", "code"),
    [
        ("unknown.tif", {}, "unmatched"),
        ("twice.tif", {}, "unmatched"),
        ("others.tif", {}, "not_the_supplier"),
        ("series.tif", {}, "missing_time"),
        ("series_20240230.tif", {}, "missing_time"),
        ("series_20241027T0230.tif", {}, "missing_time"),
        ("full.tif", {"dtype": "uint8", "nodata": 0}, "dtype_mismatch"),
        ("full.tif", {"crs": "EPSG:3035"}, "projection_mismatch"),
        ("own.tif", {"crs": None}, "missing_crs"),
        ("elsewhere.tif", {}, "unmatched"),
    ],
)
def test_a_file_that_does_not_fit_is_rejected_and_moved_to_refused(
    site: Site, name: str, raster: dict[str, Any], code: str
) -> None:
    for source in ("own", "twice", "twice", "full"):
        site.add_source(source, supplier="me")
    site.add_source("series", supplier="me", temporal=True)
    site.add_source("others", supplier="another")
    site.add_source("elsewhere", supplier="me", organisation="Another")
    fields = {"supplier": "me", "organisation": "Owner", "time_zone": "Europe/Amsterdam"}
    site.drop("full.tif")
    site.sync(**fields)
    site.drop(name, transform=RD_TRANSFORM @ RD_TRANSFORM.translation(50, 0), **raster)
    report = site.sync(**fields)
    assert [rejection.code for rejection in report.rejected] == [code]
    assert report.rejected[0].uri == file_uri(site.rejected / name)
    assert site.rejections() == [(code, f"rejected/{name}")]
    assert (tree(site.folder), tree(site.rejected)) == ([], [name])
    assert site.files() == [("full", "done/full.tif")]
    assert site.sync(**fields).rejected == []
    assert site.rejections() == [(code, f"rejected/{name}")]


def test_the_supplier_decides_between_sources_with_one_code(site: Site) -> None:
    mine = site.add_source("rain", supplier="me")
    site.add_source("rain", supplier="another")
    site.add_source("rain")
    site.drop("rain.tif")
    assert site.sync(supplier="me").registered == 1
    assert rows(site.engine, "SELECT uuid FROM raster_sources WHERE file_count > 0") == [(mine,)]


def test_a_rejection_belongs_to_the_organisation_of_source_or_drop_folder(
    site: Site,
) -> None:
    site.add_source("elsewhere", organisation="Another")
    uuid = site.add_source("rain")
    site.drop(f"{uuid}.tif", crs=None)
    site.drop("unknown.tif")
    query = "SELECT code, name FROM rejected_files LEFT JOIN organisations AS o ON o.id = organisation_id ORDER BY code"
    for organisations, owner in (
        (None, None), (["Another", "Owner"], None), (["Owner"], "Owner"), ("Owner", "Owner"),
    ):  # fmt: skip
        site.sync(rejected="keep", organisation=organisations)
        assert rows(site.engine, query) == [("missing_crs", "Owner"), ("unmatched", owner)]
        execute(site.engine, "DELETE FROM rejected_files")


# Codes that others take ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("supplier", [None, "me"], ids=["of anyone", "of a supplier"])
def test_the_same_code_in_another_organisation_changes_nothing(
    site: Site, supplier: str | None
) -> None:
    site.add_source("rain", supplier=supplier)
    site.add_source("rain", supplier=supplier, organisation="Squatter")
    site.add_source("snow", supplier=supplier, organisation="Squatter")
    site.drop("rain.tif")
    site.drop("snow.tif")
    report = site.sync(organisation="Owner", supplier=supplier)
    assert (report.registered, [rejection.code for rejection in report.rejected]) == (
        1,
        ["unmatched"],
    )
    sources = rows(
        site.engine,
        "SELECT o.name, s.supplier_code FROM raster_sources AS s "
        "JOIN organisations AS o ON o.id = organisation_id WHERE file_count > 0",
    )
    assert sources == [("Owner", "rain")]


@pytest.mark.parametrize("supplier", [None, "me"], ids=["of anyone", "of a supplier"])
def test_without_an_organisation_only_uuids_count(site: Site, supplier: str | None) -> None:
    uuid = site.add_source("rain", supplier=supplier)
    site.add_source(str(uuid), supplier=supplier, organisation="Squatter")
    site.add_source("snow", supplier=supplier, organisation="Squatter")
    site.drop(f"{uuid}.tif")
    site.drop("snow.tif")
    site.drop("rain.tif")
    report = site.sync(organisation=None, supplier=supplier)
    assert (report.registered, [rejection.code for rejection in report.rejected]) == (
        1,
        ["unmatched"] * 2,
    )
    assert "a supplier_code counts only where the drop folder names its organisation" in (
        report.rejected[0].message
    )
    assert site.files() == [("rain", f"done/{uuid}.tif")]


def test_codes_count_in_each_organisation_of_a_list(site: Site) -> None:
    site.add_source("rain")
    site.add_source("snow", organisation="Another")
    site.add_source("hail", organisation="Squatter")
    for code in ("rain", "snow", "hail"):
        site.drop(f"{code}.tif")
    report = site.sync(organisation=["Owner", "Another"])
    assert (report.registered, [rejection.uri for rejection in report.rejected]) == (
        2,
        [file_uri(site.rejected / "hail.tif")],
    )
    assert site.files() == [("rain", "done/rain.tif"), ("snow", "done/snow.tif")]


# Files that stay ---------------------------------------------------------------------------------------------------


KEEP = {"done": "keep", "rejected": "keep"}


def test_files_that_stay_are_read_once(site: Site) -> None:
    site.add_source("rain")
    good, bad = site.drop("rain.tif"), site.drop("rain_20240101.tif", crs=None)
    report = site.sync(**KEEP)
    assert (report.registered, [rejection.code for rejection in report.rejected]) == (
        1,
        ["missing_crs"],
    )
    assert site.files() == [("rain", "incoming/rain.tif")]
    assert site.rejections() == [("missing_crs", "incoming/rain_20240101.tif")]
    spoil(good)
    spoil(bad)
    report = site.sync(**KEEP)
    assert (report.registered, report.unchanged) == (0, 1)
    assert [rejection.code for rejection in report.rejected] == ["missing_crs"]
    assert rows(site.engine, "SELECT attempts FROM rejected_files") == [(1,)]


def test_a_file_that_stays_and_changes_is_read_again(site: Site) -> None:
    site.add_source("rain")
    path = site.drop("rain.tif")
    site.sync(**KEEP)
    write_raster(path, width=11)
    assert site.sync(**KEEP).registered == 1
    assert rows(site.engine, "SELECT width FROM raster_files") == [(11,)]
    write_raster(path, crs=None)
    assert [rejection.code for rejection in site.sync(**KEEP).rejected] == ["missing_crs"]
    assert (site.files(), site.rejections()) == ([], [("missing_crs", "incoming/rain.tif")])
    write_raster(path)
    assert site.sync(**KEEP).registered == 1
    assert (site.files(), site.rejections()) == ([("rain", "incoming/rain.tif")], [])


def test_a_file_that_stays_leaves_a_source_that_lost_its_code(site: Site) -> None:
    site.add_source("rain")
    path = site.drop("rain.tif")
    site.sync(**KEEP)
    execute(site.engine, "UPDATE raster_sources SET supplier_code = 'old'")
    site.add_source("rain")
    write_raster(path, width=11)
    assert site.sync(**KEEP).registered == 1
    assert site.files() == [("rain", "incoming/rain.tif")]


def test_a_file_that_stays_does_not_bring_deleted_data_back(site: Site) -> None:
    site.add_source("rain")
    path = site.drop("rain.tif")
    site.sync(**KEEP)
    execute(
        site.engine,
        "INSERT INTO tombstones (definition, source_uuid, name, organisation_id, uri, fingerprint) "
        "SELECT file.definition, uuid, name, organisation_id, uri, fingerprint "
        "FROM raster_files AS file JOIN raster_sources AS source ON source.id = source_id",
    )
    execute(site.engine, "DELETE FROM raster_files")
    execute(site.engine, "SELECT derive_sources(array_agg(id)) FROM raster_sources")
    report = site.sync(**KEEP)
    assert (report.registered, report.withheld, site.files()) == (0, 1, [])
    write_raster(path, width=11)
    assert site.sync(**KEEP).registered == 1


def test_the_rejection_of_a_file_that_is_gone_is_deleted(site: Site) -> None:
    for fields in (KEEP, {}):
        site.drop("unknown.tif")
        site.sync(**fields)
        assert len(site.rejections()) == 1
        for path in (*site.folder.iterdir(), *site.rejected.iterdir()):
            path.unlink()
        site.sync(**fields)
        assert site.rejections() == []


@pytest.mark.parametrize("fields", [KEEP, {}], ids=["where it stays", "among the rejected ones"])
def test_an_unmatched_file_is_registered_when_its_source_is_created(
    site: Site, fields: dict[str, str]
) -> None:
    site.drop("rain.tif")
    assert [rejection.code for rejection in site.sync(**fields).rejected] == ["unmatched"]
    assert len(site.sync(**fields).rejected) == (1 if fields else 0)
    assert rows(site.engine, "SELECT attempts FROM rejected_files") == [(1,)]
    site.add_source("rain")
    assert site.sync(**fields).registered == 1
    kept = "incoming/rain.tif" if fields else "done/rain.tif"
    assert (site.files(), site.rejections()) == ([("rain", kept)], [])


def test_a_rejected_file_can_be_corrected_in_place_or_retried(site: Site) -> None:
    site.add_source("rain", temporal=True)
    site.drop("rain_20240101.tif", crs=None)
    site.drop("rain.tif", transform=RD_TRANSFORM @ RD_TRANSFORM.translation(50, 0))
    write_raster(site.rejected / "rain_20240103.tif")  # no run rejected this file
    assert len(site.sync().rejected) == 2
    assert site.sync().listed == 0
    write_raster(site.rejected / "rain_20240101.tif")
    assert site.sync().registered == 1
    execute(site.engine, "UPDATE raster_sources SET temporal = false")
    assert site.sync().registered == 0
    assert rejected_files.retry(site.engine) == 1
    assert site.sync().registered == 1
    assert site.files() == [("rain", "done/rain.tif"), ("rain", "done/rain_20240101.tif")]
    assert (site.rejections(), tree(site.rejected)) == ([], ["rain_20240103.tif"])


# What must not happen ------------------------------------------------------------------------------------------------


def test_a_file_behind_a_link_stays(site: Site) -> None:
    site.add_source("rain")
    path = write_raster(site.base / "rain.tif")
    (site.folder / "rain.tif").symlink_to(path)
    assert [rejection.code for rejection in site.sync().rejected] == ["not_allowed"]
    assert path.exists()
    assert (tree(site.done), tree(site.rejected)) == ([], [])


def test_a_file_with_a_linked_sidecar_stays(site: Site) -> None:
    site.add_source("rain")
    site.drop("rain.tif")
    secret = site.base / "secret"
    secret.write_text("secret")
    (site.folder / "rain.tfw").symlink_to(secret)
    (rejection,) = site.sync().rejected
    assert rejection.code == "not_allowed"
    assert rejection.message == "its sidecar rain.tfw is a link; put the file itself there"
    assert tree(site.folder) == ["rain.tfw", "rain.tif"]
    assert (tree(site.done), tree(site.rejected)) == ([], [])
    (site.folder / "rain.tfw").unlink()
    assert site.sync().registered == 1


def test_young_files_wait(site: Site) -> None:
    site.add_source("rain")
    site.drop("rain.tif")
    report = site.sync(settle_seconds=3600)
    assert (report.registered, report.settling, tree(site.folder)) == (0, 1, ["rain.tif"])
    assert site.sync().registered == 1


@pytest.mark.parametrize("name", ["incoming", "done", "rejected"])
def test_a_missing_folder_gives_one_sentence_and_nothing_is_moved(site: Site, name: str) -> None:
    (site.base / name).rmdir()
    if name != "incoming":
        site.drop("unknown.tif")
    with pytest.raises(
        CatalogueError, match=f'"drop" names the folder .*/{name}, which does not exist'
    ):
        site.sync()
    assert (tree(site.base) == ["incoming/unknown.tif", "sources.toml"]) == (name != "incoming")


@pytest.mark.parametrize("field", ["organisation", "supplier"])
def test_an_unknown_owner_gives_one_sentence(site: Site, field: str) -> None:
    with pytest.raises(CatalogueError, match=r'"drop" names the (organisation|user) "Nobody"'):
        site.sync(**{field: "Nobody"})


def test_a_folder_outside_the_roots_gives_one_sentence(site: Site) -> None:
    site.drop("unknown.tif")
    work = site.configure(done="done")
    with pytest.raises(CatalogueError, match=r"done: it lies outside the folders that may be read"):
        sync_files(site.engine, site.pool.read, work, roots=[site.folder])


def test_a_plan_lists_the_files_and_changes_nothing(site: Site) -> None:
    site.add_source("rain")
    good, unknown = site.drop("rain.tif"), site.drop("unknown.tif")
    work = site.configure(done="done", rejected="rejected")
    plan = plan_files(site.engine, work)
    assert (plan.files["add"], plan.files["rejected"]) == ([file_uri(good)], [file_uri(unknown)])
    assert plan.reasons[file_uri(unknown)].code == "unmatched"
    assert tree(site.folder) == ["rain.tif", "unknown.tif"]
    assert (site.files(), site.rejections()) == ([], [])
    site.sync()
    assert plan_files(site.engine, work).changes == 0


def test_a_drop_folder_is_planned_and_synced_by_its_name(site: Site, database_url: str) -> None:
    site.add_source("rain")
    site.drop("rain.tif")
    site.drop("unknown.tif")
    site.configure(done="done", rejected="rejected")

    def command(*arguments: str, status: int) -> str:
        done = run(
            [*RASTERSOURCES, *arguments],
            cwd=site.base,
            status=status,
            RASTERSOURCES_DATABASE_URL=database_url,
        )
        return done.stdout + done.stderr

    assert "rain.tif" in command("plan", "drop", status=2)
    printed = command("sync", "drop", status=3)
    assert f"rejected {file_uri(site.rejected / 'unknown.tif')}: no raster source" in printed
    assert "1 registered, 0 unchanged, 1 rejected" in printed
    assert "0 registered, 0 unchanged, 0 rejected" in command("sync", status=0)
    assert 'there is no definition "x"; choose one of: drop' in command("sync", "x", status=1)
    states = rows(
        site.engine, "SELECT definition, state, registered, reasons FROM sync_runs ORDER BY id"
    )
    assert states == [("drop", "rejections", 1, {"unmatched": 1}), ("drop", "completed", 0, {})]
    command("sync", "--prune", status=0)
    assert site.files() == [("rain", "done/rain.tif")]


def test_pruning_a_drop_folder_deletes_rejections_and_keeps_files(site: Site) -> None:
    site.add_source("rain")
    site.drop("rain.tif")
    site.drop("unknown.tif")
    site.sync()
    assert list_orphans(site.engine, CONFIG, []) == [Orphan("drop", 0)]
    prune_all(site.engine, CONFIG, [])
    assert list_orphans(site.engine, CONFIG, []) == []
    assert (site.rejections(), site.files()) == ([], [("rain", "done/rain.tif")])
