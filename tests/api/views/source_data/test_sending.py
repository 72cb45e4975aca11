"""Uploads: an accepted file is durable before the answer, and other files are rejected."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.catalogue.users import grant_role
from pipeline.storage import path_of
from pipeline.storage.uploads import FolderUploadStore
from tests.api.conftest import As, client_of
from tests.api.views.source_data.conftest import (
    LIMIT,
    NOON,
    ONE,
    TWO,
    Process,
    Source,
    get_only_row,
    run,
    send,
    stored_uris,
    upload_file,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")


def test_an_upload_is_durable_before_the_answer_and_then_becomes_data(
    as_: As, source: Source, tif: Path, store: FolderUploadStore, process: Process
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
    received = get_only_row(admin, url, "uploads")
    assert (received["filename"], received["state"]) == ("given name.tif", "received")
    (uri,) = stored_uris(store)
    path = Path(path_of(uri))
    assert path.read_bytes() == tif.read_bytes()

    process()
    assert admin.get(answer.json()["url"]).json()["status"] == "SUCCESS"
    assert get_only_row(admin, url, "uploads")["state"] == "committed"
    file = get_only_row(admin, url, "files")
    assert (file["name"], file["uri"]) == ("given name.tif", uri)
    shown = admin.get(url).json()
    assert {name: shown[name] for name in ("projection", "origin_x", "origin_y", "upper_bound_x", "upper_bound_y",
            "pixelsize_x", "pixelsize_y", "size", "dtype", "fill_value", "first_value_timestamp")} == {
        "projection": "EPSG:28992", "origin_x": 155_000.0, "origin_y": 462_900.0, "upper_bound_x": 155_100.0,
        "upper_bound_y": 463_000.0, "pixelsize_x": 10.0, "pixelsize_y": -10.0, "size": tif.stat().st_size,
        "dtype": "f4", "fill_value": "-9999.0", "first_value_timestamp": "1970-01-01T00:00:00Z",
    }  # fmt: skip


def test_only_callers_who_may_write_see_the_uri_of_a_file(
    as_: As, client: Client, source: Source, tif: Path, process: Process
) -> None:
    url = source()
    upload_file(as_("admin"), url, tif)
    process()
    assert [get_only_row(caller, url, "files")["uri"] for caller in (client, as_("user"))] == [
        None,
        None,
    ]


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
def test_a_hostile_name_is_stored_and_never_used_as_a_path(
    as_: As, source: Source, tif: Path, store: FolderUploadStore, process: Process, name: str
) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n'
        + tif.read_bytes() + b"\r\n--b--\r\n"
    )  # fmt: skip
    url, admin = source(), as_("admin")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    before = sorted(store.folder.parent.parent.rglob("*"))
    assert admin.post(f"{url}data", content=body, headers=headers).status_code == 200
    process()
    upload = get_only_row(admin, url, "uploads")
    assert (upload["filename"], upload["state"]) == (name, "committed")
    (uri,) = stored_uris(store)
    added = set(store.folder.parent.parent.rglob("*")) - set(before)
    path = Path(path_of(uri))
    assert added - {store.folder, store.folder / ".catalogue"} == {path, path.parent}


def test_a_name_in_the_extended_form_is_decoded(as_: As, source: Source, tif: Path) -> None:
    body = (
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''h%C3%B6he.tif\r\n\r\n"
        + tif.read_bytes() + b"\r\n--b--"
    )  # fmt: skip
    url, admin = source(), as_("admin")
    headers = {"Content-Type": 'multipart/form-data; boundary="b"'}
    assert admin.post(f"{url}data/", content=body, headers=headers).status_code == 200
    assert get_only_row(admin, url, "uploads")["filename"] == "höhe.tif"


def part(disposition: str, content: bytes = b"x") -> bytes:
    return (
        f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
    )


def test_a_form_without_a_chosen_file_is_400(
    as_: As, source: Source, tif: Path, store: FolderUploadStore
) -> None:
    """A browser sends a file without name and bytes if no file was chosen."""
    url, admin, no_file = source(), as_("admin"), part('name="file"; filename=""', b"")
    answer = admin.post(f"{url}data/", content=no_file + END, headers={"Content-Type": FORM})
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        {"file": ["No file was submitted."]},
    )
    assert stored_uris(store) == []
    assert admin.get(f"{url}uploads/").json()["count"] == 0
    body = no_file + part('name="file"; filename="a.tif"', tif.read_bytes()) + END
    answer = admin.post(f"{url}data/", content=body, headers={"Content-Type": FORM})
    assert answer.status_code == 200
    assert get_only_row(admin, url, "uploads")["filename"] == "a.tif"


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
    as_: As, source: Source, store: FolderUploadStore, kind: str, body: bytes
) -> None:
    url, admin = source(), as_("admin")
    answer = admin.post(f"{url}data/", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["status", "code", "message", "detail"]
    assert stored_uris(store) == []
    assert admin.get(f"{url}uploads/").json()["count"] == 0


def test_a_broken_connection_leaves_nothing(
    as_: As, source: Source, store: FolderUploadStore, people: dict[str, str]
) -> None:
    url, admin = source(), as_("admin")
    with socket.create_connection((admin.base_url.host, admin.base_url.port or 0)) as connection:
        head = (
            f"POST {url[url.index('/api') :]}data/ HTTP/1.1\r\nHost: x\r\nusername: __key__\r\n"
            f"password: {people['admin']}\r\nContent-Type: {FORM}\r\nContent-Length: 50000\r\n\r\n"
        )
        connection.sendall(head.encode() + FILE)
        wait_until(lambda: stored_uris(store) != [])
    wait_until(lambda: stored_uris(store) == [])
    assert admin.get(f"{url}uploads/").json()["count"] == 0


def test_only_callers_who_may_write_send_and_remove_data(
    as_: As, client: Client, source: Source, tif: Path, store: FolderUploadStore
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
    assert stored_uris(store) == []


def test_a_file_beyond_the_limit_is_413_whether_its_length_is_declared_or_not(
    as_: As, source: Source, tmp_path: Path, store: FolderUploadStore
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
    assert stored_uris(store) == []


def test_a_quota_counts_stored_and_waiting_files(
    as_: As, source: Source, tif: Path, engine: Engine, process: Process
) -> None:
    url, admin, size = source(temporal=True), as_("admin"), tif.stat().st_size
    run(engine, "UPDATE organisations SET raster_storage_capacity = :n", n=2 * size + 1)
    upload_file(admin, url, tif, time=NOON)
    process()
    upload_file(admin, url, tif, time=ONE)
    answer = send(admin, url, tif, time=TWO)
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "over_quota: the organisation has 1 bytes of its quota left.",
    )
    admin.request("DELETE", f"{url}data/", json={"stop": NOON})
    upload_file(admin, url, tif, time=TWO)


def test_concurrent_uploads_do_not_exceed_a_quota(
    as_: As, source: Source, tif: Path, engine: Engine
) -> None:
    sources = [source(), source(), source()]
    run(engine, "UPDATE organisations SET raster_storage_capacity = :n", n=2 * tif.stat().st_size)
    with ThreadPoolExecutor(9) as threads:
        answers = list(threads.map(lambda url: send(as_("admin"), url, tif), sources * 3))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [413] * 7


@pytest.fixture
def other(engine: Engine, add_organisation: Callable[[str], int]) -> Callable[[int], str]:
    """Return a function that adds an organisation with a quota, which `admin` supplies, and returns its uuid."""

    def add(capacity: int) -> str:
        add_organisation("Other")
        grant_role(engine, "admin", "Other", "supplier")
        run(
            engine,
            "UPDATE organisations SET raster_storage_capacity = :n WHERE name = 'Other'",
            n=capacity,
        )
        return str(run(engine, "SELECT uuid FROM organisations WHERE name = 'Other'").scalar_one())

    return add


def test_a_source_moves_only_within_the_quota_of_the_other_organisation(
    as_: As,
    source: Source,
    tif: Path,
    owner: str,
    other: Callable[[int], str],
    process: Process,
) -> None:
    url, admin, size = source(temporal=True), as_("admin"), tif.stat().st_size
    upload_file(admin, url, tif, time=NOON)
    process()
    for left, status in ((size - 1, 413), (size, 200)):
        answer = admin.patch(url, json={"organisation": other(left)})
        assert answer.status_code == status
    assert answer.json()["organisation"]["name"] == "Other"
    assert admin.patch(url, json={"organisation": other(0), "name": "stays"}).status_code == 200
    assert admin.patch(url, json={"organisation": owner}).status_code == 200
    upload_file(admin, url, tif, time=ONE)
    refused = admin.patch(url, json={"organisation": other(2 * size - 1)})
    assert (refused.status_code, refused.json()["detail"]) == (
        413,
        f"over_quota: the organisation has {2 * size - 1} bytes of its quota left.",
    )
    assert admin.get(url).json()["organisation"]["uuid"] == owner
    assert admin.patch(url, json={"organisation": other(2 * size)}).status_code == 200
    assert admin.patch(source(), json={"organisation": other(0)}).status_code == 200


def test_sources_that_move_at_once_do_not_exceed_a_quota(
    as_: As, source: Source, tif: Path, other: Callable[[int], str], process: Process
) -> None:
    urls = [source() for _ in range(6)]
    for url in urls:
        upload_file(as_("admin"), url, tif)
    process()
    change = {"organisation": other(2 * tif.stat().st_size)}
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda url: as_("admin").patch(url, json=change), urls))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [413] * 4


def test_options_describes_the_upload_form(client: Client, source: Source) -> None:
    answer = client.options(f"{source()}data/")
    assert answer.headers["allow"] == "POST, DELETE, OPTIONS"
    assert answer.json()["parses"] == [
        "multipart/form-data",
        "application/json",
        "application/x-www-form-urlencoded",
    ]
    fields = answer.json()["actions"]["POST"]
    assert {name: (field["type"], field["required"]) for name, field in fields.items()} == {
        "file": ("file upload", True),
        "timestamp": ("datetime", False),
        "crs": ("string", False),
        "nodata": ("string", False),
    }
    assert client.get(f"{source()}data/").status_code == 405


def test_a_server_without_a_folder_rejects_uploads(
    database_url: str, people: dict[str, str], source: Source, tif: Path
) -> None:
    url = source()
    with client_of(ApiConfig(database_url)) as other:
        other.auth = ("__key__", people["admin"])
        assert send(other, url[url.index("/api") :], tif).status_code == 503
