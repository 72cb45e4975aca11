"""After any changes of files, a completed sync leaves what a new catalogue of the folder would have.

The test takes hundreds of random steps on a folder and on the catalogue, `kill -9` included. After each completed sync
it compares the catalogue with a new one of the same files. It prints the seed of a failure; `--seed` repeats the
steps, but the kills come at other instants.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from affine import Affine
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue import tombstones
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.database.engine import make_engine
from pipeline.errors import RunInProgress
from pipeline.ingest.register import RunOutcome, files_from_config
from pipeline.ingest.sync import sync_all
from pipeline.ingest.uploads import UploadWorker, process_waiting
from pipeline.raster import ProcessReader, ReadOptions
from pipeline.storage import file_uri
from pipeline.storage.uploads import open_upload_store
from tests.api.conftest import SOURCES, client_of
from tests.conftest import new_database
from tests.support.commands import RASTERSOURCES, start
from tests.support.derived import FIELDS, assert_derived
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import is_another_session_writing, run_context
from tests.support.warm_process import WarmProcess

CONFIG = r"""
[[source]]
id = "single"
files = "single"
organisation = "Owner"
missing = "remove"
max_missing_percent = 100

[[source]]
id = "kept"
files = "kept/**/*.tif"
organisation = "Owner"
max_missing_percent = 100

[[source]]
id = "series"
files = "series"
organisation = "Owner"
name = "series {place}"
group = "place"
temporal = true
pattern = '(?P<place>[a-z])_(?P<time>\d{8}T\d{4}Z)'
missing = "remove"
max_missing_percent = 100

[[source]]
id = "mosaic"
files = "mosaic/*.tif"
organisation = "Owner"
name = "mosaic"
group = "all"
missing = "remove"
max_missing_percent = 100
"""
FOLDERS = ("single", "kept", "series", "mosaic")


@dataclass
class Model:
    """The folder, the catalogue, and what users deleted from it."""

    folder: Path
    url: str
    engine: Engine
    client: Client
    pool: ProcessReader[FileRow]
    generator: random.Random
    upload_source: str
    """The URL of a source that has uploads only."""
    worker: UploadWorker
    deleted_files: set[tuple[str, str]] = field(default_factory=set)
    """URI and fingerprint of files that were deleted from the catalogue with the data of their source."""
    deleted_groups: set[tuple[str, str]] = field(default_factory=set)
    """Definition and group of sources that were deleted."""
    uploaded_size: int | None = None
    """The size of the uploaded file in that source."""
    clock: int = 1_700_000_000
    log: list[list[str]] = field(default_factory=list)
    """The steps, each with the things that it changed."""

    def log_things(self, *things: object) -> None:
        """Add things to the log of the present step."""
        self.log[-1] += [str(thing).removeprefix(f"{self.folder}/") for thing in things]

    # The folder -----------------------------------------------------------------------------------

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*.tif") if "stash" not in path.parts)

    def any_file(self) -> Path | None:
        paths = self.files()
        path = self.generator.choice(paths) if paths else None
        self.log_things(path)
        return path

    def new_path(self, kind: str) -> Path:
        number_in_name = self.generator.randrange(10**6)
        if kind == "series":
            step = self.generator.randrange(48)
            time_in_name = f"20240101T{step // 2:02d}{30 * (step % 2):02d}Z"
            name = f"{self.generator.choice('ab')}_{time_in_name}_{number_in_name}.tif"
        else:
            name = f"f{number_in_name}.tif"
        deep = kind == "kept" and self.generator.random() < 0.5
        path = self.folder / kind / ("deep" if deep else "") / name
        self.log_things(path)
        return path

    def write(self, path: Path) -> None:
        """Write a raster with a random place and size, and a new time of writing."""
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        odd = path.parent.name == "mosaic" and self.generator.random() < 0.3
        kind: dict[str, Any] = {"dtype": "uint8", "nodata": 0} if odd else {}
        shift = Affine.translation(self.generator.randrange(100), self.generator.randrange(100))
        width = 10 + self.generator.randrange(20)
        write_raster(path, width=width, transform=RD_TRANSFORM @ shift, **kind)
        self.date(path)

    def date(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, ns=(self.clock * 10**9, self.clock * 10**9))

    def add(self) -> None:
        self.write(self.new_path(self.generator.choice(FOLDERS)))

    def change(self) -> None:
        if path := self.any_file():
            self.write(path)

    def rename(self) -> None:
        if path := self.any_file():
            kind = path.relative_to(self.folder).parts[0]
            target = self.new_path(kind)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)

    def truncate(self) -> None:
        if path := self.any_file():
            os.truncate(path, self.generator.randrange(path.stat().st_size or 1))
            self.date(path)

    def delete(self) -> None:
        if path := self.any_file():
            shutil.move(path, self.folder / "stash" / f"{path.parent.name}+{path.name}")

    def restore_file(self) -> None:
        stashed = sorted((self.folder / "stash").iterdir())
        if stashed:
            path = self.generator.choice(stashed)
            self.log_things(path)
            kind, _, name = path.name.partition("+")
            parent = self.folder / ("kept/deep" if kind == "deep" else kind)
            shutil.move(path, parent / name)

    def touch(self) -> None:
        if path := self.any_file():
            self.date(path)

    # The catalogue ---------------------------------------------------------------------------------

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), values))

    def any_source(self) -> Any:
        """Choose a source, once the sessions of killed runs are gone, which may still commit."""
        self.wait_for_work(begun=False)
        query = "SELECT id, uuid, definition, group_key FROM raster_sources WHERE definition IS NOT NULL ORDER BY id"
        sources = self.rows(query)
        source = self.generator.choice(sources) if sources else None
        self.log_things(source)
        return source

    def delete_data(self) -> None:
        """Delete all data of a source through the API."""
        if source := self.any_source():
            query = "SELECT uri, fingerprint FROM raster_files WHERE source_id = :id"
            deleted = {(row.uri, row.fingerprint) for row in self.rows(query, id=source.id)}
            self.log_things(deleted)
            self.deleted_files |= deleted
            answer = self.client.delete(f"{SOURCES}{source.uuid}/data/")
            assert answer.status_code == 200, answer.text

    def delete_source(self) -> None:
        if source := self.any_source():
            self.deleted_groups.add((source.definition, source.group_key))
            assert self.client.delete(f"{SOURCES}{source.uuid}/").status_code == 204

    def restore_deleted(self) -> None:
        tombstones.restore(self.engine, [], [], everything=True)
        self.deleted_files.clear()
        self.deleted_groups.clear()

    def upload(self) -> None:
        path = self.folder / "stash.tiff"
        write_raster(path, count=self.generator.randint(1, 5))
        with path.open("rb") as content:
            answer = self.client.post(f"{self.upload_source}data/", files={"file": content})
        assert answer.status_code == 200, answer.text
        while process_waiting(self.worker):
            pass
        self.uploaded_size = path.stat().st_size
        task = self.client.get(answer.json()["url"]).json()
        assert task["status"] == "SUCCESS", task

    def delete_upload(self) -> None:
        assert self.client.delete(f"{self.upload_source}data/").status_code == 200
        self.uploaded_size = None

    def kill(self) -> None:
        """Start a sync and kill it at a random instant, mostly after it has begun to list."""
        process = start(
            [*RASTERSOURCES, "sync", "--create"],
            cwd=self.folder,
            RASTERSOURCES_DATABASE_URL=self.url,
            RASTERSOURCES_BATCH_SIZE="3",
        )
        if self.generator.random() < 0.8:
            self.wait_for_work(begun=True, process=process)
        time.sleep(self.generator.random() ** 2)
        process.kill()
        self.log_things("killed" if process.wait() == -signal.SIGKILL else "ended before")

    def wait_for_work(self, *, begun: bool, process: WarmProcess | None = None) -> None:
        """Wait until another session syncs, or until none does; at the latest until the process ends."""
        with psycopg.connect(self.url, autocommit=True) as watcher:
            while is_another_session_writing(watcher) != begun and (
                process is None or process.poll() is None
            ):
                time.sleep(0.01)

    # The proof -------------------------------------------------------------------------------------

    def sync(self) -> None:
        outcomes = sync_when_free(self.engine, self.pool, self.folder)
        for outcome in outcomes:
            if outcome.failure is not None:
                raise outcome.failure
        assert_derived(self.engine)
        ours = read_contents(self.engine)
        with new_database(*self.fresh) as url, self.hide_deleted():
            engine = make_engine(url)
            sync_when_free(engine, self.pool, self.folder)
            expected = read_contents(engine)
            engine.dispose()
        surplus, missing = only_in(ours, expected), only_in(expected, ours)
        assert surplus == missing == {}, self.explain(surplus, missing)
        (upload_source,) = self.rows("SELECT size FROM raster_sources WHERE definition IS NULL")
        assert upload_source.size == self.uploaded_size

    def explain(self, surplus: dict[str, Any], missing: dict[str, Any]) -> str:
        """Return what differs, and what was deleted according to the catalogue and to the model."""
        deletions = self.rows("SELECT definition, group_key, uri, fingerprint FROM tombstones")
        return f"""
            only in the catalogue: {surplus}
            only in a fresh one: {missing}
            tombstones: {[tuple(row) for row in deletions]}
            of the model: {self.deleted_files} {self.deleted_groups}"""

    fresh: tuple[str, str] = ("", "")
    """Server and template of new databases."""

    @contextmanager
    def hide_deleted(self) -> Iterator[None]:
        """Hide the files that users deleted from the catalogue, until the end of the block."""
        hidden = [path for path in self.files() if self.is_deleted(path)]
        for path in hidden:
            path.rename(path.with_suffix(".hidden"))
        yield
        for path in hidden:
            path.with_suffix(".hidden").rename(path)

    def is_deleted(self, path: Path) -> bool:
        status, uri = path.stat(), file_uri(path)
        kind = path.relative_to(self.folder).parts[0]
        group = {"series": path.name[0], "mosaic": "all"}.get(kind, uri)
        fingerprint = f"{status.st_size:x}.{status.st_mtime_ns:x}"
        return (kind, group) in self.deleted_groups or (uri, fingerprint) in self.deleted_files


def sync_when_free(engine: Engine, pool: ProcessReader[FileRow], folder: Path) -> list[RunOutcome]:
    """Sync all definitions; repeat while the session of a killed run still has its lock."""
    config = folder / "sources.toml"
    while True:
        run = run_context(engine, pool.read, batch_size=7)
        outcomes = sync_all(run, files_from_config(config), config)
        if not any(isinstance(outcome.failure, RunInProgress) for outcome in outcomes):
            return outcomes
        time.sleep(0.05)


def read_contents(engine: Engine) -> dict[str, Any]:
    """Return the contents of the catalogue, without its ids and times, missing files and empty sources."""
    columns = ", ".join(f'source."{name}"' for name in FIELDS)
    queries = {
        "sources": f"""
            SELECT source.definition, source.group_key, source.name, {columns} FROM raster_sources AS source
            WHERE source.definition IS NOT NULL AND EXISTS (
                SELECT FROM raster_files AS file WHERE file.source_id = source.id AND file.state = 'present')
            ORDER BY source.definition, source.group_key""",
        "files": """
            SELECT definition, uri, fingerprint, times, west, south, dtype FROM raster_files
            WHERE definition IS NOT NULL AND state = 'present' ORDER BY definition, uri""",
        "rejected": "SELECT definition, uri, code, fingerprint, group_key FROM rejected_files ORDER BY definition, uri",
    }
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in queries.items()
        }


def only_in(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of the first that the second does not have."""
    rows = {name: [row for row in first[name] if row not in second[name]] for name in first}
    return {name: surplus for name, surplus in rows.items() if surplus}


STEPS: dict[str, int] = {
    "add": 14, "change": 6, "rename": 6, "truncate": 4, "delete": 6, "restore_file": 5, "touch": 3, "sync": 8,
    "kill": 3, "delete_data": 2, "delete_source": 2, "restore_deleted": 2, "upload": 2, "delete_upload": 1,
}  # fmt: skip
"""The steps, and how often each is taken in comparison with the others."""


@pytest.fixture
def make_model(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    server: str,
    template: str,
    pool: ProcessReader[FileRow],
) -> Iterator[Callable[[random.Random], Model]]:
    """A function that makes the model: an empty folder, a catalogue with one source for uploads, and its API."""
    for name in (*FOLDERS, "stash", "kept/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sources.toml").write_text(CONFIG)
    uploads = tmp_path_factory.mktemp("uploads")
    with (
        new_database(server, template) as url,
        client_of(ApiConfig(url, uploads=str(uploads))) as client,
    ):
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO organisations (name) VALUES ('Owner')"))
        add_user(engine, "admin")
        grant_role(engine, "admin", "Owner", "admin")
        client.auth = ("__key__", create_key(engine, "admin"))
        organisation = client.get("/api/v4/organisations/").json()["results"][0]["uuid"]
        upload_source = client.post(
            SOURCES, json={"name": "hand", "organisation": organisation}
        ).json()
        worker = UploadWorker(engine, open_upload_store(uploads), ReadOptions(), pool)

        def make(generator: random.Random) -> Model:
            model = Model(
                tmp_path, url, engine, client, pool, generator, upload_source["url"], worker
            )
            model.fresh = (server, template)
            return model

        yield make
        engine.dispose()


def take_steps(model: Model, steps: int) -> None:
    """Take random steps, then complete the work."""
    for _ in range(steps):
        (step,) = model.generator.choices(list(STEPS), list(STEPS.values()))
        model.log.append([step])
        getattr(model, step)()
    model.log.append(["sync"])
    model.sync()


def explore(make_model: Callable[[random.Random], Model], steps: int, seed: int | None) -> None:
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    model = make_model(random.Random(seed))
    try:
        take_steps(model, steps)
    except BaseException as error:
        steps_taken = "\n".join(" ".join(step) for step in model.log)
        error.add_note(f"--seed {seed}, after\n{steps_taken}")
        raise


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int | None:
    """The seed of the command line, which repeats the steps of a failure."""
    option: int | None = request.config.getoption("--seed")
    return option


def test_after_random_steps_a_sync_equals_a_fresh_catalogue(
    make_model: Callable[[random.Random], Model], seed: int | None
) -> None:
    explore(make_model, 60, seed)


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(10))
def test_after_hundreds_of_random_steps_a_sync_equals_a_fresh_catalogue(
    make_model: Callable[[random.Random], Model], seed: int | None, repetition: int
) -> None:
    explore(make_model, 300, seed)
