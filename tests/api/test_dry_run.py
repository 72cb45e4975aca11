"""`?dry-run` on every write: it gives the answer of the write, and stores nothing."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from httpx import BasicAuth, Client, Response
from sqlalchemy import Engine, text

from pipeline.api.app import new_api
from pipeline.api.config import ApiConfig
from pipeline.api.endpoint import METHODS
from pipeline.api.routes import endpoints
from pipeline.api.shared_memory import SharedMemory
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.users import grant_role
from pipeline.cli.server import dry_run_upload
from pipeline.ingest.uploads import UploadWorker, process_waiting
from pipeline.raster import ProcessReader, ReadOptions
from pipeline.settings import Settings
from pipeline.storage.uploads import DryRunUpload, FolderUploadStore
from tests.api.conftest import SOURCES, As, client_of
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.pages import BROWSER, post_sign_in, token_of
from tests.support.serving import HEAD
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")
WRITES = [
    (path, method)
    for path, endpoint in endpoints(new_api(ApiConfig("postgresql://"), SharedMemory()))
    for method in METHODS
    if method != "GET" and method in endpoint.methods
]  # fmt: skip
FORMS = [
    *("dry-run", "dry-run=", "dry-run=true", "DRY-RUN=1", "dry_run=yes", "dry-run=no"),
    *("dryrun", "dry-run%20", "%20dry-run=1", "dry-run[]=1"),
]
LIMIT = 100_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home") / "uploads"


@pytest.fixture(scope="module")
def client(database_url: str, folder: Path) -> Iterator[Client]:
    settings = Settings(database_url=database_url, home=folder.parent)
    try_file = partial(dry_run_upload, database_url, settings)
    config = ApiConfig(
        database_url, uploads=str(folder), upload_bytes=LIMIT, dry_run_upload=try_file
    )
    with client_of(config) as client:
        yield client


def fingerprint(engine: Engine, folder: Path) -> dict[str, Any]:
    """Return a digest of the row versions of each table, and every file with its size."""
    state: dict[str, Any] = {}
    with engine.connect() as connection:
        tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        for name in connection.execute(text(tables)).scalars().all():
            rows = f'SELECT count(*), md5(string_agg(ctid::text || xmin, $$ $$ ORDER BY ctid)) FROM "{name}"'
            state[name] = tuple(connection.execute(text(rows)).one())
    state["files"] = sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))
    return state


def make_write(
    things: dict[str, str], path: str, method: str, tif: Path
) -> tuple[str, dict[str, Any]]:
    """Return a URL and a body for a write that succeeds."""
    url = path.format(uuid=things.get(path.split("/")[3], ""))
    if path.endswith("/data/"):
        return url, {"files": {"file": ("a.tif", tif.read_bytes())}} if method == "POST" else {
            "json": {}
        }
    body: dict[str, Any] = {"name": "written", "organisation": things["organisations"]}
    if method == "DELETE":
        body = {"force": True}
    return url, {"json": body}


VOLATILE = re.compile(
    r'"(id|uuid|url|created|last_modified|task_id)": ?("[^"]*"|\d+)|http://[^"]*/tasks/[^"]*'
)


def without_volatile(answer: Response) -> str:
    """Return an answer without values that differ each time."""
    return VOLATILE.sub("", answer.text)


@pytest.mark.parametrize(
    ("path", "method"), WRITES, ids=[f"{method} {path}" for path, method in WRITES]
)
def test_a_dry_run_answers_like_the_write_and_stores_nothing(
    as_: As, things: dict[str, str], engine: Engine, folder: Path, tmp_path: Path, path: str, method: str
) -> None:  # fmt: skip
    tif = write_raster(tmp_path / "a.tif")
    admin, before = as_("admin"), fingerprint(engine, folder)
    url, request = make_write(things, path, method, tif)
    dry = [admin.request(method, f"{url}?{form}", **request) for form in FORMS]
    assert fingerprint(engine, folder) == before
    real = admin.request(method, f"{url}?dry-run=False", **request)
    assert fingerprint(engine, folder) != before
    assert [answer.status_code for answer in dry] == [real.status_code] * len(FORMS)
    if (path.endswith("/data/"), method) != (True, "POST"):  # a dry run of an upload has no task
        assert {without_volatile(answer) for answer in dry} == {without_volatile(real)}


def test_every_url_that_writes_is_covered() -> None:
    lists = ("rastersources", "rasters", "labeltypes", "scenarios")
    details = [(f"/api/v4/{name}/{{uuid}}/", method) for name in lists for method in METHODS[2:]]
    data = [(f"{SOURCES}{{uuid}}/data/", method) for method in ("POST", "DELETE")]
    assert sorted(WRITES) == sorted(
        [*((f"/api/v4/{name}/", "POST") for name in lists), *details, *data]
    )


def rejected_writes(
    owner: str, source: str
) -> dict[str, tuple[str, str, dict[str, Any], str, int]]:
    """Return the caller, method, body, URL and status of writes that are rejected, by name."""
    unknown = str(uuid4())
    named = {"name": "n", "organisation": owner}
    return {
        "nobody": ("", "POST", named, SOURCES, 401),
        "no role": ("stranger", "POST", named, SOURCES, 403),
        "no name": ("admin", "POST", {"organisation": owner}, SOURCES, 400),
        "no organisation": ("admin", "POST", {**named, "organisation": unknown}, SOURCES, 400),
        "no supplier": ("admin", "PATCH", {"supplier": "nobody"}, f"{SOURCES}{source}/", 400),
        "not mine": ("user", "PATCH", {"name": "x"}, f"{SOURCES}{source}/", 403),
        "not there": ("admin", "PATCH", {"name": "x"}, f"{SOURCES}{unknown}/", 404),
        "in use": ("admin", "DELETE", {}, f"{SOURCES}{source}/", 412),
        "no period": ("admin", "DELETE", {"start": "x"}, f"{SOURCES}{source}/data/", 400),
        "no source": ("admin", "POST", {**named, "raster_sources": [unknown]}, "/api/v4/scenarios/", 400),
    }  # fmt: skip


@pytest.mark.parametrize("name", rejected_writes("", ""))
def test_a_dry_run_is_rejected_like_the_write(
    client: Client, as_: As, things: dict[str, str], engine: Engine, folder: Path, name: str
) -> None:
    who, method, body, url, status = rejected_writes(
        things["organisations"], things["rastersources"]
    )[name]
    caller, before = as_(who) if who else client, fingerprint(engine, folder)
    dry, real = (caller.request(method, url + query, json=body) for query in ("?dry-run", ""))
    assert (dry.status_code, dry.json()) == (status, real.json())
    assert fingerprint(engine, folder) == before


@pytest.fixture
def source(as_: As, owner: str) -> str:
    """Add an empty raster source; return its URL."""
    body = {"name": "a", "organisation": owner, "access_modifier": "Public"}
    url: str = as_("admin").post(SOURCES, json=body).json()["url"]
    return url


def try_out(client: Client, url: str, content: bytes, **fields: str) -> Response:
    return client.post(f"{url}data/?dry-run", files={"file": ("a.tif", content)}, data=fields)


def test_the_file_of_a_dry_run_is_compared_with_its_source(
    as_: As, source: str, engine: Engine, folder: Path, tmp_path: Path, pool: ProcessReader[FileRow]
) -> None:
    admin = as_("admin")
    in_utm = write_raster(tmp_path / "u.tif", crs="EPSG:32631").read_bytes()
    answer = try_out(admin, source, in_utm)
    assert answer.json() == {"status": "SUCCESS", "result": source, "detail": "Files replaced: 0."}
    assert admin.post(f"{source}data/", files={"file": ("a.tif", in_utm)}).status_code == 200
    worker = UploadWorker(engine, FolderUploadStore(folder.resolve()), ReadOptions(), pool)
    assert [outcome.state for outcome in process_waiting(worker)] == ["committed"]
    assert try_out(admin, source, in_utm).json()["detail"] == "Files replaced: 1."
    good = write_raster(tmp_path / "a.tif").read_bytes()
    before = fingerprint(engine, folder)
    rejected = {
        "projection_mismatch": good,
        "missing_crs": write_raster(tmp_path / "b.tif", crs=None).read_bytes(),
        "not_a_geotiff": b"no raster",
        "empty_file": b"",
        "truncated": good[:-100],
    }
    for code, content in rejected.items():
        answer = try_out(admin, source, content)
        assert (answer.status_code, answer.json()["code"]) == (400, 20), answer.text
        assert answer.json()["detail"]["file"][0].startswith(f"{code}: "), answer.text
    assert try_out(admin, source, bytes(LIMIT + 1)).status_code == 413
    assert list(try_out(admin, source, good, timestamp="yesterday").json()["detail"]) == [
        "timestamp"
    ]
    assert fingerprint(engine, folder) == before


def test_a_dry_run_for_a_series_needs_a_time(as_: As, source: str, tmp_path: Path) -> None:
    admin, tif = as_("admin"), write_raster(tmp_path / "a.tif").read_bytes()
    admin.patch(source, json={"temporal": True})
    assert try_out(admin, source, tif).json()["detail"]["file"][0].startswith("missing_time: ")
    assert try_out(admin, source, tif, timestamp="2024-01-01").status_code == 200


def test_the_file_of_a_dry_run_must_fit_into_the_quota(
    as_: As, source: str, engine: Engine, tmp_path: Path
) -> None:
    tif = write_raster(tmp_path / "a.tif").read_bytes()
    with engine.begin() as connection:
        connection.execute(text("UPDATE organisations SET raster_storage_capacity = 10"))
    try:
        answer = try_out(as_("admin"), source, tif)
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("over_quota: ")
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE organisations SET raster_storage_capacity = NULL"))


def test_slow_dry_runs_of_one_organisation_do_not_delay_another(
    database_url: str,
    folder: Path,
    people: dict[str, str],
    owner: str,
    engine: Engine,
    add_organisation: Any,
) -> None:
    add_organisation("Another")
    grant_role(engine, "admin", "Another", "admin")
    another = rows(engine, "SELECT uuid FROM organisations WHERE name = 'Another'")[0].uuid
    reading, ended = Event(), Event()

    def read_slowly(upload: DryRunUpload) -> int:
        if upload.temporal:
            reading.set()
            ended.wait()
        return 0

    config = ApiConfig(database_url, uploads=str(folder), dry_run_upload=read_slowly)
    with client_of(config) as client, ThreadPoolExecutor(3) as threads:
        client.auth = BasicAuth("__key__", people["admin"])
        slow, quick = (
            client.post(
                SOURCES, json={"name": "a", "temporal": uuid == owner, "organisation": str(uuid)}
            ).json()["url"]
            for uuid in (owner, another)
        )
        dry_runs = [threads.submit(try_out, client, slow, b"x") for _ in range(3)]
        reading.wait()
        assert try_out(client, quick, b"x").status_code == 200
        assert not any(dry_run.done() for dry_run in dry_runs)
        ended.set()
        assert [dry_run.result().status_code for dry_run in dry_runs] == [200] * 3


def test_dry_runs_of_an_organisation_are_limited_and_end_with_their_clients(
    database_url: str, folder: Path, people: dict[str, str], owner: str
) -> None:
    reading, ended = Event(), Event()

    def read_slowly(_: DryRunUpload) -> int:
        reading.set()
        ended.wait()
        return 0

    config = ApiConfig(database_url, uploads=str(folder), dry_run_upload=read_slowly)
    with client_of(config) as client, ThreadPoolExecutor(1) as threads:
        client.auth = BasicAuth("__key__", people["admin"])
        body = {"name": "a", "organisation": owner}
        url = client.post(SOURCES, json=body).json()["url"]
        try:
            first = threads.submit(try_out, client, url, b"x")
            reading.wait()
            with ExitStack() as stack:
                for number in range(3):
                    stack.enter_context(send_dry_run(client, url, people["admin"]))
                    wait_until(lambda: count_unnamed_files(folder) == number + 2)  # noqa: B023
                answer = try_out(client, url, b"x")
                assert answer.status_code == 503
                assert answer.headers["Retry-After"]
                assert answer.json()["detail"].startswith("4 dry runs of this organisation")
                assert count_unnamed_files(folder) == 4
            wait_until(lambda: count_unnamed_files(folder) == 1)
            assert not first.done()
        finally:
            ended.set()
        assert first.result().status_code == 200
        assert try_out(client, url, b"x").status_code == 200
        assert count_unnamed_files(folder) == 0


def send_dry_run(client: Client, url: str, key: str) -> socket.socket:
    """Send a complete dry run; return its connection."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 0))
    body = HEAD + b"x\r\n--b--\r\n"
    head = (
        f"POST {url[url.index('/api') :]}data/?dry-run HTTP/1.1\r\nHost: x\r\nusername: __key__\r\n"
        f"password: {key}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def count_unnamed_files(folder: Path) -> int:
    """Count the unnamed files of a folder that this process has open; the server runs in this process."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the file was closed meanwhile
            links.append(str(link.readlink()))
    return sum(name.startswith(f"{folder}/") and name.endswith("(deleted)") for name in links)


def test_a_dry_run_of_a_page_says_so_and_writes_nothing(
    client: Client, people: dict[str, str], owner: str, engine: Engine, folder: Path
) -> None:
    with Client(base_url=client.base_url, headers=BROWSER, timeout=60) as browser:
        post_sign_in(browser, "admin", people["admin"])
        token = token_of(browser.get(SOURCES))
        before = fingerprint(engine, folder)
        content = json.dumps({"name": "by form", "organisation": owner})
        form = {"_method": "POST", "_content": content, "csrfmiddlewaretoken": token}
        page = browser.post(f"{SOURCES}?dry-run", data=form)
        assert (page.status_code, "This was a dry run: nothing was stored." in page.text) == (
            201,
            True,
        )
        assert fingerprint(engine, folder) == before


def test_signing_in_has_no_dry_run_that_could_guess_passwords(
    client: Client, people: dict[str, str], engine: Engine, folder: Path
) -> None:
    with Client(base_url=client.base_url, headers=BROWSER, timeout=60) as browser:
        token = token_of(browser.get("/accounts/login/"))
        before = fingerprint(engine, folder)
        form = {"csrfmiddlewaretoken": token, "username": "admin", "password": people["admin"]}
        for path in ("/accounts/login/?dry-run", "/accounts/logout/?dry-run"):
            answer = browser.post(path, data=form)
            assert answer.status_code == 400
            assert "has no dry run" in answer.text
        assert fingerprint(engine, folder) == before


def test_a_dry_run_of_a_read_is_a_read(client: Client) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = client.request(method, f"{SOURCES}?dry-run")
        assert (answer.status_code, "warning" in answer.headers) == (200, False)
