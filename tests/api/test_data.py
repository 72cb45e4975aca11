"""Files are sent to a raster source, processed, listed and removed; against a real server, worker and PostGIS."""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest
from affine import Affine
from httpx import Client, Response
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.uploads import Settled, claim, held
from pipeline.deposit import Deposit, deposit_at
from pipeline.raster import ReadingPool, ReadOptions
from pipeline.storage import file_uri
from pipeline.uploading import Worker, process_waiting, sweep, work_until
from tests.api.conftest import SOURCES, As, client_of
from tests.derived import assert_derived
from tests.factory import RD_TRANSFORM, write_raster

pytestmark = pytest.mark.usefixtures("empty", "people")
LIMIT = 100_000
DERIVED = (
    "first_value_timestamp", "last_value_timestamp", "spatial_bounds", "projection", "origin_x", "origin_y",
    "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y", "size", "dtype", "fill_value",
)  # fmt: skip
NOON, ONE, TWO = (f"2024-01-01T{hour}:00:00Z" for hour in (12, 13, 14))

Source = Callable[..., str]
Process = Callable[[], list[Settled]]


@pytest.fixture(scope="module")
def deposit(tmp_path_factory: pytest.TempPathFactory) -> Deposit:
    return deposit_at(tmp_path_factory.mktemp("home") / "uploads")


@pytest.fixture(scope="module")
def client(database_url: str, deposit: Deposit) -> Iterator[Client]:
    config = ApiConfig(database_url, uploads_folder=str(deposit.folder), upload_bytes=LIMIT)
    with client_of(config) as client:
        yield client


@pytest.fixture(scope="module")
def worker(engine: Engine, deposit: Deposit) -> Iterator[Worker]:
    with ReadingPool(1) as pool:
        yield Worker(engine, deposit, ReadOptions(), pool)


@pytest.fixture
def process(worker: Worker) -> Process:
    """Processes all that waits."""

    def process() -> list[Settled]:
        return [one for some in iter(lambda: process_waiting(worker), []) for one in some]

    return process


@pytest.fixture(autouse=True)
def clean(engine: Engine, worker: Worker) -> Iterator[None]:
    """Whatever a test leaves is deleted; a source that is gone needs no files."""
    yield
    worker.deposit.discard(list(worker.deposit.uris()))
    run(engine, "UPDATE organisations SET raster_storage_capacity = NULL")


@pytest.fixture
def source(as_: As, owner: str) -> Source:
    """Makes a raster source; its URL."""

    def make(**fields: Any) -> str:
        body = {"name": "a", "organisation": owner, "access_modifier": "Public", **fields}
        url: str = as_("admin").post(SOURCES, json=body).json()["url"]
        return url

    return make


@pytest.fixture
def tif(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif")


def run(engine: Engine, statement: str, **values: object) -> Any:
    with engine.begin() as connection:
        return connection.execute(text(statement), values)


def send(
    client: Client, url: str, path: Path, name: str = "a.tif", time: str | None = None
) -> Response:
    """POST a file."""
    with path.open("rb") as file:
        data = {} if time is None else {"timestamp": time}
        return client.post(f"{url}data/", files={"file": (name, file)}, data=data)


def accepted(client: Client, url: str, path: Path, **options: Any) -> str:
    """POST a file; the URL of its task."""
    answer = send(client, url, path, **options)
    assert answer.status_code == 200, answer.text
    task: str = answer.json()["url"]
    return task


def only(client: Client, url: str, part: str) -> Any:
    """The one row of a list of a source."""
    (row,) = client.get(f"{url}{part}/").json()["results"]
    return row


def stored(deposit: Deposit) -> list[str]:
    return list(deposit.uris())


def test_an_upload_is_durable_before_it_is_answered_and_then_becomes_data(
    as_: As, source: Source, tif: Path, deposit: Deposit, process: Process
) -> None:
    url, admin = source(), as_("admin")
    answer = send(admin, url, tif, "given name.tif")
    assert answer.status_code == 200
    task_id = answer.json()["task_id"]
    assert answer.json() == {
        "task_id": task_id,
        "url": f"{url.removesuffix(url[url.index('rastersources') :])}tasks/{task_id}",
    }
    assert admin.get(answer.json()["url"]).json()["status"] == "PENDING"
    waiting = only(admin, url, "uploads")
    assert (waiting["filename"], waiting["state"]) == ("given name.tif", "received")
    (uri,) = stored(deposit)
    path = deposit.path(uri)
    assert path
    assert path.read_bytes() == tif.read_bytes()

    process()
    assert admin.get(answer.json()["url"]).json()["status"] == "SUCCESS"
    assert only(admin, url, "uploads")["state"] == "committed"
    file = only(admin, url, "files")
    assert (file["name"], file["uri"]) == ("given name.tif", uri)
    found = admin.get(url).json()
    assert {name: found[name] for name in ("projection", "origin_x", "origin_y", "upper_bound_x", "upper_bound_y",
            "pixelsize_x", "pixelsize_y", "size", "dtype", "fill_value", "first_value_timestamp")} == {
        "projection": "EPSG:28992", "origin_x": 155_000.0, "origin_y": 462_900.0, "upper_bound_x": 155_100.0,
        "upper_bound_y": 463_000.0, "pixelsize_x": 10.0, "pixelsize_y": -10.0, "size": tif.stat().st_size,
        "dtype": "f4", "fill_value": "-9999.0", "first_value_timestamp": "1970-01-01T00:00:00Z",
    }  # fmt: skip


def test_where_a_file_is_is_shown_to_those_who_may_write_alone(
    as_: As, client: Client, source: Source, tif: Path, process: Process
) -> None:
    url = source()
    accepted(as_("admin"), url, tif)
    process()
    assert [only(one, url, "files")["uri"] for one in (client, as_("user"))] == [None, None]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"crs": None}, "missing_crs"),
    ({"crs": "EPSG:32631"}, "projection_mismatch"),
    ({"transform": RD_TRANSFORM @ Affine.scale(2)}, "pixelsize_mismatch"),
    ({"dtype": "uint8", "nodata": 0}, "dtype_mismatch"),
]


@pytest.mark.parametrize(("features", "code"), REFUSED, ids=[code for _, code in REFUSED])
def test_a_refused_file_fails_with_its_reason_code_and_changes_nothing(
    as_: As, source: Source, tif: Path, tmp_path: Path, deposit: Deposit, process: Process,
    features: dict[str, Any], code: str,
) -> None:  # fmt: skip
    url, admin = source(), as_("admin")
    accepted(admin, url, tif)
    process()
    before, kept = admin.get(url).json(), stored(deposit)
    task = admin.get(accepted(admin, url, write_raster(tmp_path / "b.tif", **features)))
    process()
    failed = admin.get(task.json()["url"]).json()
    assert (failed["status"], failed["result"]["code"]) == ("FAILURE", code)
    assert failed["detail"].startswith(f"{code}: ")
    newest, _ = admin.get(f"{url}uploads/").json()["results"]
    assert (newest["state"], newest["state_detail"]) == ("rejected", failed["detail"])
    assert admin.get(url).json() == before
    assert stored(deposit) == kept


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda whole: whole[:-100], "truncated"),
        (lambda _: b"", "empty_file"),
        (lambda _: b'<VRTDataset rasterXSize="1" rasterYSize="1"/>', "not_a_geotiff"),
    ],
    ids=["half a file", "no bytes", "a VRT"],
)
def test_a_damaged_file_fails_with_its_reason_code(
    as_: As, source: Source, tif: Path, process: Process, damage: Callable[[bytes], bytes], code: str
) -> None:  # fmt: skip
    tif.write_bytes(damage(tif.read_bytes()))
    task = accepted(as_("admin"), source(), tif)
    process()
    assert as_("admin").get(task).json()["result"]["code"] == code


NAMES = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b\\c.tif",
    "x.tif.aux.xml",
    "/vsicurl/http://127.0.0.1/x.tif",
    "raster\u00e9\u202e\U0001f5fa.tif",
    "; rm -rf ~ #$(id)`id`'.tif",
    "%2e%2e%2fx.tif",
    "n" * 255,
    "nul\\0.tif",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_data_and_never_a_path(
    as_: As, source: Source, tif: Path, deposit: Deposit, process: Process, name: str
) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n'
        + tif.read_bytes() + b"\r\n--b--\r\n"
    )  # fmt: skip
    url, admin = source(), as_("admin")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    before = sorted(deposit.folder.parent.parent.rglob("*"))
    assert admin.post(f"{url}data", content=body, headers=headers).status_code == 200
    process()
    upload = only(admin, url, "uploads")
    assert (upload["filename"], upload["state"]) == (name, "committed")
    (uri,) = stored(deposit)
    added = set(deposit.folder.parent.parent.rglob("*")) - set(before)
    path = deposit.path(uri)
    assert path
    assert added - {deposit.folder} == {path, path.parent}


def test_a_name_in_the_extended_form_is_understood(as_: As, source: Source, tif: Path) -> None:
    body = (
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''h%C3%B6he.tif\r\n\r\n"
        + tif.read_bytes() + b"\r\n--b--"
    )  # fmt: skip
    url, admin = source(), as_("admin")
    headers = {"Content-Type": 'multipart/form-data; boundary="b"'}
    assert admin.post(f"{url}data/", content=body, headers=headers).status_code == 200
    assert only(admin, url, "uploads")["filename"] == "höhe.tif"


def part(disposition: str, content: bytes = b"x") -> bytes:
    return (
        f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
    )


END, FILE = b"--b--\r\n", part('name="file"; filename="a.tif"')
FORM = "multipart/form-data; boundary=b"
BROKEN: dict[str, tuple[str, bytes]] = {
    "no body": (FORM, b""),
    "no parts": (FORM, END),
    "no file": (FORM, part('name="timestamp"', b"2024-01-01") + END),
    "a field instead of a file": (FORM, part('name="file"') + END),
    "two files": (FORM, FILE + FILE + END),
    "another name": (FORM, part('name="raster"; filename="a.tif"') + END),
    "no last boundary": (FORM, FILE),
    "half a boundary": (FORM, FILE + b"--b"),
    "another boundary": (FORM, FILE.replace(b"--b", b"--c") + b"--c--"),
    "no boundary": ("multipart/form-data", FILE + END),
    "a long boundary": (f"multipart/form-data; boundary={'b' * 1000}", FILE + END),
    "JSON": ("application/json", b"{}"),
    "labelled as JSON": ("application/json", FILE + END),
    "labelled as a form": ("application/x-www-form-urlencoded", FILE + END),
    "no label": ("", FILE + END),
    "a bad time": (FORM, part('name="timestamp"', b"yesterday") + FILE + END),
    "a time that is no day": (FORM, FILE + part('name="timestamp"', b"2024-02-30") + END),
    "a NUL for a time": (FORM, FILE + part('name="timestamp"', b"\0") + END),
    "a long field": (FORM, part('name="note"', b"x" * 70_000) + FILE + END),
    "many fields": (FORM, part('name=""').replace(b'""', b'"n"') * 700 + FILE + END),
    "a long header": (FORM, part(f'name="file"; filename="{"n" * 5000}"') + END),
    "an encoded part": (FORM, FILE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + END),
    "noise": (FORM, bytes(range(256)) * 10),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_form_is_400_and_leaves_nothing(
    as_: As, source: Source, deposit: Deposit, kind: str, body: bytes
) -> None:
    url, admin = source(), as_("admin")
    answer = admin.post(f"{url}data/", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["status", "code", "message", "detail"]
    assert stored(deposit) == []
    assert admin.get(f"{url}uploads/").json()["count"] == 0


def test_a_connection_that_breaks_off_leaves_nothing(
    as_: As, source: Source, deposit: Deposit, people: dict[str, str]
) -> None:
    url, admin = source(), as_("admin")
    with socket.create_connection((admin.base_url.host, admin.base_url.port or 0)) as connection:
        head = (
            f"POST {url[url.index('/api') :]}data/ HTTP/1.1\r\nHost: x\r\nusername: __key__\r\n"
            f"password: {people['admin']}\r\nContent-Type: {FORM}\r\nContent-Length: 50000\r\n\r\n"
        )
        connection.sendall(head.encode() + FILE)
        until(lambda: stored(deposit) != [])
    until(lambda: stored(deposit) == [])
    assert admin.get(f"{url}uploads/").json()["count"] == 0


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds; fails when it does not in time."""
    for _ in range(int(seconds * 100)):
        if holds():
            return
        sleep(0.01)
    raise AssertionError("it does not happen")


def test_only_those_who_may_write_send_and_remove_data(
    as_: As, client: Client, source: Source, tif: Path, deposit: Deposit
) -> None:
    public, private = source(), source(access_modifier="Private")
    for caller, url, status in (
        (client, public, 401),
        (as_("user"), public, 403),
        (as_("supplier"), public, 403),
        (as_("stranger"), private, 404),
        (as_("manager"), private, 404),
        (as_("admin"), public.replace(public[-10:-1], "000000000"), 404),
    ):
        assert send(caller, url, tif).status_code == status
        assert caller.delete(f"{url}data/").status_code == status
    assert stored(deposit) == []


def test_a_file_beyond_the_limit_is_413_whether_its_length_is_declared_or_not(
    as_: As, source: Source, tmp_path: Path, deposit: Deposit
) -> None:
    url, admin = source(), as_("admin")
    (tmp_path / "a.tif").write_bytes(bytes(LIMIT + 1))
    body = part('name="file"; filename="a.tif"', bytes(LIMIT + 1)) + END
    answers = [
        send(admin, url, tmp_path / "a.tif"),
        admin.post(f"{url}data/", content=body * 4, headers={"Content-Type": FORM}),
        admin.post(f"{url}data/", content=iter([body]), headers={"Content-Type": FORM}),
    ]
    assert [answer.status_code for answer in answers] == [413] * 3
    assert {answer.json()["message"] for answer in answers} == {"Request too large. #413.10"}
    assert stored(deposit) == []


def test_a_quota_counts_what_is_stored_and_what_waits(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process
) -> None:
    url, admin, size = source(temporal=True), as_("admin"), tif.stat().st_size
    run(engine, "UPDATE organisations SET raster_storage_capacity = :n", n=2 * size + 1)
    accepted(admin, url, tif, time=NOON)
    process()
    accepted(admin, url, tif, time=ONE)
    answer = send(admin, url, tif, time=TWO)
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "over_quota: the organisation has 1 bytes of its quota left.",
    )
    admin.request("DELETE", f"{url}data/", json={"stop": NOON})
    accepted(admin, url, tif, time=TWO)


def test_uploads_at_the_same_time_do_not_exceed_a_quota_together(
    as_: As, source: Source, tif: Path, engine: Engine
) -> None:
    sources = [source(), source(), source()]
    run(engine, "UPDATE organisations SET raster_storage_capacity = :n", n=2 * tif.stat().st_size)
    with ThreadPoolExecutor(9) as threads:
        answers = list(threads.map(lambda url: send(as_("admin"), url, tif), sources * 3))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [413] * 7


def test_a_given_time_dates_a_file_and_a_series_needs_one(
    as_: As, source: Source, tif: Path, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    undated = accepted(admin, url, tif)
    accepted(admin, url, tif, time="2024-01-01T13:00:00+01:00")
    process()
    assert admin.get(undated).json()["result"]["code"] == "missing_time"
    found = admin.get(url).json()
    assert (found["first_value_timestamp"], found["last_value_timestamp"]) == (NOON, NOON)


def test_a_step_takes_the_place_of_the_one_of_its_time(
    as_: As, source: Source, tif: Path, tmp_path: Path, deposit: Deposit, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    larger = write_raster(tmp_path / "b.tif", tags={"NOTE": "x" * 100})
    for path, time in ((tif, NOON), (tif, ONE), (larger, NOON)):
        accepted(admin, url, path, time=time)
    process()
    found = admin.get(url).json()
    assert found["size"] == tif.stat().st_size + larger.stat().st_size
    assert (found["first_value_timestamp"], found["last_value_timestamp"]) == (NOON, ONE)
    files = admin.get(f"{url}files/").json()["results"]
    assert sorted(stored(deposit)) == sorted(file["uri"] for file in files)


def test_a_static_file_takes_the_place_of_what_it_covers_and_lies_beside_the_rest(
    as_: As, source: Source, tif: Path, tmp_path: Path, process: Process, deposit: Deposit
) -> None:
    url, admin = source(), as_("admin")
    beside = write_raster(tmp_path / "b.tif", transform=Affine.translation(100, 0) @ RD_TRANSFORM)
    accepted(admin, url, tif)
    accepted(admin, url, beside)
    process()
    assert admin.get(url).json()["upper_bound_x"] == 155_200.0
    assert len(stored(deposit)) == 2
    whole = write_raster(tmp_path / "c.tif", width=20)
    accepted(admin, url, whole)
    process()
    found = admin.get(url).json()
    assert (found["size"], found["upper_bound_x"]) == (whole.stat().st_size, 155_200.0)
    assert len(stored(deposit)) == 1


@pytest.mark.parametrize("body", [None, "{}", '{"start": null, "stop": ""}'])
def test_all_data_is_removed_and_what_is_derived_is_null(
    as_: As, source: Source, tif: Path, deposit: Deposit, process: Process, body: str | None
) -> None:
    url, admin = source(), as_("admin")
    accepted(admin, url, tif)
    process()
    answer = admin.request("DELETE", f"{url}data", content=body)
    assert (answer.status_code, answer.json()["removed"]) == (200, 1)
    found = admin.get(url).json()
    assert {found[name] for name in ("size", *(name for name in DERIVED))} == {None}
    assert stored(deposit) == []
    assert admin.delete(f"{url}data/").json()["removed"] == 0


def test_files_elsewhere_are_never_deleted(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process
) -> None:
    url, admin = source(), as_("admin")
    accepted(admin, url, tif)
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
def test_a_range_of_time_is_removed_with_both_its_ends(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process,
    body: dict[str, str], first: str | None, last: str | None,
) -> None:  # fmt: skip
    url, admin = source(temporal=True), as_("admin")
    for time in (NOON, ONE, TWO):
        accepted(admin, url, tif, time=time)
    process()
    assert admin.request("DELETE", f"{url}data/", json=body).status_code == 200
    found = admin.get(url).json()
    assert (found["first_value_timestamp"], found["last_value_timestamp"]) == (first, last)
    assert_derived(engine)


def test_a_file_with_steps_on_both_sides_of_an_end_stays(
    as_: As, source: Source, tmp_path: Path, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    tags = [{"TIMESTAMP": time} for time in (NOON, ONE)]
    accepted(admin, url, write_raster(tmp_path / "a.tif", count=2, band_tags=tags))
    process()
    answer = admin.request("DELETE", f"{url}data/", json={"start": ONE}).json()
    assert (answer["removed"], answer["partly"]) == (0, 1)
    assert admin.get(url).json()["last_value_timestamp"] == ONE


@pytest.mark.parametrize(
    ("body", "field"),
    [({"start": "x"}, "start"), ({"stop": 5}, "stop"), ({"start": TWO, "stop": NOON}, "stop")],
)
def test_a_range_that_is_none_is_400(
    as_: As, source: Source, body: dict[str, Any], field: str
) -> None:
    answer = as_("admin").request("DELETE", f"{source()}data/", json=body)
    assert (answer.status_code, list(answer.json()["detail"])) == (400, [field])


def test_uploads_that_wait_are_revoked_with_the_data(
    as_: As, source: Source, tif: Path, deposit: Deposit, process: Process
) -> None:
    url, admin = source(temporal=True), as_("admin")
    early, late = accepted(admin, url, tif, time=NOON), accepted(admin, url, tif, time=TWO)
    assert admin.request("DELETE", f"{url}data/", json={"stop": ONE}).json()["revoked"] == 1
    assert [admin.get(task).json()["status"] for task in (early, late)] == ["REVOKED", "PENDING"]
    assert admin.delete(f"{url}data/").json()["revoked"] == 1
    assert admin.get(late).json()["status"] == "REVOKED"
    assert stored(deposit) == []
    assert process() == []


def test_deleting_a_source_revokes_the_tasks_of_its_uploads(
    as_: As, client: Client, source: Source, tif: Path, deposit: Deposit, process: Process
) -> None:
    url, admin = source(), as_("admin")
    task = accepted(admin, url, tif)
    assert admin.delete(url).status_code == 204
    assert client.get(task).json()["status"] == "REVOKED"
    assert stored(deposit) == []
    assert process() == []


@pytest.mark.parametrize("target", ["", "data/"], ids=["the source", "its data"])
def test_deleting_waits_while_an_upload_is_processed_or_the_upload_yields(
    as_: As, client: Client, source: Source, tif: Path, engine: Engine, deposit: Deposit, process: Process,
    target: str,
) -> None:  # fmt: skip
    url, admin = source(), as_("admin")
    task = accepted(admin, url, tif)
    with ThreadPoolExecutor(2) as threads:
        with (
            engine.begin() as blocker
        ):  # both come to wait for the source while the upload is being processed
            blocker.execute(text("SELECT FROM raster_sources FOR UPDATE"))
            processing = threads.submit(process)
            until(lambda: client.get(task).json()["status"] == "STARTED")
            deleting = threads.submit(admin.delete, f"{url}{target}")
            sleep(0.2)
        assert deleting.result().status_code == (200 if target else 204)
        processing.result()
    assert client.get(task).json()["status"] in ("SUCCESS", "REVOKED")
    assert client.get(url).status_code == (200 if target else 404)
    assert stored(deposit) == []
    assert_derived(engine)


def test_what_a_dead_worker_held_is_taken_up_again(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process
) -> None:
    url = source()
    task = accepted(as_("admin"), url, tif)
    with held(engine, 10) as ids:
        assert len(claim(engine, ids)) == 1
        assert process() == []  # while the first one lives, nobody else takes it
        assert only(as_("admin"), url, "uploads")["state"] == "processing"
    assert [one.state for one in process()] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"


def test_a_file_that_cannot_be_read_now_is_tried_again(
    as_: As, source: Source, tif: Path, engine: Engine, deposit: Deposit, worker: Worker
) -> None:
    url = source()
    task = accepted(as_("admin"), url, tif)
    hurried = Worker(
        engine, deposit, ReadOptions(budget=worker.options.budget.__class__(seconds=1e-6)), worker.pool
    )  # fmt: skip
    assert [one.state for one in process_waiting(hurried)] == ["retry"]
    assert as_("admin").get(task).json()["status"] == "RETRY"
    assert only(as_("admin"), url, "uploads")["state"] == "retry"
    assert process_waiting(worker) == []  # not at once
    run(engine, "UPDATE uploads SET updated_at = now() - interval '1 hour'")
    assert [one.state for one in process_waiting(worker)] == ["committed"]
    assert as_("admin").get(task).json()["status"] == "SUCCESS"


def test_a_sweep_deletes_what_nothing_needs_and_nobody_writes(
    as_: As, source: Source, tif: Path, engine: Engine, deposit: Deposit
) -> None:
    accepted(as_("admin"), source(), tif)
    (needed,) = stored(deposit)
    dead, receiving = deposit.receive(), deposit.receive()
    dead.close()
    assert sweep(engine, deposit) == []  # too young
    for uri in stored(deposit):
        path = deposit.path(uri)
        assert path
        age(path)
    assert sweep(engine, deposit) == [dead.uri]
    assert sorted(stored(deposit)) == sorted([needed, receiving.uri])
    receiving.close()


def age(path: Path) -> None:
    """As if it had been written long ago."""
    os.utime(path, (0, 0))


def test_uploads_and_deletions_at_the_same_time_leave_a_consistent_catalogue(
    as_: As, source: Source, tif: Path, engine: Engine, deposit: Deposit, worker: Worker
) -> None:
    sources, admin, stop = [source(temporal=True) for _ in range(3)], as_("admin"), Event()
    second = Thread(target=work_until, args=(stop, worker))
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
    until(lambda: run(engine, "SELECT count(*) FROM uploads WHERE state IN "
                              "('received', 'processing', 'retry')").scalar_one() == 0, 20)  # fmt: skip
    stop.set()
    second.join()
    assert statuses <= {200, 204, 404}
    assert_derived(engine)
    files = set(run(engine, "SELECT uri FROM raster_files").scalars())
    assert set(stored(deposit)) == files
    ended = run(engine, "SELECT DISTINCT status FROM tasks").scalars()
    assert set(ended) <= {"SUCCESS", "REVOKED", "FAILURE"}


def test_it_is_described_by_options(client: Client, source: Source) -> None:
    answer = client.options(f"{source()}data/")
    assert answer.headers["allow"] == "POST, DELETE, OPTIONS"
    assert answer.json()["parses"] == ["multipart/form-data", "application/json"]
    fields = answer.json()["actions"]["POST"]
    assert {name: (one["type"], one["required"]) for name, one in fields.items()} == {
        "file": ("file upload", True),
        "timestamp": ("datetime", False),
    }
    assert client.get(f"{source()}data/").status_code == 405


def test_a_server_without_a_folder_takes_no_uploads(
    database_url: str, people: dict[str, str], source: Source, tif: Path
) -> None:
    url = source()
    with client_of(ApiConfig(database_url)) as other:
        other.auth = ("__key__", people["admin"])
        assert send(other, url[url.index("/api") :], tif).status_code == 503
