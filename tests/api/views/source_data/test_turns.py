"""Organisations take turns with their uploads, and a file that hangs delays no other organisation."""

import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.catalogue.file_row import file_row
from pipeline.catalogue.users import grant_role
from pipeline.ingest import uploads
from pipeline.ingest.uploads import UploadWorker, process_until, process_waiting
from pipeline.raster import Budget, ProcessReader, ReadOptions
from tests.api.conftest import As
from tests.api.views.source_data.conftest import Source, accepted, run
from tests.support.factory import write_raster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")

HANGING = """
    import time
    from pathlib import Path
    import sys
    import pipeline.raster.read
    reading = sys.modules["pipeline.raster.read"]

    def describe_file(file, *rest, really=reading.describe_file):
        if file.size == {size}:
            with open({log!r}, "a") as log:
                log.write(file.uri + "\\n")
            while not Path({released!r}).exists():
                time.sleep(0.02)
        return really(file, *rest)

    reading.describe_file = describe_file
"""
"""Makes the reading processes hang at files of one size, as GDAL does at some files."""

Ended = Callable[[str], list[str]]


@pytest.fixture
def other(engine: Engine, people: dict[str, str]) -> str:
    """Add another organisation that admin administers too, and return its uuid."""
    statement = (
        "INSERT INTO organisations (name) VALUES ('Other') "
        "ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING uuid"
    )
    uuid = str(run(engine, statement).scalar_one())
    grant_role(engine, "admin", "Other", "admin")
    return uuid


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file at which reading hangs until `released` is beside it; `log` records each reading."""
    path = write_raster(tmp_path / "hanging.tif", tags={"NOTE": "x" * 1000})
    names = {"log": str(tmp_path / "log"), "released": str(tmp_path / "released")}
    (tmp_path / "log").touch()
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(HANGING).format(size=path.stat().st_size, **names)
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return path


@contextmanager
def at_work(*workers: UploadWorker) -> Iterator[None]:
    """Other servers that process uploads."""
    stop = Event()
    threads = [Thread(target=process_until, args=(stop, worker)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def states(engine: Engine, source_url: str) -> list[str]:
    statement = (
        "SELECT state FROM uploads JOIN raster_sources AS source ON source.id = source_id "
        "WHERE source.uuid = CAST(:uuid AS uuid)"
    )
    uuid = source_url.rstrip("/").rpartition("/")[2]
    return [state for (state,) in run(engine, statement, uuid=uuid)]


def test_six_files_that_hang_delay_no_other_organisation(
    as_: As,
    source: Source,
    tif: Path,
    hanging: Path,
    other: str,
    engine: Engine,
    worker: UploadWorker,
) -> None:
    hasty, patient, admin = source(), source(organisation=other), as_("admin")
    log, limit = hanging.with_name("log"), Budget(seconds=600)
    for _ in range(6):
        accepted(admin, hasty, hanging)
    with at_work(replace(worker, options=ReadOptions(budget=limit), readers=3)):
        try:
            wait_until(lambda: len(log.read_text().splitlines()) == 2, 600)
            task = accepted(admin, patient, tif)
            wait_until(lambda: admin.get(task).json()["status"] == "SUCCESS", 600)
            assert sorted(states(engine, hasty)) == ["processing"] * 2 + ["received"] * 4
        finally:
            hanging.with_name("released").touch()
        wait_until(lambda: states(engine, hasty) == ["committed"] * 6, 600)


def test_processes_that_read_are_there_only_while_uploads_come(
    as_: As, source: Source, tif: Path, worker: UploadWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SECONDS_KEPT", 1.0)
    url, admin, others = source(), as_("admin"), reading_processes()
    with at_work(replace(worker, readers=2)):
        time.sleep(1)
        assert reading_processes() == others
        for _ in range(2):
            task = accepted(admin, url, tif)
            assert done(admin, task)
            wait_until(lambda: reading_processes() == others, 60)


def done(client: Client, task: str) -> bool:
    wait_until(lambda: client.get(task).json()["status"] == "SUCCESS", 60)
    return True


def reading_processes() -> set[int]:
    """The processes of this one that read files."""
    children: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        children.update((task / "children").read_text().split())
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return {
        pid for pid, command in commands.items() if b"pipeline.raster.workers.process" in command
    }


def test_a_file_that_hangs_is_read_once(
    as_: As, source: Source, hanging: Path, engine: Engine, worker: UploadWorker
) -> None:
    url, admin = source(), as_("admin")
    task = accepted(admin, url, hanging)
    with ProcessReader(1, file_row) as pool:
        hurried = replace(worker, pool=pool, options=ReadOptions(budget=Budget(seconds=0.5)))
        assert [row.state for row in process_waiting(hurried)] == ["rejected"]
        run(engine, "UPDATE uploads SET updated_at = now() - interval '1 hour'")
        assert process_waiting(hurried) == []
    failed = admin.get(task).json()
    assert (failed["status"], failed["result"]) == ("FAILURE", None)
    assert failed["detail"].startswith("timeout: ")
    assert len(hanging.with_name("log").read_text().splitlines()) == 1


def test_an_organisation_with_few_uploads_does_not_wait_for_one_with_many(
    as_: As, source: Source, tif: Path, other: str, engine: Engine, worker: UploadWorker
) -> None:
    much, little, admin = source(), source(organisation=other), as_("admin")
    for url in [much] * 10 + [little] * 2:
        accepted(admin, url, tif)
    turns = worker.turns()
    for _ in range(4):
        assert [row.state for row in process_waiting(worker, turns)] == ["committed"]
    assert states(engine, little) == ["committed"] * 2
    assert states(engine, much).count("committed") == 2


def test_organisations_take_turns_with_several_servers_too(
    as_: As, source: Source, tif: Path, other: str, engine: Engine, worker: UploadWorker
) -> None:
    much, little, admin = source(), source(organisation=other), as_("admin")
    for url in [much] * 80 + [little] * 3:
        accepted(admin, url, tif)
    with at_work(worker, worker):
        wait_until(lambda: set(states(engine, much)) == {"committed"}, 600)
    before = run(engine, "SELECT count(*) FROM uploads WHERE source_id = (SELECT min(source_id) FROM uploads) "
                 "AND updated_at < (SELECT max(updated_at) FROM uploads WHERE source_id = "
                 "(SELECT max(source_id) FROM uploads))").scalar_one()  # fmt: skip
    # Each server has two readers; a turn of the others before each of the three, and what was under way.
    assert before <= 2 * (3 + 2)


def test_more_uploads_than_are_known_at_a_time_are_all_processed(
    as_: As, source: Source, tif: Path, engine: Engine, worker: UploadWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("pipeline.ingest.upload_turns.MOST_KNOWN", 2)
    monkeypatch.setattr("pipeline.ingest.upload_turns.SECONDS_BETWEEN_LOOKS", 3600.0)
    url = source()
    for _ in range(5):
        accepted(as_("admin"), url, tif)
    turns = worker.turns()
    while process_waiting(worker, turns):
        pass
    assert states(engine, url) == ["committed"] * 5
