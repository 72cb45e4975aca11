"""The output of `inspect --stats`: for programs, and for people at 80 columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import write_raster


def inspect(*arguments: str | Path, status: int = 0) -> str:
    return run([*RASTERSOURCES, "inspect", *arguments], status=status, COLUMNS="80").stdout


def test_json_has_statistics_and_outline_only_when_asked(tmp_path: Path) -> None:
    values = np.arange(100.0).reshape(1, 10, 10)
    values[0, 9] = -9999
    path = write_raster(tmp_path / "a.tif", values=values)
    without_statistics, with_statistics = (
        json.loads(inspect("--json", *more, path)) for more in ([], ["--stats"])
    )
    assert [*without_statistics, "statistics", "valid_outline"] == list(with_statistics)
    statistics = with_statistics["statistics"]
    assert (statistics["approximate"], statistics["overview"]) == (False, None)
    (band,) = statistics["bands"]
    assert (band["min"], band["max"], band["mean"]) == (0, 89, 44.5)
    assert band["standard_deviation"] == pytest.approx(np.arange(90).std())
    assert (band["valid_count"], band["valid_share"]) == (90, 0.9)
    assert band["percentiles"]["50"] == 44.5
    assert sum(band["histogram"]["counts"]) == 90
    ring: list[Any] = with_statistics["valid_outline"]["coordinates"][0][0]
    assert with_statistics["valid_outline"]["type"] == "MultiPolygon"
    assert ring[0] == ring[-1]


def test_missing_statistics_are_null_with_a_warning(tmp_path: Path) -> None:
    empty = write_raster(tmp_path / "a.tif", values=np.full((1, 10, 10), -9999))
    complex_numbers = write_raster(tmp_path / "b.tif", dtype="complex64", nodata=None)
    lines = inspect("--json", "--stats", empty, complex_numbers).splitlines()
    first, second = map(json.loads, lines)
    (band,) = first["statistics"]["bands"]
    nulls = {"min", "max", "mean", "standard_deviation", "percentiles", "histogram"}
    assert {name for name in band if band[name] is None} == nulls
    assert (first["valid_outline"], first["warnings"]) == (None, [])
    assert (second["statistics"], second["valid_outline"]) == (None, None)
    assert [warning["code"] for warning in second["warnings"]] == ["no_statistics"]


def test_exact_reads_all_pixels_although_there_is_an_overview(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", width=64, height=64, overviews=[2])
    statistics = json.loads(inspect("--json", "--exact", path))["statistics"]
    assert (statistics["approximate"], statistics["bands"][0]["valid_count"]) == (False, 64 * 64)


def test_many_processes_keep_the_order_of_statistics(tmp_path: Path) -> None:
    paths = [
        write_raster(tmp_path / f"{index}.tif", values=np.full((1, 10, 10), index))
        for index in range(12)
    ]
    lines = inspect("--json", "--stats", "-j", "2", *paths).splitlines()
    bands = [json.loads(line)["statistics"]["bands"][0] for line in lines]
    assert [band["min"] for band in bands] == list(range(12))


def test_broken_pixels_reject_the_file_without_a_traceback(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", values=np.random.default_rng(1).random((1, 10, 10)), compress="deflate"
    )
    content = bytearray(path.read_bytes())
    content[-250:-50] = b"\xff" * 200
    path.write_bytes(content)
    record = json.loads(inspect("--json", "--stats", path, status=1))
    assert record["error"]["code"] == "unreadable"


def test_the_tables_fit_into_80_columns(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(3, 50, 50)) * 1e-12
    path = write_raster(
        tmp_path / "a.tif", count=3, width=50, height=50, nodata=np.nan, values=values, mask=True,
        crs="EPSG:32631", dtype="float64", overviews=[2],
    )  # fmt: skip
    printed = inspect("--stats", path)
    table = [line for line in printed.splitlines() if not line.startswith("file://")]
    assert max(map(len, table)) <= 80
    for part in (
        "tag GDAL_NODATA",
        "overview 1:2",
        "--exact",
        "█",
        "[mask]",
        "98%",
        "valid 100.00%",
    ):
        assert part in printed
