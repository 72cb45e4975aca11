"""Callers remove all data or those of a period, with the waiting uploads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.storage import file_uri
from pipeline.storage.uploads import FolderUploadStore
from tests.api.conftest import As
from tests.api.views.source_data.conftest import (
    NOON,
    ONE,
    TWO,
    Process,
    Source,
    run,
    stored_uris,
    upload_file,
)
from tests.support.derived import assert_derived
from tests.support.factory import write_raster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

DERIVED = (
    "first_value_timestamp", "last_value_timestamp", "spatial_bounds", "projection", "origin_x", "origin_y",
    "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y", "size", "dtype", "fill_value",
)  # fmt: skip


@pytest.mark.parametrize("body", [None, "{}", '{"start": null, "stop": ""}'])
def test_removing_all_data_makes_derived_fields_null(
    as_: As,
    source: Source,
    tif: Path,
    store: FolderUploadStore,
    process: Process,
    body: str | None,
) -> None:
    url, admin = source(), as_("admin")
    upload_file(admin, url, tif)
    process()
    answer = admin.request("DELETE", f"{url}data", content=body)
    assert (answer.status_code, answer.json()["removed"]) == (200, 1)
    shown = admin.get(url).json()
    assert {shown[name] for name in DERIVED} == {None}
    assert stored_uris(store) == []
    assert admin.delete(f"{url}data/").json()["removed"] == 0


def test_files_outside_the_storage_are_never_deleted(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process
) -> None:
    url, admin = source(), as_("admin")
    upload_file(admin, url, tif)
    process()
    run(engine, "UPDATE raster_files SET uri = :uri", uri=file_uri(tif))
    assert admin.delete(f"{url}data/").json()["removed"] == 1
    assert tif.exists()


RANGES: list[tuple[dict[str, str], str | None, str | None]] = [
    ({"start": ONE, "stop": ONE}, NOON, TWO),
    ({"start": ONE}, NOON, NOON),
    ({"stop": ONE}, TWO, TWO),
    ({"start": "2024-01-01", "stop": "2024-01-01T12:59:59.999999Z"}, ONE, TWO),
    ({"start": "2024-01-01T13:00:00.000001Z", "stop": "2025-01-01"}, NOON, ONE),
    ({"start": "2025-01-01"}, NOON, TWO),
    ({"start": NOON, "stop": TWO}, None, None),
]


@pytest.mark.parametrize(("body", "first", "last"), RANGES, ids=str)
def test_a_removed_period_includes_both_ends(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process,
    body: dict[str, str], first: str | None, last: str | None,
) -> None:  # fmt: skip
    url, admin = source(temporal=True), as_("admin")
    for time in (NOON, ONE, TWO):
        upload_file(admin, url, tif, time=time)
    process()
    assert admin.request("DELETE", f"{url}data/", json=body).status_code == 200
    shown = admin.get(url).json()
    assert (shown["first_value_timestamp"], shown["last_value_timestamp"]) == (first, last)
    assert_derived(engine)


def test_a_file_with_steps_inside_and_outside_the_period_stays(
    as_: As, source: Source, tmp_path: Path, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    tags = [{"TIMESTAMP": time} for time in (NOON, ONE)]
    upload_file(admin, url, write_raster(tmp_path / "a.tif", count=2, band_tags=tags))
    process()
    answer = admin.request("DELETE", f"{url}data/", json={"start": ONE}).json()
    assert (answer["removed"], answer["partly"]) == (0, 1)
    assert admin.get(url).json()["last_value_timestamp"] == ONE


@pytest.mark.parametrize(
    ("body", "field"),
    [({"start": "x"}, "start"), ({"stop": 5}, "stop"), ({"start": TWO, "stop": NOON}, "stop")],
)
def test_an_invalid_period_is_400(
    as_: As, source: Source, body: dict[str, Any], field: str
) -> None:
    answer = as_("admin").request("DELETE", f"{source()}data/", json=body)
    assert (answer.status_code, list(answer.json()["detail"])) == (400, [field])


@pytest.mark.parametrize("body", [{"end": ONE}, {"Start": ONE}, {"force": True}])
def test_a_body_without_a_period_removes_nothing(
    as_: As, source: Source, tif: Path, process: Process, body: dict[str, Any]
) -> None:
    url, admin = source(temporal=True), as_("admin")
    upload_file(admin, url, tif, time=ONE)
    process()
    answer = admin.request("DELETE", f"{url}data/", json=body)
    assert (answer.status_code, list(answer.json()["detail"])) == (400, ["non_field_errors"])
    assert admin.get(f"{url}files/").json()["count"] == 1


def test_waiting_uploads_are_revoked_with_the_data(
    as_: As, source: Source, tif: Path, store: FolderUploadStore, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    early, late = upload_file(admin, url, tif, time=NOON), upload_file(admin, url, tif, time=TWO)
    assert admin.request("DELETE", f"{url}data/", json={"stop": ONE}).json()["revoked"] == 1
    assert [admin.get(task).json()["status"] for task in (early, late)] == ["REVOKED", "PENDING"]
    assert admin.delete(f"{url}data/").json()["revoked"] == 1
    assert admin.get(late).json()["status"] == "REVOKED"
    assert stored_uris(store) == []
    assert process() == []


def test_deleting_a_source_revokes_the_tasks_of_its_uploads(
    as_: As, client: Client, source: Source, tif: Path, store: FolderUploadStore, process: Process
) -> None:
    url, admin = source(), as_("admin")
    task = upload_file(admin, url, tif)
    assert admin.delete(url).status_code == 204
    assert client.get(task).json()["status"] == "REVOKED"
    assert stored_uris(store) == []
    assert process() == []


@pytest.mark.parametrize("target", ["", "data/"], ids=["the source", "its data"])
def test_a_deletion_waits_for_an_upload_that_is_processed_or_ends_it(
    as_: As, client: Client, source: Source, tif: Path, engine: Engine, store: FolderUploadStore, process: Process,
    target: str,
) -> None:  # fmt: skip
    url, admin = source(), as_("admin")
    task = upload_file(admin, url, tif)
    with ThreadPoolExecutor(2) as threads:
        # both wait for the source while the upload is being processed
        with engine.begin() as blocker:
            blocker.execute(text("SELECT FROM raster_sources FOR UPDATE"))
            processing = threads.submit(process)
            wait_until(lambda: client.get(task).json()["status"] == "STARTED")
            deleting = threads.submit(admin.delete, f"{url}{target}")
            wait_until(lambda: run(engine, WAITING).scalar_one() == 2)
        assert deleting.result().status_code == (200 if target else 204)
        processing.result()
    assert client.get(task).json()["status"] in ("SUCCESS", "REVOKED")
    assert client.get(url).status_code == (200 if target else 404)
    assert stored_uris(store) == []
    assert_derived(engine)
