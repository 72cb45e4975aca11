"""A storage of uploads, in a folder or a bucket, has one owner: no catalogue deletes files of another."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import psycopg
import pytest
from httpx import Client, Response
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from pipeline.api.config import ApiConfig
from pipeline.catalogue.file_row import FileRow, file_row
from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.upload_files import claim_storage, get_identity, list_unrecorded, sweep
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.database.engine import make_engine
from pipeline.errors import CatalogueError
from pipeline.ingest.uploads import UploadWorker, process_waiting
from pipeline.raster import ProcessReader, ReadOptions
from pipeline.storage.s3 import open_bucket
from pipeline.storage.uploads import BucketUploadStore, UploadStore, open_upload_store
from tests.api.conftest import SOURCES, client_of
from tests.conftest import new_database
from tests.support.commands import RASTERSOURCES, run
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.s3 import Bucket
from tests.support.serving import serving_for
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Catalogue:
    """A catalogue with a server and a storage of uploads."""

    url: str
    engine: Engine
    client: Client
    store: UploadStore
    organisation: str

    def new_source(self) -> str:
        body = {"name": "a", "organisation": self.organisation, "temporal": True}
        uuid: str = self.client.post(SOURCES, json=body).json()["uuid"]
        return f"{SOURCES}{uuid}/"

    def send(self, source: str, tif: Path, hour: int = 0) -> Response:
        with tif.open("rb") as file:
            data = {"timestamp": f"2024-01-01T{hour:02d}:00:00Z"}
            return self.client.post(f"{source}data/", files={"file": file}, data=data)

    def process_uploads(self, pool: ProcessReader[FileRow]) -> None:
        """Process uploads as a server does."""
        claim_storage(self.engine, self.store)
        sweep(self.engine, self.store)
        while process_waiting(UploadWorker(self.engine, self.store, ReadOptions(), pool)):
            pass

    def file_uris(self) -> set[str]:
        return {uri for (uri,) in rows(self.engine, "SELECT uri FROM raster_files")}


@pytest.fixture(params=["a folder", "a bucket"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "a folder":
        return str(tmp_path / "uploads")
    bucket: Bucket = request.getfixturevalue("bucket")
    return f"s3://{bucket.name}/uploads"


@contextmanager
def serving(url: str, location: str) -> Iterator[Catalogue]:
    """Run a server on a catalogue, with an administrator."""
    engine = make_engine(url)
    try:
        organisations = rows(engine, "SELECT uuid FROM organisations")
        if not organisations:
            add_organisation(engine, "Owner")
            add_user(engine, "admin")
            grant_role(engine, "admin", "Owner", "admin")
            organisations = rows(engine, "SELECT uuid FROM organisations")
        with client_of(ApiConfig(url, uploads=location)) as client:
            client.auth = ("__key__", create_key(engine, "admin"))
            yield Catalogue(
                url, engine, client, open_upload_store(location), str(organisations[0].uuid)
            )
    finally:
        engine.dispose()


@pytest.fixture
def create_database(server: str, template: str) -> Iterator[Callable[[], str]]:
    """A function that creates an empty catalogue and returns its URL."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(new_database(server, template))


@pytest.fixture
def reader(location: str) -> Iterator[ProcessReader[FileRow]]:
    """A process that reads files, started when the environment names the bucket."""
    with ProcessReader(1, file_row) as pool:
        yield pool


@pytest.fixture
def tif(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif")


def restore_copy(server: str, url: str, stack: ExitStack) -> str:
    """Copy a database without connections, as restoring a dump does; return the URL of the copy."""
    name = f"rastersources_test_{uuid4().hex[:12]}"
    copy, original = sql.Identifier(name), sql.Identifier(make_url(url).database or "")

    def execute(statement: str, *names: sql.Identifier) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*names))

    execute("CREATE DATABASE {} TEMPLATE {}", copy, original)
    stack.callback(execute, "DROP DATABASE {} WITH (FORCE)", copy)
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def test_a_catalogue_does_not_touch_the_storage_of_another_one(
    create_database: Callable[[], str], location: str, tif: Path, reader: ProcessReader[FileRow]
) -> None:
    with (
        serving(create_database(), location) as first,
        serving(create_database(), location) as second,
    ):
        assert first.send(first.new_source(), tif).status_code == 200
        first.process_uploads(reader)
        file_uris = first.file_uris()
        assert len(file_uris) == 1
        answer = second.send(second.new_source(), tif)
        assert (answer.status_code, answer.json()["message"]) == (
            503,
            "Service unavailable. #503.10",
        )
        assert "belongs to another catalogue" in answer.json()["detail"]
        assert location not in answer.text
        with pytest.raises(CatalogueError, match="RASTERSOURCES_UPLOADS"):
            second.process_uploads(reader)
        assert sweep(second.engine, second.store) == []
        assert second.client.get(SOURCES).status_code == 200
        assert set(first.store.uris()) == file_uris
        assert first.send(first.new_source(), tif).status_code == 200


def test_a_take_over_deletes_no_file_of_the_other_catalogue(
    create_database: Callable[[], str], location: str, tif: Path, reader: ProcessReader[FileRow]
) -> None:
    with (
        serving(create_database(), location) as first,
        serving(create_database(), location) as second,
    ):
        assert first.send(first.new_source(), tif).status_code == 200
        first.process_uploads(reader)
        claim_storage(second.engine, second.store, by_force=True)
        assert second.send(second.new_source(), tif).status_code == 200
        second.process_uploads(reader)
        assert set(second.store.uris()) == first.file_uris() | second.file_uris()
        assert set(list_unrecorded(second.engine, second.store)) == first.file_uris()
        with pytest.raises(CatalogueError, match="take-over"):
            first.process_uploads(reader)


def test_an_older_dump_leaves_newer_files_alone_and_lists_them(
    create_database: Callable[[], str],
    server: str,
    location: str,
    tif: Path,
    reader: ProcessReader[FileRow],
) -> None:
    with ExitStack() as stack:
        original = create_database()
        with serving(original, location) as before:
            source = before.new_source()
            for hour in (0, 1):
                assert before.send(source, tif, hour).status_code == 200
            before.process_uploads(reader)
        copy = restore_copy(server, original, stack)
        with serving(original, location) as after:
            assert after.send(source, tif, 2).status_code == 200
            assert after.send(source, tif, 0).status_code == 200  # replaces an older file
            after.process_uploads(reader)
            newer = after.file_uris()
        with serving(copy, location) as older:
            missing = older.file_uris() - newer
            older.process_uploads(reader)
            assert set(older.store.uris()) == newer
            assert set(list_unrecorded(older.engine, older.store)) == newer - older.file_uris()
            assert (len(missing), len(newer - older.file_uris())) == (1, 2)
            assert older.send(older.new_source(), tif).status_code == 200
            older.process_uploads(reader)
            assert newer < set(older.store.uris())


def test_a_storage_without_a_mark_belongs_to_the_catalogue_of_its_files(
    create_database: Callable[[], str], location: str, tif: Path, reader: ProcessReader[FileRow]
) -> None:
    with (
        serving(create_database(), location) as first,
        serving(create_database(), location) as second,
    ):
        assert first.send(first.new_source(), tif).status_code == 200
        first.process_uploads(reader)
        remove_mark(location)
        with pytest.raises(CatalogueError, match="this catalogue recorded none of them"):
            second.process_uploads(reader)
        assert second.store.owner() is None
        first.process_uploads(reader)
        assert first.store.owner() == get_identity(first.engine)
        assert set(first.store.uris()) == first.file_uris()


def test_only_one_of_several_catalogues_gets_an_empty_storage(
    create_database: Callable[[], str], location: str
) -> None:
    engines = [make_engine(create_database()) for _ in range(6)]

    def claim(engine: Engine) -> bool:
        try:
            claim_storage(engine, open_upload_store(location))
        except CatalogueError:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        claims = list(threads.map(claim, engines))
    assert claims.count(True) == 1
    owner = engines[claims.index(True)]
    assert open_upload_store(location).owner() == get_identity(owner)
    for engine in engines:
        engine.dispose()


def test_an_empty_mark_of_a_killed_server_is_written_again(
    create_database: Callable[[], str], tmp_path: Path
) -> None:
    engine = make_engine(create_database())
    (tmp_path / ".catalogue").touch()
    claim_storage(engine, open_upload_store(tmp_path))
    assert (tmp_path / ".catalogue").read_text().startswith(f"{get_identity(engine)}\n")
    engine.dispose()


def test_commands_list_the_files_of_a_foreign_storage_and_take_it_over(
    create_database: Callable[[], str], tmp_path: Path, tif: Path, pool: ProcessReader[FileRow]
) -> None:
    location = str(tmp_path / "home" / "uploads")
    with (
        serving(create_database(), location) as first,
        serving(create_database(), location) as other,
    ):
        assert first.send(first.new_source(), tif).status_code == 200
        first.process_uploads(pool)
        (uri,) = first.file_uris()
        changes: dict[str, Any] = {
            "RASTERSOURCES_DATABASE_URL": other.url,
            "RASTERSOURCES_HOME": str(tmp_path / "home"),
        }
        assert run([*RASTERSOURCES, "uploads", "unknown"], **changes).stdout == f"{uri}\n"
        run([*RASTERSOURCES, "uploads", "take-over"], **changes)
        other.process_uploads(pool)
        assert set(first.store.uris()) == {uri}


def test_a_server_reports_a_foreign_storage_and_works_after_a_take_over(
    create_database: Callable[[], str], tmp_path: Path, tif: Path
) -> None:
    url, mark = create_database(), tmp_path / "uploads" / ".catalogue"
    mark.parent.mkdir()
    mark.write_text(f"{uuid4()}\n")
    engine = make_engine(url)
    with serving_for(engine, url, tmp_path) as server:
        wait_until(lambda: "belongs to another catalogue" in (tmp_path / "errors").read_text(), 60)
        source = server.add_source()
        with tif.open("rb") as file:
            answer = server.client.post(f"{source}data/", files={"file": file})
        assert (answer.status_code, list(answer.json())) == (
            503,
            ["status", "code", "message", "detail"],
        )
        claim_storage(engine, open_upload_store(mark.parent), by_force=True)
        assert server.wait_for(server.send(source, tif, 0)) == "SUCCESS"
    engine.dispose()


def remove_mark(location: str) -> None:
    """Remove the mark, as in a storage of an older release."""
    store = open_upload_store(location)
    if location.startswith("s3://"):
        assert isinstance(store, BucketUploadStore)
        obstore.delete(open_bucket(store.bucket), f"{store.prefix}.catalogue")
    else:
        (Path(location) / ".catalogue").unlink()
