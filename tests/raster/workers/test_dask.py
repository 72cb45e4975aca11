"""Files are read in processes, by threads and on a real Dask cluster, with the same outcome."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from distributed import Client
from sqlalchemy import Engine, text

from pipeline.cli.runners import open_reader
from pipeline.errors import CatalogueError, Rejection, TransientError
from pipeline.raster import AssignedValues, FileOptions, RasterFile, ReadOptions, TimeRule
from pipeline.raster.workers.dask import DaskReader
from pipeline.raster.workers.threads import ThreadReader
from pipeline.raster.workers.versions import package_versions
from pipeline.settings import Runner, Settings, read_settings
from pipeline.storage import StoredFile
from tests.raster.workers.test_pool import list_rasters, write_copies
from tests.support.commands import RASTERSOURCES, run, without_progress
from tests.support.dask_cluster import FATAL, UNSEEN, Cluster, local_cluster
from tests.support.factory import write_raster
from tests.support.reading import keep_raster
from tests.support.waiting import wait_until

OPTIONS = ReadOptions()
Reader = Callable[[Sequence[StoredFile], FileOptions], Iterable[RasterFile | Rejection]]
CRASHING = ReadOptions(time_rule=None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with local_cluster(tmp_path_factory.mktemp("dask")) as started:
        yield started


@contextmanager
def open_runner(runner: Runner, address: str | None = None) -> Iterator[Reader]:
    with open_reader(Settings(workers=2), keep_raster, runner, address) as reader:
        yield reader


def write_mixed(folder: Path) -> list[StoredFile]:
    """Write some hundred files of many kinds, one in six of them broken in some way."""
    for index in range(240):
        path = folder / f"{index:03}_2024010{index % 9 + 1}T0000Z.tif"
        write_kind(path, index)
    return list_rasters(folder)


def write_kind(path: Path, index: int) -> None:
    match index % 30:
        case 0:
            path.write_bytes(b"")
        case 1:
            write_raster(path, crs=None)
        case 2:
            path.write_bytes(write_raster(path).read_bytes()[:300])
        case 3:
            write_raster(path, transform=None)
        case 4:
            path.write_bytes(b"not a TIFF")
        case _:
            write_raster(
                path, crs=("EPSG:28992", "EPSG:32631")[index % 2],
                transform=Affine(10, 0, 155_000 + 10 * index, 0, -10, 463_000),
                dtype=("float32", "uint8", "int16")[index % 3], nodata=(None, 0, 7)[index % 3],
                tags={"TIFFTAG_DATETIME": "2024:01:02 03:04:05"},
            )  # fmt: skip
            if index % 7 == 0:
                path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n5\n5\n")


@pytest.mark.parametrize("runner", ["threads", "dask"])
def test_every_runner_reads_the_same_in_the_same_order(
    runner: Runner, tmp_path: Path, cluster: Cluster
) -> None:
    files = write_mixed(tmp_path)
    with open_runner("processes") as reader:
        expected = list(reader(files, OPTIONS))
    with open_runner(runner, cluster.address if runner == "dask" else None) as reader:
        outcomes = list(reader(files, OPTIONS))
        again = list(reader(files[:10], OPTIONS))
    assert outcomes == expected
    assert again == expected[:10]
    codes = {outcome.code for outcome in expected if isinstance(outcome, Rejection)}
    assert codes == {"empty_file", "missing_crs", "truncated", "no_grid", "not_a_geotiff"}
    assert sum(isinstance(outcome, RasterFile) for outcome in expected) == 200


@pytest.mark.parametrize("runner", ["processes", "threads", "dask"])
def test_every_runner_assigns_values_by_file(
    runner: Runner, tmp_path: Path, cluster: Cluster
) -> None:
    for index in range(20):
        write_raster(tmp_path / f"{index:02}.tif", crs=None, nodata=None)
    files = list_rasters(tmp_path)
    values = [
        AssignedValues(f"EPSG:326{31 + index % 20}", nodata=str(index)) for index in range(20)
    ]
    options = {
        file.uri: replace(OPTIONS, assigned=assigned)
        for file, assigned in zip(files, values, strict=True)
    }
    with open_runner(runner, cluster.address if runner == "dask" else None) as reader:
        outcomes = [item for item in reader(files, options) if isinstance(item, RasterFile)]
    assert [(raster.georeference.projection, raster.fill_value) for raster in outcomes] == [
        (assigned.crs, f"{assigned.nodata}.0") for assigned in values
    ]


@pytest.mark.parametrize("runner", ["processes", "threads", "dask"])
def test_every_runner_dates_each_file_by_its_own_rule(
    runner: Runner, tmp_path: Path, cluster: Cluster
) -> None:
    files = write_copies(tmp_path, 50)
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(50)]
    options = {
        file.uri: replace(OPTIONS, time_rule=TimeRule(time))
        for file, time in zip(files, times, strict=True)
    }
    with open_runner(runner, cluster.address if runner == "dask" else None) as reader:
        outcomes = list(reader(files, options))
    assert [outcome.times for outcome in outcomes if isinstance(outcome, RasterFile)] == [
        (time,) for time in times
    ]


def test_a_worker_killed_with_work_costs_no_file(tmp_path: Path, cluster: Cluster) -> None:
    files = write_copies(tmp_path, 1_000)
    with (
        Client(cluster.address, set_as_default=False) as watcher,
        open_runner("dask", cluster.address) as reader,
        ThreadPoolExecutor(1) as threads,
    ):
        address, pid = next(iter(watcher.run(os.getpid).items()))
        os.kill(pid, signal.SIGSTOP)  # its chunks cannot be done before it is killed
        killing = threads.submit(kill_when_it_has_work, watcher, address, pid)
        outcomes = list(reader(files, OPTIONS))
        killing.result()
        assert address not in watcher.scheduler_info()["workers"]
    assert [outcome.uri for outcome in outcomes] == [file.uri for file in files]
    assert all(isinstance(outcome, RasterFile) for outcome in outcomes)


def kill_when_it_has_work(watcher: Client, address: str, pid: int) -> None:
    """Kill a worker as soon as the scheduler waits for its chunks; raise AssertionError if it never does."""
    try:
        wait_until(lambda: bool(watcher.processing()[address]))
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_file_that_crashes_its_process_costs_no_worker(tmp_path: Path, cluster: Cluster) -> None:
    files = write_copies(tmp_path, 2)
    with Client(cluster.address, set_as_default=False) as watcher:
        before = watcher.run(os.getpid)
        with open_runner("dask", cluster.address) as reader:
            outcomes = list(reader(files, CRASHING))
            after = list(reader(files, OPTIONS))
        assert before.items() <= watcher.run(os.getpid).items()
    assert [getattr(outcome, "code", "ok") for outcome in outcomes] == ["unreadable"] * 2
    assert all(isinstance(outcome, RasterFile) for outcome in after)


def test_a_file_that_ends_worker_after_worker_is_rejected_alone(tmp_path: Path) -> None:
    write_copies(tmp_path, 40)
    (tmp_path / "0017.tif").rename(tmp_path / f"0017 {FATAL}.tif")
    files = list_rasters(tmp_path)
    # Three workers, because Dask may not restart a worker that dies while it starts.
    with (
        local_cluster(tmp_path, 3, allowed_failures=0) as own_cluster,
        open_runner("dask", own_cluster.address) as reader,
    ):
        outcomes = list(reader(files, OPTIONS))
    assert [outcome.uri for outcome in outcomes] == [file.uri for file in files]
    rejected = {
        index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, Rejection)
    }
    assert list(rejected) == [17]
    assert rejected[17].code == "unreadable"
    assert "crashes the Dask workers (1 of them)" in rejected[17].message
    assert rejected[17].fingerprint == files[17].fingerprint


def test_a_file_that_only_this_machine_sees_is_an_error_of_the_machines(
    tmp_path: Path, cluster: Cluster
) -> None:
    write_copies(tmp_path, 1)
    (tmp_path / "0000.tif").rename(tmp_path / f"{UNSEEN}.tif")
    files = list_rasters(tmp_path)
    with open_runner("dask", cluster.address) as reader:
        with pytest.raises(CatalogueError, match="the same files at the same paths"):
            list(reader(files, OPTIONS))
        files[0].path.unlink()
        (rejection,) = reader(files, OPTIONS)
    assert isinstance(rejection, Rejection)
    assert rejection.code == "not_found"


def test_a_worker_of_another_version_reads_nothing(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pipeline.raster.workers.dask.package_versions",
        lambda: {**package_versions(), "PROJ": "4.9.3"},
    )
    with (
        open_runner("dask", cluster.address) as reader,
        pytest.raises(CatalogueError, match=r"has PROJ \d+\.\S+ instead of 4\.9\.3; give every"),
    ):
        list(reader(write_copies(tmp_path, 1), OPTIONS))


def test_a_worker_without_this_package_is_reported(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_over_there.py").write_text("def read_chunk(versions, job): ...")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        "pipeline.raster.workers.dask.read_chunk", import_module("not_over_there").read_chunk
    )
    with (
        open_runner("dask", cluster.address) as reader,
        pytest.raises(CatalogueError, match=r"does not have this package .*not_over_there"),
    ):
        list(reader(write_copies(tmp_path, 1), OPTIONS))


def test_a_rule_that_cannot_work_is_raised_to_the_reader(tmp_path: Path, cluster: Cluster) -> None:
    impossible = ReadOptions(time_rule=TimeRule(pattern="("))
    runners: list[tuple[Runner, str | None]] = [("threads", None), ("dask", cluster.address)]
    for runner, address in runners:
        with open_runner(runner, address) as reader:
            with pytest.raises(CatalogueError, match="pattern"):
                list(reader(write_copies(tmp_path, 3), impossible))
            assert len(list(reader(write_copies(tmp_path, 3), OPTIONS))) == 3


def test_a_scheduler_that_stops_gives_one_sentence(tmp_path: Path) -> None:
    files = write_copies(tmp_path, 300)
    with (
        local_cluster(tmp_path, 1) as own_cluster,
        open_runner("dask", own_cluster.address) as reader,
    ):
        results = iter(reader(files, OPTIONS))
        next(results)
        own_cluster.process.kill()
        with pytest.raises(TransientError, match="does not answer; start it and try again"):
            list(results)


def test_a_scheduler_without_workers_gives_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.raster.workers.dask.SECONDS_WITHOUT_WORKERS", 0.5)
    with (
        local_cluster(tmp_path, 0) as own_cluster,
        open_runner("dask", own_cluster.address) as reader,
        pytest.raises(TransientError, match="has no workers; start some"),
    ):
        list(reader(write_copies(tmp_path, 1), OPTIONS))


@pytest.mark.parametrize("address", ["here", "http://localhost:8786", "tcp://:1", "tcp://a:b", ""])
def test_an_invalid_address_is_an_error(address: str) -> None:
    with pytest.raises(CatalogueError, match="Dask scheduler"), open_runner("dask", address):
        pass


def test_a_scheduler_that_does_not_run_gives_one_sentence() -> None:
    with pytest.raises(TransientError, match="does not answer"), open_runner("dask", "127.0.0.1:1"):
        pass


@pytest.mark.parametrize("runner", ["processes", "threads"])
def test_only_dask_has_a_scheduler(runner: Runner) -> None:
    with pytest.raises(CatalogueError, match="--runner dask"), open_runner(runner, "tcp://a:1"):
        pass


def test_register_on_a_cluster_prints_the_usual_results(
    tmp_path: Path, cluster: Cluster, database_url: str, engine: Engine
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_copies(folder, 30)
    write_raster(folder / "nowhere.tif", crs=None)
    command = [*RASTERSOURCES, "register", folder, "--organisation", "Owner", "--create"]
    settings: dict[str, Any] = {
        "RASTERSOURCES_DATABASE_URL": database_url,
        "TMPDIR": tmp_path / "tmp",
    }
    (tmp_path / "tmp").mkdir()
    done = run([*command, "--scheduler", cluster.address], status=3, **settings)
    assert done.stdout.startswith("30 registered, 0 unchanged, 1 rejected")
    (rejection,) = without_progress(done.stderr)
    assert rejection.endswith("[missing_crs]")
    assert list((tmp_path / "tmp").iterdir()) == []
    again = run([*command, "--runner", "threads"], status=3, **settings)
    assert again.stdout.startswith("0 registered, 30 unchanged, 1 rejected")
    with engine.connect() as connection:
        count = connection.execute(text("SELECT count(*) FROM raster_files")).scalar_one()
    assert count == 30


def test_the_runner_of_the_settings_is_used_unless_another_is_named(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RASTERSOURCES_RUNNER", "dask")
    with (
        pytest.raises(CatalogueError, match="set the Dask scheduler"),
        open_reader(read_settings(), keep_raster),
    ):
        pass
    monkeypatch.setenv("RASTERSOURCES_SCHEDULER", cluster.address)
    with open_reader(read_settings(), keep_raster) as reader:
        assert isinstance(reader.__self__, DaskReader)  # type: ignore[attr-defined]
    with open_reader(read_settings(), keep_raster, "threads") as reader:
        assert isinstance(reader.__self__, ThreadReader)  # type: ignore[attr-defined]


def test_workers_import_neither_database_nor_flows_nor_web() -> None:
    code = "import sys, pipeline.raster.workers.dask; print(*sorted(sys.modules))"
    done = run([sys.executable, "-c", code])
    assert not {"sqlalchemy", "prefect", "fastapi", "psycopg", "typer"} & set(done.stdout.split())
