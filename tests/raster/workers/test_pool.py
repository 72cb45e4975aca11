import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import CatalogueError, Rejection, TransientError
from pipeline.raster import Budget, ProcessReader, RasterFile, ReadOptions, TimeRule
from pipeline.raster.read import read
from pipeline.raster.workers.pool import _Task, _Worker
from pipeline.storage import StoredFile, find_file, list_files, literal_location
from tests.support.commands import REPOSITORY
from tests.support.factory import write_raster
from tests.support.faulty_placement import FAULTY_WIDTH, FaultyPlacement, crash, hang, read_slowly
from tests.support.reading import keep_raster, read_in_new_processes

pytestmark = pytest.mark.usefixtures("new_children")

ENDLESS = TimeRule(pattern=r"(?P<time>(\d+)+)x\d")
"""A search with this pattern in a name of many digits practically never ends."""


def list_rasters(folder: Path) -> list[StoredFile]:
    items = list_files([literal_location(folder)], [folder])
    return [item for item in items if isinstance(item, StoredFile)]


def write_copies(folder: Path, count: int) -> list[StoredFile]:
    """Write copies of one file, called 0000.tif, 0001.tif and so on."""
    original = write_raster(folder / "0000.tif").read_bytes()
    for index in range(1, count):
        (folder / f"{index:04}.tif").write_bytes(original)
    return list_rasters(folder)


ListPids = Callable[[], list[int]]


@pytest.fixture
def list_new_readers() -> ListPids:
    """A function that lists the processes that read files for this test, without those of earlier tests."""
    before = find_readers(os.getpid())
    return lambda: [child for child in find_readers(os.getpid()) if child not in before]


def find_readers(pid: int) -> list[int]:
    """Return the processes that read files for a process, without servers of fixtures."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
        if b"pipeline.raster.workers.process" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_many_processes_read_the_same_as_one_in_the_same_order(tmp_path: Path) -> None:
    files = write_copies(tmp_path, 200)
    assert list(read_in_new_processes(files, ReadOptions(), 2)) == [read(file) for file in files]


def test_rejections_keep_their_place(tmp_path: Path) -> None:
    files: list[StoredFile | Rejection] = [*write_copies(tmp_path, 5)]
    (tmp_path / "bad.tif").write_bytes(b"no")
    files.insert(2, find_file(tmp_path / "bad.tif", [tmp_path]))
    files.insert(4, Rejection("file:///gone.tif", "not_found", "it is gone"))
    outcomes = list(read_in_new_processes(files, ReadOptions(), 2))
    assert [outcome.uri for outcome in outcomes] == [file.uri for file in files]
    rejected = {i: o.code for i, o in enumerate(outcomes) if isinstance(o, Rejection)}
    assert rejected == {2: "not_a_geotiff", 4: "not_found"}
    bad = outcomes[2]
    assert isinstance(bad, Rejection)
    assert (bad.size, bad.fingerprint) == (2, files[2].fingerprint)


def test_options_may_depend_on_the_file(tmp_path: Path) -> None:
    files = write_copies(tmp_path, 4)

    options = {
        file.uri: ReadOptions(budget=Budget(pixels=1 if file.path.name == "0002.tif" else 1000))
        for file in files
    }
    codes = [getattr(outcome, "code", "ok") for outcome in read_in_new_processes(files, options, 2)]
    assert codes == ["ok", "ok", "over_budget", "ok"]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the files in each chunk that a worker gets; chunks have 1, 2, 4, 8, ... files."""
    chunks: list[list[str]] = []
    assign = _Worker.assign

    def assign_and_list(worker: _Worker, tasks: list[_Task]) -> None:
        chunks.append([task.file.path.stem[:4] for task in tasks])
        assign(worker, tasks)

    monkeypatch.setattr(_Worker, "assign", assign_and_list)
    return chunks


def test_a_file_that_takes_too_long_is_rejected_at_once_and_alone(
    tmp_path: Path, chunks: list[list[str]]
) -> None:
    write_copies(tmp_path, 8)
    slow = tmp_path / f"0004{'1' * 60}.tif"
    (tmp_path / "0004.tif").rename(slow)
    options = ReadOptions(time_rule=ENDLESS, budget=Budget(seconds=0.5))
    files = list_files([literal_location(tmp_path)], [tmp_path])
    outcomes = list(read_in_new_processes(files, options, 1))
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
    assert [(item.uri.endswith(slow.name), item.code) for item in rejected] == [(True, "timeout")]
    assert len(outcomes) == 8
    first, rest = ["0003", "0004", "0005", "0006"], ["0003", "0005", "0006"]
    assert chunks == [["0000"], ["0001", "0002"], first, rest, ["0007"]]


@pytest.mark.parametrize(("fault", "code"), [(hang, "timeout"), (crash, "unreadable")])
def test_a_file_that_cannot_be_placed_is_rejected_and_the_rest_is_read(
    fault: Callable[[], None], code: str, tmp_path: Path, chunks: list[list[str]]
) -> None:
    files = write_odd_rasters(tmp_path)
    with ProcessReader(1, FaultyPlacement(fault)) as pool:
        outcomes = list(pool.read(files, ReadOptions(budget=Budget(seconds=1.0))))
    codes = [getattr(outcome, "code", "ok") for outcome in outcomes]
    assert codes == ["ok", "ok", "ok", "ok", code, "ok", "ok", "ok"]
    together = ["0003", "0004", "0005", "0006"]
    assert chunks[2:] == [together, *([name] for name in together), ["0007"]]


@pytest.mark.parametrize("fault", [hang, crash])
def test_files_that_cannot_be_placed_together_are_placed_alone(
    fault: Callable[[], None], tmp_path: Path
) -> None:
    files = write_odd_rasters(tmp_path)
    with ProcessReader(1, FaultyPlacement(fault, least=2)) as pool:
        outcomes = list(pool.read(files, ReadOptions(budget=Budget(seconds=1.0))))
    assert [outcome.uri for outcome in outcomes] == [file.uri for file in files]
    assert all(isinstance(outcome, RasterFile) for outcome in outcomes)


def write_odd_rasters(folder: Path) -> list[StoredFile]:
    """Write rasters of which one has the odd width."""
    write_copies(folder, 8)
    write_raster(folder / "0004.tif", width=FAULTY_WIDTH)
    return list_rasters(folder)


def test_a_chunk_may_take_longer_than_one_file(
    tmp_path: Path, chunks: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.raster.workers.pool.GRACE_SECONDS", 0.5)
    files = write_copies(tmp_path, 31)
    with ProcessReader(1, read_slowly) as pool:
        # The last chunk takes over two seconds, a file 0.15 seconds.
        outcomes = list(pool.read(files, ReadOptions(budget=Budget(seconds=1.0))))
    assert [getattr(outcome, "code", "ok") for outcome in outcomes] == ["ok"] * 31
    assert [len(chunk) for chunk in chunks] == [1, 2, 4, 8, 16]


def test_a_worker_that_is_killed_loses_no_file(tmp_path: Path, list_new_readers: ListPids) -> None:
    files = write_copies(tmp_path, 300)
    reading = read_in_new_processes(files, ReadOptions(), 2)
    outcomes = [next(reading)]
    for child in list_new_readers():
        os.kill(child, signal.SIGKILL)
    outcomes += reading
    assert [outcome.uri for outcome in outcomes] == [file.uri for file in files]
    assert all(isinstance(outcome, RasterFile) for outcome in outcomes)


def test_a_file_that_ends_its_process_again_is_unreadable_and_the_rest_is_read(
    tmp_path: Path, chunks: list[list[str]]
) -> None:
    files = write_copies(tmp_path, 6)
    fatal = ReadOptions(time_rule=None)  # type: ignore[arg-type]
    options = {file.uri: fatal if file is files[4] else ReadOptions() for file in files}
    outcomes = list(read_in_new_processes(files, options, 1))
    codes = [getattr(outcome, "code", "ok") for outcome in outcomes]
    assert codes == ["ok", "ok", "ok", "ok", "unreadable", "ok"]
    assert "AttributeError" in getattr(outcomes[4], "message", "")
    assert chunks[2:] == [["0003", "0004", "0005"], ["0003", "0005"], ["0004"]]


def test_processes_that_never_start_are_a_transient_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_executable = "pipeline.raster.workers.child.get_executable"
    monkeypatch.setattr(get_executable, lambda: "/bin/false")
    with pytest.raises(TransientError, match="exit status 1"):
        list(read_in_new_processes(write_copies(tmp_path, 3), ReadOptions(), 2))
    monkeypatch.setattr(get_executable, lambda: str(tmp_path / "no python"))
    with pytest.raises(TransientError, match="No such file"):
        list(read_in_new_processes(write_copies(tmp_path, 3), ReadOptions(), 2))


def test_a_rule_that_cannot_work_is_raised_to_the_reader(
    tmp_path: Path, list_new_readers: ListPids
) -> None:
    options = ReadOptions(time_rule=TimeRule(pattern="("))
    with pytest.raises(CatalogueError):
        list(read_in_new_processes(write_copies(tmp_path, 3), options, 1))
    assert list_new_readers() == []


def test_an_abandoned_reading_does_not_affect_the_next(tmp_path: Path) -> None:
    files = write_copies(tmp_path, 40)
    with ProcessReader(2, keep_raster) as pool:
        for _ in range(3):
            with pytest.raises(CatalogueError):
                list(pool.read(files, ReadOptions(time_rule=TimeRule(pattern="("))))
            abandoned = pool.read(files, ReadOptions())
            next(abandoned)
            outcomes = list(pool.read(files[10:], ReadOptions()))
            assert [outcome.uri for outcome in outcomes] == [file.uri for file in files[10:]]
            assert all(isinstance(outcome, RasterFile) for outcome in outcomes)


def test_files_are_taken_only_a_little_ahead(tmp_path: Path) -> None:
    (file,) = write_copies(tmp_path, 1)
    taken = 0

    def endless() -> Iterator[StoredFile]:
        nonlocal taken
        while True:
            taken += 1
            yield file

    reading = read_in_new_processes(endless(), ReadOptions(), 1)
    for _ in range(1000):
        next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert taken < 1000 + 500


def test_no_process_is_left_when_the_reading_stops(
    tmp_path: Path, list_new_readers: ListPids
) -> None:
    reading = read_in_new_processes(write_copies(tmp_path, 50), ReadOptions(), 2)
    next(reading)
    assert list_new_readers() != []
    reading.close()  # type: ignore[attr-defined]
    assert list_new_readers() == []


PARENT = """
    import signal, sys, time
    from pathlib import Path
    from pipeline.raster import ReadOptions
    from pipeline.storage import list_files, literal_location
    from tests.support.reading import read_in_new_processes

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets background programs ignore it
    folder = Path(sys.argv[1])
    files = list_files([literal_location(folder)], [folder])
    for index, _ in enumerate(read_in_new_processes(files, ReadOptions(), 2)):
        print(index, flush=True)
        time.sleep(0.1)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that reads for 40 seconds, and has read its first file."""
    write_copies(tmp_path, 400)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=REPOSITORY,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    with process:
        yield process
        process.kill()


def test_workers_end_when_their_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    workers = find_readers(parent.pid)
    assert workers
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, workers))


def test_only_the_parent_reacts_to_ctrl_c(parent: subprocess.Popen[str]) -> None:
    workers = find_readers(parent.pid)
    for worker in workers:
        os.kill(worker, signal.SIGINT)
    assert parent.stdout is not None
    lines = [parent.stdout.readline() for _ in range(5)]
    assert all(lines)
    assert find_readers(parent.pid) == workers
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert errors.count("Traceback") == 1
    assert not any(map(is_alive, workers))


def test_workers_import_neither_database_nor_flows_nor_web() -> None:
    code = "import sys, pipeline.raster.workers.process as w; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=REPOSITORY,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "rasterio" in loaded
    assert not loaded & {"sqlalchemy", "prefect", "fastapi", "psycopg", "typer", "pydantic"}
