"""A killed run of a drop folder loses no file, registers none twice and overwrites none."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from pipeline.catalogue.file_row import FileRow
from pipeline.database.engine import make_engine
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri, find_file, path_of
from tests.conftest import new_database
from tests.support.commands import RASTERSOURCES, start
from tests.support.database import rows
from tests.support.drop_folder import Site, new_site
from tests.support.factory import write_raster
from tests.support.warm_process import WarmProcess

SOURCES, FILES = 3, 40
MEMORY = Path("/dev/shm")


@pytest.fixture
def site(
    server: str, template: str, pool: ProcessReader[FileRow], tmp_path: Path
) -> Iterator[Site]:
    """Three series, and a file that is in the way of another one."""
    with new_database(server, template) as url:
        engine = make_engine(url)
        site = new_site(engine, pool, tmp_path)
        for number in range(SOURCES):
            site.add_source(f"place_{number}", temporal=True)
        yield site
        engine.dispose()


@pytest.fixture(params=["same file system", "another file system"])
def kept(request: pytest.FixtureRequest, site: Site) -> Iterator[Path]:
    """Where done and refused files go."""
    if request.param == "same file system":
        yield site.base / "kept"
        return
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == site.base.stat().st_dev:
        pytest.skip("there is no other file system here")
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def contents(*folders: Path) -> Counter[str]:
    """How often each content is there."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def fill(site: Site, first: int) -> Counter[str]:
    """Files of every kind, of a source or of none, with sidecars, of a name that was there before; what they hold."""
    for number in range(first, first + FILES):
        moment = f"2024{1 + number // 28 % 12:02d}{1 + number % 28:02d}T{number // 336:02d}00Z"
        code = f"place_{number % SOURCES}" if number % 5 else "nowhere"
        name = f"{code}_{moment}.tif" if number % 7 else f"nowhere_{number % 2}.tif"
        write_raster(site.folder / name, width=4, height=4, tags={"NUMBER": str(number)})
        if number % 3 == 0:
            (site.folder / f"{name}.aux.xml").write_text(
                f"<PAMDataset><!-- {number} --></PAMDataset>"
            )
    return contents(site.folder)


def begin(site: Site, kept: Path) -> WarmProcess:
    """A run of its own."""
    for name in ("done", "refused"):
        (kept / name).mkdir(parents=True, exist_ok=True)
    site.configure(done=str(kept / "done"), refused=str(kept / "refused"))
    url = site.engine.url.render_as_string(hide_password=False)
    return start(
        [*RASTERSOURCES, "sync", "drop"],
        cwd=site.base,
        RASTERSOURCES_DATABASE_URL=url,
        RASTERSOURCES_BATCH_SIZE="15",
    )


@dataclass
class Kills:
    """What was done to a drop folder."""

    dropped: Counter[str] = field(default_factory=Counter)
    """How often each content was dropped."""
    on_their_way: int = 0
    """Kills that left a file recorded and not moved."""

    def one(self, site: Site, kept: Path, chance: random.Random, number: int) -> None:
        """Drop files unless there are some left, and kill a run at a random instant after it moved the first."""
        if not any(site.folder.iterdir()):
            self.dropped += fill(site, FILES * number)
        before = len(list(site.folder.iterdir()))
        process = begin(site, kept)
        while process.poll() is None and len(list(site.folder.iterdir())) == before:
            time.sleep(0.001)
        time.sleep(chance.random() * chance.random() / 2)
        process.kill()
        process.communicate()
        self.on_their_way += bool(left(site))


def left(site: Site) -> int:
    """How many moves a killed run has left, once its sessions are gone."""
    url = site.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as watcher:
        while watcher.execute(SESSIONS).fetchone() != (0,):
            time.sleep(0.01)
        return len(watcher.execute("SELECT FROM moves").fetchall())


SESSIONS = """
    SELECT count(*) FROM pg_stat_activity AS session
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND (
        state <> 'idle' OR EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pg_locks.pid = session.pid))
"""


def run_and_check(site: Site, kept: Path, dropped: Counter[str], seed: str) -> None:
    """A run that nobody kills brings everything to where it belongs."""
    process = begin(site, kept)
    _, errors = process.communicate()
    assert process.returncode in (0, 3), errors
    assert list(site.folder.iterdir()) == [], seed
    assert contents(kept) == dropped, seed
    registered = rows(site.engine, "SELECT uri, fingerprint FROM raster_files")
    refused = rows(site.engine, "SELECT uri, fingerprint FROM rejected_files")
    there = {file_uri(path): path for path in kept.rglob("*.tif")}
    assert Counter(uri for uri, _ in registered + refused) == Counter(there.keys()), seed
    for uri, fingerprint in registered + refused:
        assert find_file(Path(path_of(uri)), ["/"]).fingerprint == fingerprint
    assert rows(site.engine, "SELECT * FROM moves") == []


def test_a_few_kills_lose_nothing_and_duplicate_nothing(site: Site, kept: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance, kills = random.Random(seed), Kills()
    for number in range(3):
        kills.one(site, kept, chance, number)
    run_and_check(site, kept, kills.dropped, f"seed {seed}")


@pytest.mark.soak
def test_fifty_kills_lose_nothing_and_duplicate_nothing(site: Site, kept: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance, kills = random.Random(seed), Kills()
    for number in range(500):
        kills.one(site, kept, chance, number)
        if number % 10 == 9:
            run_and_check(site, kept, kills.dropped, f"seed {seed}")
            if number > 48 and kills.on_their_way >= 5:  # a quick machine needs more kills for that
                break
    assert kills.on_their_way >= 5, f"seed {seed}"
