"""Moving dropped files loses none, doubles none and overwrites none."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Engine

from pipeline.catalogue import drop_files
from pipeline.catalogue.drop_moves import FileMove
from pipeline.catalogue.file_row import file_row
from pipeline.raster import ProcessReader
from pipeline.storage import EVERYWHERE, file_uri, find_file, list_files, literal_location
from tests.support.database import rows
from tests.support.drop_folder import Site, new_site, tree
from tests.support.factory import read_path, write_raster
from tests.support.s3 import Bucket


def test_all_files_with_one_name_are_kept(site: Site) -> None:
    site.add_source("rain")
    widths = (10, 11, 12)
    for width in widths:
        site.drop("rain.tif", width=width)
        assert site.sync().registered == 1
    kept = list(site.done.rglob("rain.tif"))
    assert {read_path(path).width for path in kept} == set(widths)
    assert rows(site.engine, "SELECT width FROM raster_files") == [(12,)]
    assert rows(site.engine, "SELECT * FROM tombstones") == []


def test_a_foreign_file_is_not_overwritten(site: Site) -> None:
    site.add_source("rain")
    for folder in (site.done, site.rejected):
        (folder / "rain.tif").write_bytes(b"not ours")
    site.drop("rain.tif")
    site.sync()
    site.drop("rain.tif", crs=None)
    site.sync()
    for folder in (site.done, site.rejected):
        assert (folder / "rain.tif").read_bytes() == b"not ours"
        assert len(tree(folder)) == 2


def test_the_same_file_dropped_twice_is_kept_once(site: Site) -> None:
    site.add_source("rain")
    path = site.drop("rain.tif")
    content, times = path.read_bytes(), path.stat().st_mtime_ns
    site.sync()
    path.write_bytes(content)
    os.utime(path, ns=(times, times))
    site.sync()
    assert (tree(site.folder), tree(site.done)) == ([], ["rain.tif"])
    assert site.files() == [("rain", "done/rain.tif")]


def test_other_content_with_the_same_size_and_time_is_kept_too(site: Site) -> None:
    site.add_source("rain")
    path = site.drop("rain.tif")
    content, times = path.read_bytes(), path.stat().st_mtime_ns
    site.sync()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times, times))
    site.sync()
    assert tree(site.folder) == []
    assert {(site.done / name).read_bytes()[-1] for name in tree(site.done)} == {
        content[-1],
        content[-1] ^ 1,
    }
    ((_, uri),) = site.files()
    assert (site.base / uri).read_bytes()[-1] == content[-1] ^ 1


def test_sidecars_go_with_their_file(site: Site) -> None:
    site.add_source("rain")
    for name in ("rain", "unknown"):
        site.drop(f"{name}.tif")
        (site.folder / f"{name}.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    site.sync()
    assert tree(site.folder) == []
    assert tree(site.done) == ["rain.tif", "rain.tif.aux.xml"]
    assert tree(site.rejected) == ["unknown.tif", "unknown.tif.aux.xml"]
    (stored,) = rows(site.engine, "SELECT fingerprint FROM raster_files")
    assert stored[0] == find_file(site.done / "rain.tif", ["/"]).fingerprint


def test_files_are_moved_to_another_file_system(site: Site) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == site.base.stat().st_dev:
        pytest.skip("this machine has no second file system")
    site.add_source("rain")
    path = site.drop("rain.tif")
    content, times = path.read_bytes(), path.stat().st_mtime_ns
    with TemporaryDirectory(dir=memory) as folder:
        site.sync(done=folder)
        kept = Path(folder, "rain.tif")
        assert (kept.read_bytes(), kept.stat().st_mtime_ns) == (content, times)
        assert (tree(site.folder), tree(Path(folder))) == ([], ["rain.tif"])
        assert rows(site.engine, "SELECT uri FROM raster_files") == [(file_uri(kept),)]


def begin_move(site: Site, code: str) -> Path:
    """Record a file as done and do not move it, as a run does that is killed in between; return its path."""
    work, path = site.configure(done="done", rejected="rejected"), site.drop(f"{code}.tif")
    file = find_file(path, ["/"])
    move = FileMove(file.uri, file_uri(site.done / path.name), file.fingerprint, file.sidecars)
    scope = drop_files.find_scope(site.engine, work.drop)
    (source,) = drop_files.find_candidates(site.engine, scope, [code])[code]
    folder = file_uri(site.folder) + "/"
    drop_files.register_dropped_file(
        site.engine, work.drop, folder, move, source.id, file_row(read_path(path))
    )
    assert site.files() == [(code, f"done/{code}.tif")]
    return path


def test_a_move_that_was_begun_is_finished_first(site: Site) -> None:
    site.add_source("rain")
    begin_move(site, "rain")
    assert site.sync().listed == 0
    assert (tree(site.folder), tree(site.done)) == ([], ["rain.tif"])
    assert site.files() == [("rain", "done/rain.tif")]


def test_a_finished_move_with_a_row_is_ended(site: Site) -> None:
    site.add_source("rain")
    path = begin_move(site, "rain")
    path.rename(site.done / "rain.tif")
    site.drop("rain_20240101.tif")
    assert site.sync().registered == 1
    assert tree(site.done) == ["rain.tif", "rain_20240101.tif"]


def test_a_file_that_changed_before_its_move_is_registered_anew(site: Site) -> None:
    site.add_source("rain")
    path = begin_move(site, "rain")
    write_raster(path, width=12)
    assert site.sync().registered == 1
    assert site.files() == [("rain", "done/rain.tif")]
    assert rows(site.engine, "SELECT width FROM raster_files") == [(12,)]


def test_a_file_that_disappeared_before_its_move_leaves_its_source(site: Site) -> None:
    site.add_source("rain")
    begin_move(site, "rain").unlink()
    site.sync()
    assert (site.files(), tree(site.done)) == ([], [])


def test_a_name_taken_meanwhile_is_not_overwritten(site: Site) -> None:
    site.add_source("rain")
    begin_move(site, "rain")
    (site.done / "rain.tif").write_bytes(b"not ours")
    site.sync()
    assert (site.done / "rain.tif").read_bytes() == b"not ours"
    ((_, uri),) = site.files()
    assert tree(site.done) == sorted(["rain.tif", uri.removeprefix("done/")])
    assert tree(site.folder) == []


def test_objects_are_registered_and_moved_like_files(
    engine: Engine, tmp_path: Path, bucket: Bucket
) -> None:
    with ProcessReader(1, file_row) as pool:  # its process finds the bucket by its environment
        check_objects(new_site(engine, pool, tmp_path), bucket)


def check_objects(site: Site, bucket: Bucket) -> None:
    site.add_source("rain", temporal=True)
    raster = write_raster(site.base / "any.tif").read_bytes()
    fields = {"folder": f"s3://{bucket.name}/in/", "done": f"s3://{bucket.name}/done",
              "rejected": f"s3://{bucket.name}/rejected"}  # fmt: skip
    assert site.sync(**fields).listed == 0
    for key in (
        "in/rain_20240101.tif",
        "in/rain_20240102.tif",
        "in/unknown.tif",
    ):
        bucket.put(key, raster)
    bucket.put("done/rain_20240102.tif", b"not ours")
    bucket.put("in/rain_20240101.tif.aux.xml", b"<PAMDataset></PAMDataset>")
    report = site.sync(**fields)
    assert (report.registered, [rejection.code for rejection in report.rejected]) == (
        2,
        ["unmatched"],
    )
    uris = [uri for (uri,) in rows(site.engine, "SELECT uri FROM raster_files ORDER BY times")]
    assert uris[0] == f"s3://{bucket.name}/done/rain_20240101.tif"
    assert sorted(bucket.keys()) == sorted([
        "done/rain_20240101.tif", "done/rain_20240101.tif.aux.xml", "done/rain_20240102.tif",
        uris[1].removeprefix(f"s3://{bucket.name}/"), "rejected/unknown.tif",
    ])  # fmt: skip
    listed = {
        file.uri: file for file in list_files([literal_location(uri) for uri in uris], EVERYWHERE)
    }
    stored = rows(site.engine, "SELECT uri, fingerprint FROM raster_files")
    assert {uri: file.fingerprint for uri, file in listed.items()} == dict(stored)
    assert site.sync(**fields).listed == 0
    site.add_source("unknown")
    assert site.sync(**fields).registered == 1
    assert site.rejections() == []
