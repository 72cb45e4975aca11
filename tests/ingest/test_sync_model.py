"""Whatever happens to the files, a completed sync leaves what a fresh catalogue of the folder would hold.

Hundreds of random steps on a folder and on the catalogue, `kill -9` included; after each completed sync the catalogue
is compared with one that is made anew from the files as they are. The seed of a failure is printed; `--seed`
takes its steps again, of which only the kills fall otherwise.
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
    """The folder, the catalogue, and what people deleted from it."""

    folder: Path
    url: str
    engine: Engine
    client: Client
    pool: ProcessReader[FileRow]
    chance: random.Random
    hand: str
    """URL of a source to which files are only sent."""
    worker: UploadWorker
    buried_files: set[tuple[str, str]] = field(default_factory=set)
    """URI and fingerprint of files that were deleted by flushing their source."""
    buried_groups: set[tuple[str, str]] = field(default_factory=set)
    """Definition and group of sources that were deleted."""
    sent: int | None = None
    """Size of the file in the source by hand."""
    clock: int = 1_700_000_000
    log: list[list[str]] = field(default_factory=list)
    """The steps, each with what it was done to."""

    def note(self, *things: object) -> None:
        """Say what the present step is done to."""
        self.log[-1] += [str(thing).removeprefix(f"{self.folder}/") for thing in things]

    # The folder -----------------------------------------------------------------------------------

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*.tif") if "stash" not in path.parts)

    def any_file(self) -> Path | None:
        found = self.files()
        path = self.chance.choice(found) if found else None
        self.note(path)
        return path

    def new_path(self, kind: str) -> Path:
        number = self.chance.randrange(10**6)
        if kind == "series":
            step = self.chance.randrange(48)
            moment = f"20240101T{step // 2:02d}{30 * (step % 2):02d}Z"
            name = f"{self.chance.choice('ab')}_{moment}_{number}.tif"
        else:
            name = f"f{number}.tif"
        deep = kind == "kept" and self.chance.random() < 0.5
        path = self.folder / kind / ("deep" if deep else "") / name
        self.note(path)
        return path

    def write(self, path: Path) -> None:
        """A raster of its own place and size, and of its own time of writing."""
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        odd = path.parent.name == "mosaic" and self.chance.random() < 0.3
        kind: dict[str, Any] = {"dtype": "uint8", "nodata": 0} if odd else {}
        shift = Affine.translation(self.chance.randrange(100), self.chance.randrange(100))
        width = 10 + self.chance.randrange(20)
        write_raster(path, width=width, transform=RD_TRANSFORM @ shift, **kind)
        self.date(path)

    def date(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, ns=(self.clock * 10**9, self.clock * 10**9))

    def add(self) -> None:
        self.write(self.new_path(self.chance.choice(FOLDERS)))

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
            os.truncate(path, self.chance.randrange(path.stat().st_size or 1))
            self.date(path)

    def delete(self) -> None:
        if path := self.any_file():
            shutil.move(path, self.folder / "stash" / f"{path.parent.name}+{path.name}")

    def restore_file(self) -> None:
        stashed = sorted((self.folder / "stash").iterdir())
        if stashed:
            path = self.chance.choice(stashed)
            self.note(path)
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
        """One that is there to stay: the sessions of a killed run are gone, which may still have committed."""
        self.wait_for_work(begun=False)
        query = "SELECT id, uuid, definition, group_key FROM raster_sources WHERE definition IS NOT NULL ORDER BY id"
        found = self.rows(query)
        source = self.chance.choice(found) if found else None
        self.note(source)
        return source

    def flush(self) -> None:
        """Remove all data of a source through the API."""
        if source := self.any_source():
            query = "SELECT uri, fingerprint FROM raster_files WHERE source_id = :id"
            buried = {(row.uri, row.fingerprint) for row in self.rows(query, id=source.id)}
            self.note(buried)
            self.buried_files |= buried
            answer = self.client.delete(f"{SOURCES}{source.uuid}/data/")
            assert answer.status_code == 200, answer.text

    def delete_source(self) -> None:
        if source := self.any_source():
            self.buried_groups.add((source.definition, source.group_key))
            assert self.client.delete(f"{SOURCES}{source.uuid}/").status_code == 204

    def restore_deleted(self) -> None:
        tombstones.restore(self.engine, [], [], everything=True)
        self.buried_files.clear()
        self.buried_groups.clear()

    def upload(self) -> None:
        path = self.folder / "stash.tiff"
        write_raster(path, count=self.chance.randint(1, 5))
        with path.open("rb") as content:
            answer = self.client.post(f"{self.hand}data/", files={"file": content})
        assert answer.status_code == 200, answer.text
        while process_waiting(self.worker):
            pass
        self.sent = path.stat().st_size
        task = self.client.get(answer.json()["url"]).json()
        assert task["status"] == "SUCCESS", task

    def flush_hand(self) -> None:
        assert self.client.delete(f"{self.hand}data/").status_code == 200
        self.sent = None

    def kill(self) -> None:
        """A sync that is killed at some instant, more often than not after it has begun to list."""
        process = start(
            [*RASTERSOURCES, "sync", "--create"],
            cwd=self.folder,
            RASTERSOURCES_DATABASE_URL=self.url,
            RASTERSOURCES_BATCH_SIZE="3",
        )
        if self.chance.random() < 0.8:
            self.wait_for_work(begun=True, process=process)
        time.sleep(self.chance.random() ** 2)
        process.kill()
        self.note("killed" if process.wait() == -signal.SIGKILL else "at its end")

    def wait_for_work(self, *, begun: bool, process: WarmProcess | None = None) -> None:
        """Return when another session has begun to sync, or when none is at it; at the latest when the process ends."""
        with psycopg.connect(self.url, autocommit=True) as watcher:
            while is_another_session_writing(watcher) != begun and (
                process is None or process.poll() is None
            ):
                time.sleep(0.01)

    # The proof -------------------------------------------------------------------------------------

    def sync(self) -> None:
        outcomes = synced_when_free(self.engine, self.pool, self.folder)
        for outcome in outcomes:
            if outcome.failure is not None:
                raise outcome.failure
        assert_derived(self.engine)
        mine = contents(self.engine)
        with new_database(*self.fresh) as url, self.without_the_buried():
            engine = make_engine(url)
            synced_when_free(engine, self.pool, self.folder)
            expected = contents(engine)
            engine.dispose()
        surplus, lacking = only_in(mine, expected), only_in(expected, mine)
        assert surplus == lacking == {}, self.explained(surplus, lacking)
        (hand,) = self.rows("SELECT size FROM raster_sources WHERE definition IS NULL")
        assert hand.size == self.sent

    def explained(self, surplus: dict[str, Any], lacking: dict[str, Any]) -> str:
        """What differs, and what was deleted on purpose, as the catalogue and as the model keep it."""
        graves = self.rows("SELECT definition, group_key, uri, fingerprint FROM tombstones")
        return f"""
            only in the catalogue: {surplus}
            only in a fresh one: {lacking}
            tombstones: {[tuple(row) for row in graves]}
            of the model: {self.buried_files} {self.buried_groups}"""

    fresh: tuple[str, str] = ("", "")
    """Server and template of new databases."""

    @contextmanager
    def without_the_buried(self) -> Iterator[None]:
        """The folder without what people deleted from the catalogue."""
        hidden = [path for path in self.files() if self.is_buried(path)]
        for path in hidden:
            path.rename(path.with_suffix(".hidden"))
        yield
        for path in hidden:
            path.with_suffix(".hidden").rename(path)

    def is_buried(self, path: Path) -> bool:
        status, uri = path.stat(), file_uri(path)
        kind = path.relative_to(self.folder).parts[0]
        group = {"series": path.name[0], "mosaic": "all"}.get(kind, uri)
        fingerprint = f"{status.st_size:x}.{status.st_mtime_ns:x}"
        return (kind, group) in self.buried_groups or (uri, fingerprint) in self.buried_files


def synced_when_free(
    engine: Engine, pool: ProcessReader[FileRow], folder: Path
) -> list[RunOutcome]:
    """Sync all definitions; the session of a killed run may hold its lock for a moment."""
    config = folder / "sources.toml"
    while True:
        run = run_context(engine, pool.read, batch_size=7)
        outcomes = sync_all(run, files_from_config(config), config)
        if not any(isinstance(outcome.failure, RunInProgress) for outcome in outcomes):
            return outcomes
        time.sleep(0.05)


def contents(engine: Engine) -> dict[str, Any]:
    """What is in the catalogue, without numbers and times of its own, missing files and empty sources."""
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
        "refused": "SELECT definition, uri, code, fingerprint, group_key FROM rejected_files ORDER BY definition, uri",
    }
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in queries.items()
        }


def only_in(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The rows of one that the other has not."""
    rows = {name: [row for row in one[name] if row not in other[name]] for name in one}
    return {name: found for name, found in rows.items() if found}


STEPS: dict[str, int] = {
    "add": 14, "change": 6, "rename": 6, "truncate": 4, "delete": 6, "restore_file": 5, "touch": 3, "sync": 8,
    "kill": 3, "flush": 2, "delete_source": 2, "restore_deleted": 2, "upload": 2, "flush_hand": 1,
}  # fmt: skip
"""What may happen, and how often beside the others."""


@pytest.fixture
def made(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    server: str,
    template: str,
    pool: ProcessReader[FileRow],
) -> Iterator[Callable[[random.Random], Model]]:
    """Makes the model: an empty folder, a catalogue with one source by hand, and its API."""
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
        hand = client.post(SOURCES, json={"name": "hand", "organisation": organisation}).json()
        worker = UploadWorker(engine, open_upload_store(uploads), ReadOptions(), pool)

        def make(chance: random.Random) -> Model:
            model = Model(tmp_path, url, engine, client, pool, chance, hand["url"], worker)
            model.fresh = (server, template)
            return model

        yield make
        engine.dispose()


def walk(model: Model, steps: int) -> None:
    """Take random steps, then complete the work."""
    for _ in range(steps):
        (step,) = model.chance.choices(list(STEPS), list(STEPS.values()))
        model.log.append([step])
        getattr(model, step)()
    model.log.append(["sync"])
    model.sync()


def explore(made: Callable[[random.Random], Model], steps: int, seed: int | None) -> None:
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    model = made(random.Random(seed))
    try:
        walk(model, steps)
    except BaseException as error:
        steps_taken = "\n".join(" ".join(step) for step in model.log)
        error.add_note(f"--seed {seed}, after\n{steps_taken}")
        raise


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int | None:
    """The one that is given by hand, to take the steps of a failure again."""
    given: int | None = request.config.getoption("--seed")
    return given


def test_after_random_steps_a_sync_equals_a_fresh_catalogue(
    made: Callable[[random.Random], Model], seed: int | None
) -> None:
    explore(made, 60, seed)


@pytest.mark.soak
@pytest.mark.parametrize("repetition", range(10))
def test_after_hundreds_of_random_steps_a_sync_equals_a_fresh_catalogue(
    made: Callable[[random.Random], Model], seed: int | None, repetition: int
) -> None:
    explore(made, 300, seed)
