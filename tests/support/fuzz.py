"""Mutate real GeoTIFFs and read them: each must give a record or a clean rejection.

`python -m tests.support.fuzz 20000 [SEED]` reads 20,000 mutants; the suite reads some hundreds.
"""

import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.raster import Budget, ProcessReader, RasterFile, ReadOptions
from pipeline.storage import StoredFile, find_file
from tests.support.commands import CORPUS
from tests.support.factory import write_raster
from tests.support.reading import keep_raster

_LARGEST_SEED = 40_000
_SECONDS = 5.0
_MEGABYTES = 500
_CUT = 0.1
"""The share of mutants that are truncated. Most of these are rejected at once."""

_WITH_SIDECAR = 0.1
_SIDECAR = b"""<PAMDataset><SRS>EPSG:4326</SRS>
<GeoTransform> 5.0, 0.1, 0.0, 52.0, 0.0, -0.1</GeoTransform>
<PAMRasterBand band="1"><NoDataValue>-9</NoDataValue></PAMRasterBand></PAMDataset>"""
_WORKERS = 2
_EXTREMES = (b"\0", b"\1", b"\x7f", b"\x80", b"\xff")


@dataclass(frozen=True)
class Findings:
    """The results of reading the mutants."""

    outcomes: Counter[str]
    """The number of mutants by outcome: `record`, or the code of the rejection."""
    slowest: float
    """The longest time between two outcomes, in seconds."""
    peak_memory: float
    """The memory of the largest worker, in megabytes."""
    failures: tuple[Path, ...]
    """The mutants that made a process hang or crash. These files are kept."""


def seeds(folder: Path) -> list[bytes]:
    """Make small GeoTIFFs, and add those of the corpus if it is there; return their bytes."""
    made = [
        write_raster(folder / "plain.tif"),
        write_raster(folder / "big.tif", BIGTIFF="YES", dtype="float64"),
        write_raster(folder / "endian.tif", ENDIANNESS="BIG", count=3, dtype="int16"),
        write_raster(folder / "tiled.tif", width=64, height=64, overviews=(2, 4), tiled=True,
                     blockxsize=16, blockysize=16, compress="deflate", mask=True),
        write_raster(folder / "tags.tif", tags={"TIFFTAG_DATETIME": "2024:01:01 00:00:00"},
                     imagery={"ACQUISITIONDATETIME": "2024-01-01 00:00:00"},
                     descriptions=["2024-01-01T00:00:00Z"]),
    ]  # fmt: skip
    corpus = sorted(CORPUS.glob("*/*.[tT][iI][fF]*")) if CORPUS.exists() else []
    files = [path for path in (*made, *corpus) if 0 < path.stat().st_size <= _LARGEST_SEED]
    return [path.read_bytes() for path in files]


def mutate(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """Copy one of the originals, and change, splice, move or cut off some of its bytes."""
    data = bytearray(rng.choice(originals))
    for _ in range(rng.choice((1, 1, 2, 4, 8, 16))):
        # Half of the changes hit the first 512 bytes, where most headers are.
        position = rng.randrange(min(len(data), rng.choice((512, len(data)))) or 1)
        length = rng.choice((1, 2, 4, 8))
        match rng.randrange(7):
            case 0 | 1 | 2:
                data[position : position + 1] = bytes([rng.randrange(256)])
            case 3 | 4:
                data[position : position + length] = rng.choice(_EXTREMES) * length
            case 5:
                other = rng.choice(originals)
                start = rng.randrange(len(other))
                piece = other[start : start + rng.randrange(1, 512)]
                data[position : position + len(piece)] = piece
            case 6:  # this often overwrites one tag with another
                start = rng.randrange(len(data))
                data[position : position + 12] = data[start : start + 12]
    if rng.random() < _CUT:
        del data[rng.randrange(1, len(data)) :]
    return bytes(data)


def run(count: int, seed: int, folder: Path) -> Findings:
    """Read `count` mutants in worker processes. The same seed makes the same mutants."""
    originals = seeds(folder)
    outcomes: Counter[str] = Counter()
    failures = []
    options = ReadOptions(budget=Budget(seconds=_SECONDS))
    with np.errstate(all="ignore"), ProcessReader(_WORKERS, keep_raster) as reader:
        reader.wait_until_ready()
        slowest, last = 0.0, time.monotonic()
        for outcome in reader.read(_mutants(count, seed, originals, folder), options):
            slowest, last = max(slowest, time.monotonic() - last), time.monotonic()
            path = Path(outcome.uri.removeprefix("file://"))
            code = "record" if isinstance(outcome, RasterFile) else outcome.code
            outcomes[code] += 1
            if code == "timeout" or "crashes the process" in getattr(outcome, "message", ""):
                failures.append(path)
                print(path, outcome, flush=True)
            else:
                path.unlink()
                _sidecar_of(path).unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Findings(outcomes, slowest, peak, tuple(failures))


def _mutants(
    count: int, seed: int, originals: Sequence[bytes], folder: Path
) -> Iterator[StoredFile]:
    folder = folder.resolve()
    for number in range(count):
        path = folder / f"{seed}-{number}.tif"
        rng = random.Random(f"{seed}-{number}")
        path.write_bytes(mutate(rng, originals))
        if rng.random() < _WITH_SIDECAR:
            _sidecar_of(path).write_bytes(mutate(rng, [_SIDECAR]))
        yield find_file(path, [folder])


def _sidecar_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.aux.xml")


def main(count: int, seed: int) -> int:
    """Print the findings as JSON; return 1 when a mutant hung, crashed, or took too much time or memory."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    findings = run(count, seed, folder)
    seconds = round(time.monotonic() - started, 1)
    print(
        json.dumps(
            {**vars(findings), "failures": [*map(str, findings.failures)], "seconds": seconds}
        )
    )
    if not findings.failures:
        shutil.rmtree(folder)
    return int(
        bool(findings.failures) or findings.slowest > _SECONDS or findings.peak_memory > _MEGABYTES
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
