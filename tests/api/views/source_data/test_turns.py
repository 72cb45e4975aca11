"""Organisations take turns with their uploads, and a file that hangs does not delay other organisations."""

import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import file_row
from pipeline.catalogue.users import grant_role
from pipeline.ingest import uploads
from pipeline.ingest.uploads import UploadWorker, process_until, process_waiting
from pipeline.raster import Budget, ProcessReader, ReadOptions
from tests.api.conftest import As
from tests.api.views.source_data.conftest import Source, run, upload_file
from tests.support.factory import write_raster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")

HANGING = """
    import time
    from pathlib import Path
    import sys
    import pipeline.raster.read
    reading = sys.modules["pipeline.raster.read"]

    def describe_file(file, *rest, original=reading.describe_file):
        if file.size == {size}:
            with open({log!r}, "a") as log:
                log.write(file.uri + "\\n")
            while not Path({released!r}).exists():
                time.sleep(0.02)
        return original(file, *rest)

    reading.describe_file = describe_file
"""
"""A program that makes reading processes hang at files of one size, as GDAL does at some files."""


@pytest.fixture
def other(engine: Engine, people: dict[str, str]) -> str:
    """Add another organisation that `admin` also administers; return its uuid."""
    statement = (
        "INSERT INTO organisations (name) VALUES ('Other') "
        "ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING uuid"
    )
    uuid = str(run(engine, statement).scalar_one())
    grant_role(engine, "admin", "Other", "admin")
    return uuid


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file at which reading hangs until `released` is beside it. The file `log` records each reading."""
    path = write_raster(tmp_path / "hanging.tif", tags={"NOTE": "x" * 1000})
    names = {"log": str(tmp_path / "log"), "released": str(tmp_path / "released")}
    (tmp_path / "log").touch()
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(HANGING).format(size=path.stat().st_size, **names)
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return path


@contextmanager
def run_workers(*workers: UploadWorker) -> Iterator[None]:
    """Run workers, as other servers do, until the end of the block."""
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


def read_states(engine: Engine, source_url: str) -> list[str]:
    """Return the states of the uploads of a source."""
    statement = (
        "SELECT state FROM uploads JOIN raster_sources AS source ON source.id = source_id "
        "WHERE source.uuid = CAST(:uuid AS uuid)"
    )
    uuid = source_url.rstrip("/").rpartition("/")[2]
    return [state for (state,) in run(engine, statement, uuid=uuid)]


def test_six_files_that_hang_do_not_delay_other_organisations(
    as_: As,
    source: Source,
    tif: Path,
    hanging: Path,
    other: str,
    engine: Engine,
    worker: UploadWorker,
) -> None:
    hanging_url, other_url, admin = source(), source(organisation=other), as_("admin")
    log, limit = hanging.with_name("log"), Budget(seconds=600)
    for _ in range(6):
        upload_file(admin, hanging_url, hanging)
    with run_workers(replace(worker, options=ReadOptions(budget=limit), readers=3)):
        try:
            wait_until(lambda: len(log.read_text().splitlines()) == 2, 600)
            task = upload_file(admin, other_url, tif)
            wait_until(lambda: admin.get(task).json()["status"] == "SUCCESS", 600)
            assert sorted(read_states(engine, hanging_url)) == ["processing"] * 2 + ["received"] * 4
        finally:
            hanging.with_name("released").touch()
        wait_until(lambda: read_states(engine, hanging_url) == ["committed"] * 6, 600)


def test_reading_processes_run_only_while_uploads_come(
    as_: As, source: Source, tif: Path, worker: UploadWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SECONDS_KEPT", 1.0)
    url, admin, others = source(), as_("admin"), find_reading_processes()
    with run_workers(replace(worker, readers=2)):
        time.sleep(1)
        assert find_reading_processes() == others
        for _ in range(2):
            task = upload_file(admin, url, tif)
            wait_until(lambda: admin.get(task).json()["status"] == "SUCCESS", 60)  # noqa: B023
            wait_until(lambda: find_reading_processes() == others, 60)


def find_reading_processes() -> set[int]:
    """Return the ids of the children of this process that read files."""
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
    task = upload_file(admin, url, hanging)
    with ProcessReader(1, file_row) as pool:
        impatient = replace(worker, pool=pool, options=ReadOptions(budget=Budget(seconds=0.5)))
        assert [outcome.state for outcome in process_waiting(impatient)] == ["rejected"]
        run(engine, "UPDATE uploads SET updated_at = now() - interval '1 hour'")
        assert process_waiting(impatient) == []
    failed = admin.get(task).json()
    assert (failed["status"], failed["result"]) == ("FAILURE", None)
    assert failed["detail"].startswith("timeout: ")
    assert len(hanging.with_name("log").read_text().splitlines()) == 1


def test_an_organisation_with_few_uploads_does_not_wait_for_others(
    as_: As, source: Source, tif: Path, other: str, engine: Engine, worker: UploadWorker
) -> None:
    busy_url, idle_url, admin = source(), source(organisation=other), as_("admin")
    for url in [busy_url] * 10 + [idle_url] * 2:
        upload_file(admin, url, tif)
    turns = worker.turns()
    for _ in range(4):
        assert [outcome.state for outcome in process_waiting(worker, turns)] == ["committed"]
    assert read_states(engine, idle_url) == ["committed"] * 2
    assert read_states(engine, busy_url).count("committed") == 2


def test_organisations_take_turns_with_several_servers_too(
    as_: As, source: Source, tif: Path, other: str, engine: Engine, worker: UploadWorker
) -> None:
    busy_url, idle_url, admin = source(), source(organisation=other), as_("admin")
    for url in [busy_url] * 80 + [idle_url] * 3:
        upload_file(admin, url, tif)
    with run_workers(worker, worker):
        wait_until(lambda: set(read_states(engine, busy_url)) == {"committed"}, 600)
    earlier = run(engine, "SELECT count(*) FROM uploads WHERE source_id = (SELECT min(source_id) FROM uploads) "
                 "AND updated_at < (SELECT max(updated_at) FROM uploads WHERE source_id = "
                 "(SELECT max(source_id) FROM uploads))").scalar_one()  # fmt: skip
    # Each of two servers has two readers, with one turn of the others before each of three uploads, and two under way.
    assert earlier <= 2 * (3 + 2)


def test_all_uploads_are_processed_when_only_a_few_are_looked_up_at_once(
    as_: As, source: Source, tif: Path, engine: Engine, worker: UploadWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("pipeline.ingest.upload_turns.MOST_KNOWN", 2)
    monkeypatch.setattr("pipeline.ingest.upload_turns.SECONDS_BETWEEN_LOOKS", 3600.0)
    url = source()
    for _ in range(5):
        upload_file(as_("admin"), url, tif)
    turns = worker.turns()
    while process_waiting(worker, turns):
        pass
    assert read_states(engine, url) == ["committed"] * 5
