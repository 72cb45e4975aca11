"""Uploads are registered or rejected, and replace files, even if a process dies meanwhile."""

import os
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote

import pytest
from affine import Affine
from httpx import Client
from sqlalchemy import Engine

from pipeline.catalogue.upload_files import sweep
from pipeline.catalogue.uploads import claim_upload, hold_upload
from pipeline.errors import TransientError
from pipeline.ingest.uploads import UploadWorker, process_until, process_waiting
from pipeline.storage import StoredFile, path_of
from pipeline.storage.uploads import FolderUploadStore
from tests.api.conftest import As
from tests.api.views.source_data.conftest import (
    NOON,
    ONE,
    Process,
    Source,
    add_receiving,
    get_only_row,
    hold_server_lock,
    run,
    send,
    stored_uris,
    upload_file,
)
from tests.support.derived import assert_derived
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"crs": None}, "missing_crs"),
    ({"crs": "EPSG:32631"}, "projection_mismatch"),
    ({"transform": RD_TRANSFORM @ Affine.scale(2)}, "pixelsize_mismatch"),
    ({"dtype": "uint8", "nodata": 0}, "dtype_mismatch"),
]


@pytest.mark.parametrize(("features", "code"), REFUSED, ids=[code for _, code in REFUSED])
def test_a_rejected_file_fails_with_its_reason_code_and_changes_nothing(
    as_: As, source: Source, tif: Path, tmp_path: Path, store: FolderUploadStore, process: Process,
    features: dict[str, Any], code: str,
) -> None:  # fmt: skip
    url, admin = source(), as_("admin")
    upload_file(admin, url, tif)
    process()
    before, kept = admin.get(url).json(), stored_uris(store)
    task = admin.get(upload_file(admin, url, write_raster(tmp_path / "b.tif", **features)))
    process()
    failed = admin.get(task.json()["url"]).json()
    assert (failed["status"], failed["result"]) == ("FAILURE", None)
    assert failed["detail"].startswith(f"{code}: ")
    newest, _ = admin.get(f"{url}uploads/").json()["results"]
    assert (newest["state"], newest["state_detail"]) == ("rejected", failed["detail"])
    assert admin.get(url).json() == before
    assert stored_uris(store) == kept


class AlwaysChanging(FolderUploadStore):
    """A storage whose files always change before they are read."""

    def file(self, uri: str) -> StoredFile:
        return replace(super().file(uri), fingerprint="1.1")


def test_sent_crs_and_nodata_apply_to_every_reading_of_the_file(
    as_: As,
    source: Source,
    tmp_path: Path,
    engine: Engine,
    store: FolderUploadStore,
    worker: UploadWorker,
) -> None:
    url, admin = source(), as_("admin")
    without_crs = write_raster(tmp_path / "b.tif", crs=None, nodata=None)
    task = upload_file(admin, url, without_crs, fields={"crs": " epsg:28992", "nodata": "-9999"})
    changing = replace(worker, store=AlwaysChanging(store.folder))
    assert [outcome.state for outcome in process_waiting(changing)] == ["retry"]
    run(engine, "UPDATE uploads SET updated_at = now() - interval '1 hour'")
    assert [outcome.state for outcome in process_waiting(worker)] == ["committed"]
    assert admin.get(task).json()["status"] == "SUCCESS"
    shown = admin.get(url).json()
    assert (shown["projection"], shown["fill_value"]) == ("EPSG:28992", "-9999.0")
    query = "SELECT provenance ->> 'projection', provenance ->> 'fill_value' FROM raster_files"
    assert run(engine, query).all() == [("crs of the upload", "nodata of the upload")]


def test_a_file_keeps_its_own_crs_and_nodata(
    as_: As, source: Source, tif: Path, process: Process
) -> None:
    url, admin = source(), as_("admin")
    upload_file(admin, url, tif, fields={"crs": "EPSG:32631", "nodata": "0"})
    process()
    shown = admin.get(url).json()
    assert (shown["projection"], shown["fill_value"]) == ("EPSG:28992", "-9999.0")
    codes = [warning["code"] for warning in get_only_row(admin, url, "files")["warnings"]]
    assert codes == ["crs_kept", "nodata_kept"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("crs", "RD New", "Is not a CRS; write its authority and code, such as EPSG:CODE."),
        ("crs", "EPSG:0", "PROJ has no CRS EPSG:0; check the authority and the code."),
        ("crs", "EPSG:28992\0", "Is not a CRS; write its authority and code, such as EPSG:CODE."),
        ("nodata", "none", "Is not a number; write for example -9999 or nan."),
        ("nodata", "9" * 60_000, "Is not a number; write for example -9999 or nan."),
    ],
)
def test_an_unusable_crs_or_nodata_is_rejected_at_once(
    as_: As, source: Source, tif: Path, engine: Engine, store: FolderUploadStore,
    name: str, value: str, sentence: str,
) -> None:  # fmt: skip
    answer = send(as_("admin"), source(), tif, fields={name: value})
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert answer.json()["detail"] == {name: [sentence]}
    assert (stored_uris(store), run(engine, "SELECT count(*) FROM uploads").scalar_one()) == ([], 0)


def test_blank_fields_are_ignored(as_: As, source: Source, tif: Path, engine: Engine) -> None:
    upload_file(as_("admin"), source(), tif, fields={"crs": "", "nodata": " "})
    assert run(engine, "SELECT crs, nodata FROM uploads").all() == [(None, None)]


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda content: content[:-100], "truncated"),
        (lambda _: b"", "empty_file"),
        (lambda _: b'<VRTDataset rasterXSize="1" rasterYSize="1"/>', "not_a_geotiff"),
    ],
    ids=["half a file", "no bytes", "a VRT"],
)
def test_a_damaged_file_fails_with_its_reason_code(
    as_: As, source: Source, tif: Path, process: Process, damage: Callable[[bytes], bytes], code: str
) -> None:  # fmt: skip
    tif.write_bytes(damage(tif.read_bytes()))
    task = upload_file(as_("admin"), source(), tif)
    process()
    assert as_("admin").get(task).json()["detail"].startswith(f"{code}: ")


def test_messages_about_an_upload_do_not_say_where_it_is_stored(
    as_: As, client: Client, source: Source, tif: Path, store: FolderUploadStore, process: Process
) -> None:
    content = bytearray(tif.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    offsets = [first + 2 + 12 * number for number in range(count)]
    (planar,) = [
        offset for offset in offsets if struct.unpack_from("<H", content, offset) == (284,)
    ]
    # GDAL cannot open the file with this value, and names the file in its message
    struct.pack_into("<H", content, planar + 8, 9)
    tif.write_bytes(content)
    url = source()
    task = upload_file(as_("admin"), url, tif)
    (outcome,) = process()
    assert outcome.rejection
    assert str(store.folder) in outcome.rejection.message
    shown = client.get(task).text + as_("admin").get(f"{url}uploads/").text
    assert 'the file: Bad value 9 for \\"PlanarConfiguration\\" tag' in shown
    assert not [part for part in store.folder.parts[1:] if part in shown]
    assert Path(unquote(outcome.rejection.uri)).name not in shown


def test_a_file_has_the_sent_time_and_a_series_needs_one(
    as_: As, source: Source, tif: Path, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    undated = upload_file(admin, url, tif)
    upload_file(admin, url, tif, time="2024-01-01T13:00:00+01:00")
    process()
    sentence = "missing_time: it has no time; give it a timestamp"
    assert admin.get(undated).json()["detail"] == sentence
    shown = admin.get(url).json()
    assert (shown["first_value_timestamp"], shown["last_value_timestamp"]) == (NOON, NOON)


def test_a_step_replaces_the_step_of_the_same_time(
    as_: As, source: Source, tif: Path, tmp_path: Path, store: FolderUploadStore, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    larger = write_raster(tmp_path / "b.tif", tags={"NOTE": "x" * 100})
    steps = ((tif, NOON), (tif, ONE), (larger, NOON))
    tasks = [upload_file(admin, url, path, time=time) for path, time in steps]
    process()
    ended_tasks = [admin.get(task).json() for task in tasks]
    assert [task["result"] for task in ended_tasks] == [url] * 3
    assert [task["detail"] for task in ended_tasks] == [f"Files replaced: {n}." for n in (0, 0, 1)]
    shown = admin.get(url).json()
    assert shown["size"] == tif.stat().st_size + larger.stat().st_size
    assert (shown["first_value_timestamp"], shown["last_value_timestamp"]) == (NOON, ONE)
    files = admin.get(f"{url}files/").json()["results"]
    assert sorted(stored_uris(store)) == sorted(file["uri"] for file in files)


def test_a_static_file_replaces_only_the_files_that_it_covers(
    as_: As, source: Source, tif: Path, tmp_path: Path, process: Process, store: FolderUploadStore
) -> None:
    url, admin = source(), as_("admin")
    neighbour = write_raster(
        tmp_path / "b.tif", transform=Affine.translation(100, 0) @ RD_TRANSFORM
    )
    upload_file(admin, url, tif)
    upload_file(admin, url, neighbour)
    process()
    assert admin.get(url).json()["upper_bound_x"] == 155_200.0
    assert len(stored_uris(store)) == 2
    whole = write_raster(tmp_path / "c.tif", width=20)
    upload_file(admin, url, whole)
    process()
    shown = admin.get(url).json()
    assert (shown["size"], shown["upper_bound_x"]) == (whole.stat().st_size, 155_200.0)
    assert len(stored_uris(store)) == 1


def test_the_uploads_of_a_dead_worker_are_processed(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process
) -> None:
    url = source()
    task = upload_file(as_("admin"), url, tif)
    upload_id = run(engine, "SELECT max(id) FROM uploads").scalar_one()
    with hold_upload(engine, upload_id) as is_held:
        assert is_held
        assert claim_upload(engine, upload_id)
        assert process() == []  # no other worker takes the upload while this one holds it
        assert get_only_row(as_("admin"), url, "uploads")["state"] == "processing"
    assert [row.state for row in process()] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"


def test_a_file_that_changes_is_read_again(
    as_: As,
    source: Source,
    tif: Path,
    engine: Engine,
    store: FolderUploadStore,
    worker: UploadWorker,
) -> None:
    url = source()
    task = upload_file(as_("admin"), url, tif)
    changing = replace(worker, store=AlwaysChanging(store.folder))
    assert [outcome.state for outcome in process_waiting(changing)] == ["retry"]
    assert as_("admin").get(task).json()["status"] == "RETRY"
    assert get_only_row(as_("admin"), url, "uploads")["state"] == "retry"
    assert process_waiting(worker) == []  # not at once
    run(engine, "UPDATE uploads SET updated_at = now() - interval '1 hour'")
    assert [outcome.state for outcome in process_waiting(worker)] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"


def test_a_sweep_deletes_files_that_are_neither_needed_nor_being_received(
    as_: As, source: Source, tif: Path, engine: Engine, store: FolderUploadStore
) -> None:
    upload_file(as_("admin"), source(), tif)
    (needed,) = stored_uris(store)
    dead, received = add_receiving(engine, store, 1), add_receiving(engine, store, 2)
    with hold_server_lock(engine, 2):
        assert sweep(engine, store) == [dead.uri]
    assert sorted(stored_uris(store)) == sorted([needed, received.uri])
    assert received.uri in sweep(engine, store)
    assert stored_uris(store) == [needed]
    run(engine, "UPDATE upload_files SET changed = now() - interval '1 hour'")
    sweep(engine, store)
    assert run(engine, "SELECT uri FROM upload_files").scalars().all() == [needed]


def test_the_sweep_keeps_foreign_files_in_the_storage(
    as_: As,
    source: Source,
    tif: Path,
    engine: Engine,
    store: FolderUploadStore,
    worker: UploadWorker,
) -> None:
    dead = add_receiving(engine, store)
    ours = Path(path_of(dead.uri))
    unrecorded = Path(path_of(store.new_uri()))
    others = [
        store.folder / "2024" / "raster.tif", ours.with_name("raster.tif.aux.xml"), unrecorded
    ]  # fmt: skip
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"theirs")
        os.utime(path, (0, 0))
    assert dead.uri in sweep(engine, store)
    assert dead.uri in sweep(engine, store)  # its folder is still there
    assert [path.read_bytes() for path in others] == [b"theirs"] * 3
    for path in others:
        path.unlink()
        path.parent.rmdir()


def test_a_failing_sweep_does_not_delay_uploads(
    as_: As,
    source: Source,
    tif: Path,
    engine: Engine,
    store: FolderUploadStore,
    worker: UploadWorker,
) -> None:
    tried, stop = Event(), Event()

    class CannotDelete(FolderUploadStore):
        def discard(self, uris: Iterable[str]) -> None:
            tried.set()
            raise TransientError("the storage does not delete files")

    add_receiving(engine, store)
    task = upload_file(as_("admin"), source(), tif)
    working = Thread(
        target=process_until, args=(stop, replace(worker, store=CannotDelete(store.folder)))
    )
    working.start()
    try:
        wait_until(lambda: as_("admin").get(task).json()["status"] == "SUCCESS", 60)
        assert tried.wait(60)
        second = upload_file(as_("admin"), source(), tif)
        wait_until(lambda: as_("admin").get(second).json()["status"] == "SUCCESS", 60)
    finally:
        stop.set()
        working.join()


def test_a_foreign_sidecar_does_not_prevent_a_deletion(
    as_: As, source: Source, tif: Path, store: FolderUploadStore, process: Process
) -> None:
    url = source()
    upload_file(as_("admin"), url, tif)
    process()
    (uri,) = stored_uris(store)
    path = Path(path_of(uri))
    sidecar = path.with_name("raster.tif.aux.xml")
    sidecar.write_text("<PAMDataset/>")
    assert as_("admin").request("DELETE", f"{url}data/").status_code == 200
    assert not path.exists()
    assert as_("admin").delete(url).status_code == 204
    sidecar.unlink()
    sidecar.parent.rmdir()


def test_concurrent_uploads_and_deletions_leave_a_consistent_catalogue(
    as_: As,
    source: Source,
    tif: Path,
    engine: Engine,
    store: FolderUploadStore,
    worker: UploadWorker,
) -> None:
    sources, admin, stop = [source(temporal=True) for _ in range(3)], as_("admin"), Event()
    second = Thread(target=process_until, args=(stop, worker))
    second.start()

    def act(number: int) -> int:
        url = sources[number % 3]
        if number % 10 == 9:
            return admin.request("DELETE", f"{url}data/", json={"stop": ONE}).status_code
        if number == 55:
            return admin.delete(sources[1]).status_code
        return send(admin, url, tif, time=f"2024-01-01T{number % 24:02d}:00:00Z").status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = set(threads.map(act, range(80)))
    wait_until(lambda: run(engine, "SELECT count(*) FROM uploads WHERE state IN "
                              "('received', 'processing', 'retry')").scalar_one() == 0, 20)  # fmt: skip
    stop.set()
    second.join()
    assert statuses <= {200, 204, 404}
    assert_derived(engine)
    files = set(run(engine, "SELECT uri FROM raster_files").scalars())
    assert set(stored_uris(store)) == files
    task_states = run(engine, "SELECT DISTINCT status FROM tasks").scalars()
    assert set(task_states) <= {"SUCCESS", "REVOKED", "FAILURE"}
