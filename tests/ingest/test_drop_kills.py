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
    """A drop folder with three series, in a database for one test."""
    with new_database(server, template) as url:
        engine = make_engine(url)
        site = new_site(engine, pool, tmp_path)
        for index in range(SOURCES):
            site.add_source(f"place_{index}", temporal=True)
        yield site
        engine.dispose()


@pytest.fixture(params=["same file system", "another file system"])
def kept(request: pytest.FixtureRequest, site: Site) -> Iterator[Path]:
    """The folder for accepted and rejected files."""
    if request.param == "same file system":
        yield site.base / "kept"
        return
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == site.base.stat().st_dev:
        pytest.skip("this machine has no second file system")
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def count_contents(*folders: Path) -> Counter[str]:
    """Return how often each content is in the folders."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def drop_files(site: Site, first: int) -> Counter[str]:
    """Drop files with and without a source, a sidecar, or a name that was used before; return their contents."""
    for index in range(first, first + FILES):
        time_in_name = f"2024{1 + index // 28 % 12:02d}{1 + index % 28:02d}T{index // 336:02d}00Z"
        code = f"place_{index % SOURCES}" if index % 5 else "nowhere"
        name = f"{code}_{time_in_name}.tif" if index % 7 else f"nowhere_{index % 2}.tif"
        write_raster(site.folder / name, width=4, height=4, tags={"NUMBER": str(index)})
        if index % 3 == 0:
            (site.folder / f"{name}.aux.xml").write_text(
                f"<PAMDataset><!-- {index} --></PAMDataset>"
            )
    return count_contents(site.folder)


def start_run(site: Site, kept: Path) -> WarmProcess:
    """Start a run in a process of its own."""
    for name in ("done", "rejected"):
        (kept / name).mkdir(parents=True, exist_ok=True)
    site.configure(done=str(kept / "done"), rejected=str(kept / "rejected"))
    url = site.engine.url.render_as_string(hide_password=False)
    return start(
        [*RASTERSOURCES, "sync", "drop"],
        cwd=site.base,
        RASTERSOURCES_DATABASE_URL=url,
        RASTERSOURCES_BATCH_SIZE="15",
    )


@dataclass
class Kills:
    """The files that were dropped while runs were killed."""

    dropped: Counter[str] = field(default_factory=Counter)
    """How often each content was dropped."""
    unfinished_moves: int = 0
    """Kills that left a file recorded and not moved."""

    def drop_and_kill(
        self, site: Site, kept: Path, generator: random.Random, repetition: int
    ) -> None:
        """Drop files unless some are left; kill a run at a random instant after it moved the first file."""
        if not any(site.folder.iterdir()):
            self.dropped += drop_files(site, FILES * repetition)
        before = len(list(site.folder.iterdir()))
        process = start_run(site, kept)
        while process.poll() is None and len(list(site.folder.iterdir())) == before:
            time.sleep(0.001)
        time.sleep(generator.random() * generator.random() / 2)
        process.kill()
        process.communicate()
        self.unfinished_moves += bool(count_moves_left(site))


def count_moves_left(site: Site) -> int:
    """Return how many moves a killed run left, once its sessions are gone."""
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
    """Let a run end; assert that every file is where it belongs."""
    process = start_run(site, kept)
    _, errors = process.communicate()
    assert process.returncode in (0, 3), errors
    assert list(site.folder.iterdir()) == [], seed
    assert count_contents(kept) == dropped, seed
    registered = rows(site.engine, "SELECT uri, fingerprint FROM raster_files")
    rejected = rows(site.engine, "SELECT uri, fingerprint FROM rejected_files")
    paths = {file_uri(path): path for path in kept.rglob("*.tif")}
    assert Counter(uri for uri, _ in registered + rejected) == Counter(paths.keys()), seed
    for uri, fingerprint in registered + rejected:
        assert find_file(Path(path_of(uri)), ["/"]).fingerprint == fingerprint
    assert rows(site.engine, "SELECT * FROM moves") == []


def test_a_few_kills_lose_nothing_and_duplicate_nothing(site: Site, kept: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    generator, kills = random.Random(seed), Kills()
    for repetition in range(3):
        kills.drop_and_kill(site, kept, generator, repetition)
    run_and_check(site, kept, kills.dropped, f"seed {seed}")


@pytest.mark.soak
def test_fifty_kills_lose_nothing_and_duplicate_nothing(site: Site, kept: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    generator, kills = random.Random(seed), Kills()
    for repetition in range(500):
        kills.drop_and_kill(site, kept, generator, repetition)
        if repetition % 10 == 9:
            run_and_check(site, kept, kills.dropped, f"seed {seed}")
            if (
                repetition > 48 and kills.unfinished_moves >= 5
            ):  # a fast machine needs more kills for these
                break
    assert kills.unfinished_moves >= 5, f"seed {seed}"
