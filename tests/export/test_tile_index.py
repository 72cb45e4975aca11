"""The tile index: GDAL opens it as one mosaic, which equals the merge of the files by rasterio."""

import sqlite3
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.merge
from affine import Affine
from numpy.typing import NDArray

from pipeline.errors import CatalogueError, RunInProgress
from pipeline.export.target import lock
from pipeline.export.tile_index import gdal_path
from tests.export.conftest import Catalogue
from tests.support.database import execute
from tests.support.factory import write_raster
from tests.support.needs import needs_gdal

WEST, NORTH = 155_000, 463_000
RANDOM = np.random.default_rng(13)


def write_tile(
    path: Path, column: int, line: int, *, nodata: float | None = -9999, dtype: str = "float32", count: int = 1
) -> Path:  # fmt: skip
    """Write ten by ten random pixels of ten metres, a third of them nodata, at a position in the grid."""
    values: NDArray[Any] = RANDOM.integers(1, 100, (count, 10, 10)).astype(dtype)
    if nodata is not None:
        values[RANDOM.random((count, 10, 10)) < 0.3] = nodata
    transform = Affine(10, 0, WEST + 10 * column, 0, -10, NORTH - 10 * line)
    return write_raster(
        path, values=values, transform=transform, nodata=nodata, dtype=dtype, count=count
    )


def merge_by_rasterio(paths: Sequence[Path], nodata: float | None) -> NDArray[Any]:
    """Return the mosaic of files: a later file lies on top where it has data."""
    with warnings.catch_warnings():
        # rasterio's own arithmetic raises it
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        pixels, _ = rasterio.merge.merge(
            [str(path) for path in paths], method="last", nodata=nodata
        )
    return np.asarray(pixels)


def read_mosaic(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        assert dataset.driver == "GTI"
        assert dataset.crs.to_epsg() == 28992
        pixels: NDArray[Any] = dataset.read()
    return pixels


def assert_equals_merge(path: Path, paths: Sequence[Path], nodata: float | None) -> None:
    """Assert that the mosaic of an index equals the merge of files."""
    with rasterio.open(path) as dataset, rasterio.open(paths[0]) as first:
        assert dataset.dtypes == first.dtypes
        assert dataset.count == first.count
        assert dataset.res == first.res
        np.testing.assert_equal(dataset.nodata, nodata)
    np.testing.assert_array_equal(read_mosaic(path), merge_by_rasterio(paths, nodata))


def register_series(
    catalogue: Catalogue, name: str, places: Sequence[tuple[int, int]], **kind: Any
) -> list[Path]:
    """Register tiles as one source, each a day after the previous one; their names are in the opposite order."""
    last = len(places)
    paths = [
        write_tile(
            catalogue.folder / "open" / f"{name}_{last - day}_2024010{day + 1}T000000Z.tif",
            *place,
            **kind,
        )
        for day, place in enumerate(places)
    ]
    catalogue.register(name, *paths, temporal=True, pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$")
    return paths


PLACES = [(0, 0), (10, 0), (4, 5), (25, 13)]
"""The third tile lies over the first two; the last tile lies apart."""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("numbers", {"nodata": -9999}),
        ("nan", {"nodata": float("nan")}),
        ("bytes", {"nodata": 255, "dtype": "uint8", "count": 3}),
        ("doubles", {"nodata": -1.5, "dtype": "float64"}),
        ("int16", {"nodata": -32768, "dtype": "int16", "count": 2}),
    ],
)
def test_gdal_opens_the_mosaic(
    catalogue: Catalogue, tmp_path: Path, name: str, kind: dict[str, Any]
) -> None:
    paths = register_series(catalogue, name, PLACES, **kind)
    summary = catalogue.export("gti", tmp_path / "x.gti.gpkg", names=[name])
    assert (summary.files, summary.warnings) == (4, [])
    assert_equals_merge(tmp_path / "x.gti.gpkg", paths, kind["nodata"])


def test_files_without_nodata_cover_all_that_lies_below(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    paths = register_series(catalogue, "whole", PLACES[:3], nodata=None)
    catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["whole"])
    np.testing.assert_array_equal(read_mosaic(tmp_path / "x.gti.gpkg"), merge_by_rasterio(paths, 0))


def test_each_file_keeps_its_own_nodata(catalogue: Catalogue, tmp_path: Path) -> None:
    first = write_tile(catalogue.folder / "open" / "a_20240101T000000Z.tif", 0, 0, nodata=-9999)
    second = write_tile(catalogue.folder / "open" / "b_20240102T000000Z.tif", 5, 5, nodata=-1)
    third = write_tile(catalogue.folder / "open" / "c_20240103T000000Z.tif", 2, 8, nodata=-9999)
    catalogue.register(
        "mixed", first, second, third, temporal=True, pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$"
    )
    summary = catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["mixed"])
    assert "different nodata values" in summary.warnings[0]
    assert_equals_merge(tmp_path / "x.gti.gpkg", [first, second, third], -9999)


def test_files_that_are_not_one_mosaic_are_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(
        CatalogueError, match=r"do not form one mosaic(.|\n)*EPSG:28992(.|\n)*EPSG:3413"
    ):
        catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["rain", "polar"])
    with pytest.raises(CatalogueError, match="no raster file was found"):
        catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["nothing"])
    with pytest.raises(CatalogueError, match="RASTERSOURCES_ASSET_URLS"):
        catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["custom"])
    with pytest.raises(CatalogueError, match=r"must end with \.gti\.gpkg"):
        catalogue.export("gti", tmp_path / "x.gpkg", names=["rain"])
    south_up = write_raster(
        catalogue.folder / "open" / "up.tif", transform=Affine(10, 0, 0, 0, 10, 0)
    )
    catalogue.register("up", south_up)
    with pytest.raises(CatalogueError, match="north-up"):
        catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["up"])
    assert not list(tmp_path.glob("*.gpkg"))


def test_a_file_with_the_crs_of_its_definition_joins_the_mosaic_of_others(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    first = write_tile(catalogue.folder / "open" / "own.tif", 0, 0)
    second = write_raster(
        catalogue.folder / "open" / "assigned.tif", crs=None, nodata=-9999,
        transform=Affine(10, 0, WEST + 100, 0, -10, NORTH),
    )  # fmt: skip
    catalogue.register("own", first)
    catalogue.register("assigned", second, crs="EPSG:28992")
    catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["own", "assigned"])
    with rasterio.open(tmp_path / "x.gti.gpkg") as mosaic:
        assert mosaic.crs.to_epsg() == 28992
        pixels = mosaic.read(1)
    with rasterio.open(first) as west, rasterio.open(second) as east:
        np.testing.assert_array_equal(pixels, np.hstack([west.read(1), east.read(1)]))


def test_a_file_beside_the_grid_is_named(catalogue: Catalogue, tmp_path: Path) -> None:
    beside = write_raster(
        catalogue.folder / "open" / "beside.tif", transform=Affine(10, 0, WEST + 104, 0, -10, NORTH)
    )
    aligned = write_tile(catalogue.folder / "open" / "aligned.tif", 0, 0)
    catalogue.register("aligned", aligned)
    catalogue.register("beside", beside)
    summary = catalogue.export("gti", tmp_path / "x.gti.gpkg", names=["aligned", "beside"])
    assert summary.warnings == [
        "1 of the files do not lie on the grid of the others; GDAL reads their nearest pixels"
    ]


def test_files_that_the_caller_may_not_see_are_left_out(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    known = write_tile(catalogue.folder / "open" / "known.tif", 0, 0)
    hidden = write_tile(catalogue.folder / "hidden.tif", 10, 0)
    catalogue.register("half", known, hidden)
    target = tmp_path / "x.gti.gpkg"
    assert catalogue.export("gti", target, names=["half"]).not_public == 1
    assert_equals_merge(target, [known], -9999)
    assert catalogue.export("gti", target, names=["half"], user="admin").not_public == 0
    assert_equals_merge(target, [known, hidden], -9999)


def test_a_file_of_others_is_not_overwritten(catalogue: Catalogue, tmp_path: Path) -> None:
    target = tmp_path / "x.gti.gpkg"
    target.write_text("of somebody else")
    with pytest.raises(CatalogueError, match="is not an export"):
        catalogue.export("gti", target, names=["rain"])
    assert target.read_text() == "of somebody else"


def test_two_exports_do_not_write_one_index(catalogue: Catalogue, tmp_path: Path) -> None:
    target = tmp_path / "x.gti.gpkg"
    with (
        lock(tmp_path / ".x.gti.gpkg.lock", target),
        pytest.raises(RunInProgress, match=r"another export is writing .*x\.gti\.gpkg; wait"),
    ):
        catalogue.export("gti", target, names=["rain"])
    assert not target.exists()
    catalogue.export("gti", target, names=["rain"])


@pytest.mark.usefixtures("small_parts")
def test_it_follows_the_catalogue(catalogue: Catalogue, tmp_path: Path) -> None:
    paths = register_series(catalogue, "followed", PLACES)
    target = tmp_path / "x.gti.gpkg"
    assert catalogue.export("gti", target, names=["followed"]).parts_written == 4
    inode = target.stat().st_ino
    assert catalogue.export("gti", target, names=["followed"]).parts_unchanged == 4
    assert target.stat().st_ino == inode
    third, fourth = (catalogue.file_id(path.name) for path in paths[2:])
    execute(catalogue.engine, "UPDATE raster_files SET state = 'missing' WHERE id = :id", id=third)
    summary = catalogue.export("gti", target, names=["followed"])
    assert (summary.parts_written, summary.missing) == (1, 1)
    assert_equals_merge(target, [*paths[:2], paths[3]], -9999)
    execute(
        catalogue.engine,
        "DELETE FROM raster_files WHERE id = :id",
        id=fourth,
    )
    assert catalogue.export("gti", target, names=["followed"]).parts_removed == 1
    assert_equals_merge(target, paths[:2], -9999)
    added = write_tile(catalogue.folder / "open" / "followed_9_20240109T000000Z.tif", -7, 3)
    catalogue.register("followed", added, temporal=True, pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$")
    assert catalogue.export("gti", target, names=["followed"]).parts_written == 1
    assert_equals_merge(target, [*paths[:2], added], -9999)
    with sqlite3.connect(target) as link:
        rows, indexed = (
            link.execute(f"SELECT {column} FROM {table} ORDER BY 1").fetchall()
            for column, table in (("fid", "files"), ("id", "rtree_files_geom"))
        )
    assert len(rows) == 3
    assert indexed == rows


@pytest.mark.usefixtures("small_parts")
def test_a_killed_export_leaves_the_former_index_and_can_continue(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    paths = register_series(catalogue, "killed", PLACES)
    target = tmp_path / "x.gti.gpkg"
    catalogue.export("gti", target, names=["rain"])
    before = read_mosaic(target)
    # The kill comes when the copy of the former index exists.
    assert catalogue.kill_export("gti", target, 1, names=["killed"])
    np.testing.assert_array_equal(read_mosaic(target), before)
    with sqlite3.connect(tmp_path / ".x.gti.gpkg.partial") as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (4,)
    assert catalogue.export("gti", target, names=["killed"]).parts_written == 0
    assert_equals_merge(target, paths, -9999)


def run_ogrinfo(*words: str) -> str:
    done = subprocess.run(["ogrinfo", *words], check=True, capture_output=True, text=True)
    return done.stdout


@needs_gdal
def test_other_programs_read_it_as_a_geopackage(catalogue: Catalogue, tmp_path: Path) -> None:
    target = tmp_path / "x.gti.gpkg"
    register_series(catalogue, "read", PLACES)
    catalogue.export("gti", target, names=["read"])
    info = run_ogrinfo("-so", "-spat", "155210", "462800", "155400", "462850", str(target), "files")
    assert "Feature Count: 1\n" in info
    assert "Amersfoort / RD New" in info
    assert "RESX=10" in info
    run_ogrinfo(str(target), "-sql", "DELETE FROM files")  # the triggers of the spatial index work
    with sqlite3.connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM rtree_files_geom").fetchone() == (0,)


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("file:///data/a%20b.tif", "/data/a b.tif"),
        ("s3://bucket/a/b%20c.tif", "/vsis3/bucket/a/b c.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("https://example.org/a%20b.tif", "/vsicurl/https://example.org/a%20b.tif"),
        ("ftp://example.org/a.tif", "/vsicurl/ftp://example.org/a.tif"),
    ],
)
def test_urls_become_paths_of_gdal(href: str, path: str) -> None:
    assert gdal_path(href) == path


def test_a_url_that_gdal_does_not_open_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r'does not open "drive://files/a\.tif"'):
        gdal_path("drive://files/a.tif")
