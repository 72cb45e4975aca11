"""Registering small files: seconds, files per second, peak memory of every process, against plain rasterio.

    .venv/bin/python benchmarks/register.py [FILES]

Makes FILES (5,000) GeoTIFFs of 4 x 4 pixels on the RD grid in a temporary folder, registers them twice in a new
private cluster by the command line, and reads the same headers with rasterio alone in one process for comparison.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from threading import Event, Thread

import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

COMMAND = [sys.executable, "-m", "pipeline.cli"]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as folder, private_home() as environment:
        files = Path(folder, "files")
        make_files(files, count)
        alone = timed(lambda: read_headers(files))
        register = [*COMMAND, "register", str(files), "--organisation", "Benchmark", "--create"]
        first, memory = measured(register, environment)
        again, _ = measured(register, environment)
    print(f"{count} files, {os.cpu_count()} cores")
    for what, seconds in [
        ("rasterio's header alone, one process", alone),
        ("rastersources register", first),
        ("the same again, nothing changed", again),
    ]:
        print(f"{what:36} {seconds:6.1f} s {count / seconds:7.0f} files/s {seconds / alone:6.2f} x")
    print(f"{'largest process of ours':36} {memory / 2**20:6.0f} MiB")


@contextmanager
def private_home() -> Iterator[dict[str, str]]:
    """The environment of a new private cluster, which stays up between the runs."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "RASTERSOURCES_HOME": home}
        environment.pop("RASTERSOURCES_DATABASE_URL", None)
        subprocess.run([*COMMAND, "db", "start"], env=environment, check=True)
        try:
            subprocess.run(
                [*COMMAND, "db", "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL
            )
            yield environment
        finally:
            subprocess.run([*COMMAND, "db", "stop"], env=environment, check=True)


def make_files(folder: Path, count: int) -> None:
    """Small files side by side, in folders of a thousand: one that rasterio wrote, each with an origin of its own."""
    origin = 10_000.0, 400_000.0
    before, after = small_file(origin).split(pack("<2d", *origin))
    for number in range(count):
        target = folder / f"{number // 1000:03d}"
        target.mkdir(parents=True, exist_ok=True)
        moved = pack("<2d", origin[0] + 2 * (number % 1000), origin[1] + 2 * (number // 1000))
        (target / f"{number:06d}.tif").write_bytes(before + moved + after)


def small_file(origin: tuple[float, float]) -> bytes:
    """A GeoTIFF of 4 x 4 pixels on the RD grid."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=4, height=4, count=1, dtype="float32", nodata=-9999.0,
            crs="EPSG:28992", transform=from_origin(*origin, 0.5, 0.5),
        ):  # fmt: skip
            pass
        return memory.read()


def read_headers(folder: Path) -> None:
    """What rasterio needs for the same headers."""
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as dataset:
            _ = dataset.crs, dataset.transform, dataset.nodata, dataset.dtypes


def timed(work: object) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    work()  # type: ignore[operator]
    return time.monotonic() - began


def measured(
    command: list[str], environment: dict[str, str], folder: Path | None = None, status: int = 0
) -> tuple[float, int]:
    """Seconds, and the peak resident memory of its largest process in bytes."""
    done, peaks = Event(), [0]
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)

    def watch() -> None:
        while not done.wait(0.05):
            peaks.extend(peak_of(pid) for pid in descendants(process.pid))

    watcher = Thread(target=watch)
    watcher.start()
    process.wait()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    if process.returncode != status:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return seconds, max(peaks)


def descendants(pid: int) -> list[int]:
    """List a process and the processes below it; one that has ended has none below it."""
    pids = [pid]
    for parent in pids:
        try:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        except OSError:
            continue
    return pids


def peak_of(pid: int) -> int:
    """Peak resident memory in bytes (VmHWM), 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
