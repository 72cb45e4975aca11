import os
import socket
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from pipeline.errors import NotAllowed, NotFound, Rejection
from pipeline.storage import (
    StoredFile,
    current_fingerprint,
    file_uri,
    find_file,
    list_files,
    literal_location,
)
from tests.support.unprivileged import unprivileged, unprivileged_folder


def list_paths(*paths: Path, root: Path) -> list[StoredFile | Rejection]:
    return list(list_files([literal_location(path) for path in paths], [root]))


def names(items: list[StoredFile | Rejection]) -> list[str]:
    return [item.path.name for item in items if isinstance(item, StoredFile)]


def codes(items: list[StoredFile | Rejection]) -> list[str]:
    return [item.code for item in items if isinstance(item, Rejection)]


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_yields_tif_and_tiff_files_in_any_case_and_in_order(tmp_path: Path) -> None:
    for name in ("b.TIFF", "a.tif", "sub/c.Tif", "note.txt", "tif", "z.tif.part"):
        touch(tmp_path / name)
    assert names(list_paths(tmp_path, root=tmp_path)) == ["a.tif", "b.TIFF", "c.Tif"]


def test_a_file_given_by_name_may_have_any_name(tmp_path: Path) -> None:
    file = touch(tmp_path / "raster.dat")
    assert names(list_paths(file, root=tmp_path)) == ["raster.dat"]


def test_files_come_once_in_the_order_of_the_arguments(tmp_path: Path) -> None:
    c, a = touch(tmp_path / "c.tif"), touch(tmp_path / "a.tif")
    touch(tmp_path / "b.tif")
    assert names(list_paths(c, a, c, root=tmp_path)) == ["c.tif", "a.tif"]
    assert names(list_paths(c, tmp_path, a, root=tmp_path)) == ["c.tif", "a.tif", "b.tif"]


@pytest.mark.parametrize(
    "name", ["new\nline.tif", "qu'ot\"es.tif", "per%cent 100%.tif", "é.tif", "#?&.tif"]
)
def test_the_uri_keeps_every_byte_of_a_name(tmp_path: Path, name: str) -> None:
    file = touch(tmp_path / name)
    (item,) = list_paths(tmp_path, root=tmp_path)
    assert item.uri.startswith("file:///")
    assert unquote_to_bytes(item.uri.removeprefix("file://")) == os.fsencode(file.resolve())


def test_a_name_that_is_not_utf_8_is_listed(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path.resolve()) + b"/caf\xe9.tif"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (item,) = list_paths(tmp_path, root=tmp_path)
    assert item.uri.endswith("/caf%E9.tif")


def test_names_in_two_unicode_forms_are_two_files(tmp_path: Path) -> None:
    touch(tmp_path / "caf\u00e9.tif")
    touch(tmp_path / "cafe\u0301.tif")
    assert len({item.uri for item in list_paths(tmp_path, root=tmp_path)}) == 2


def test_a_link_has_the_uri_of_its_target(tmp_path: Path) -> None:
    target = touch(tmp_path / "data" / "x.tif")
    link = tmp_path / "link.tif"
    link.symlink_to(target)
    (item,) = list_paths(link, root=tmp_path)
    assert item.uri == file_uri(target.resolve())


def test_a_file_with_several_links_is_listed_once(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    target, own = touch(outside / "x.tif"), touch(folder / "own.tif")
    for name in ("1.tif", "2.tif"):
        (folder / name).symlink_to(target)
    (folder / "0.tif").symlink_to(own)
    items = list_paths(folder, root=tmp_path)
    assert sorted(names(items)) == ["own.tif", "x.tif"]


@pytest.mark.parametrize("name", ["all", "all.tif"])
def test_a_link_to_a_folder_is_not_followed_below_a_listed_folder(
    tmp_path: Path, name: str
) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    touch(outside / "x.tif")
    touch(folder / "own.tif")
    link = folder / name
    link.symlink_to(outside, target_is_directory=True)
    assert names(list_paths(folder, root=tmp_path)) == ["own.tif"]
    assert names(list_paths(link, root=tmp_path)) == ["x.tif"]


def test_a_link_out_of_the_roots_is_not_allowed(tmp_path: Path) -> None:
    secret, root = touch(tmp_path / "secret.tif"), tmp_path / "root"
    root.mkdir()
    (root / "x.tif").symlink_to(secret)
    (root / "folder").symlink_to(tmp_path)
    items = list_paths(root, root=root)
    assert codes(items) == ["not_allowed"]
    assert not names(items)


def test_a_root_does_not_allow_a_folder_with_a_longer_name(tmp_path: Path) -> None:
    file = touch(tmp_path / "data2" / "x.tif")
    (tmp_path / "data").mkdir()
    assert codes(list_paths(file, root=tmp_path / "data")) == ["not_allowed"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.tif")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self.tif").symlink_to(tmp_path / "a" / "self.tif")
    items = list_paths(tmp_path, root=tmp_path)
    assert (names(items), codes(items)) == (["x.tif"], ["not_found"])


def test_folders_deeper_than_the_recursion_limit_are_walked(tmp_path: Path) -> None:
    folders = [f"{tmp_path}{'/d' * depth}" for depth in range(1, 1200)]
    for folder in folders:
        Path(folder).mkdir()
    file = Path(folders[-1], "x.tif")
    file.touch()
    try:
        assert names(list_paths(tmp_path, root=tmp_path)) == ["x.tif"]
    finally:  # pytest clears its folders by recursion
        file.unlink()
        for folder in reversed(folders):
            Path(folder).rmdir()


def test_pipes_sockets_and_devices_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(tmp_path, os.O_RDONLY)
        try:  # a socket's whole name must be short
            server.bind(f"/proc/self/fd/{folder}/socket.tif")
        finally:
            os.close(folder)
    assert codes(list_paths(tmp_path, root=tmp_path)) == ["not_a_file", "not_a_file"]
    assert codes(list_paths(Path("/dev/null"), root=Path("/dev"))) == ["not_a_file"]


def test_a_folder_called_x_tif_is_walked_as_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "x.tif" / "y.tif")
    assert names(list_paths(tmp_path, root=tmp_path)) == ["y.tif"]


def test_a_missing_name_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "gone.tif").symlink_to(tmp_path / "nothing.tif")
    assert codes(list_paths(tmp_path / "no.tif", tmp_path, root=tmp_path)) == ["not_found"] * 2
    with pytest.raises(NotFound):
        find_file(tmp_path / "no.tif", [tmp_path])


def test_a_broken_link_is_rejected_under_its_target_unless_the_walk_lists_that(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "folder"
    touch(folder / "deep" / "x.tif")
    (folder / "disk.tif").symlink_to("../away.tif")
    (folder / "lock").symlink_to("user@host:1")
    (folder / "deep" / "notes.tif").symlink_to("../gone.tif")
    items = list_paths(folder, root=tmp_path)
    assert names(items) == ["x.tif"]
    rejected = [item for item in items if isinstance(item, Rejection)]
    assert [(item.uri, item.code) for item in rejected] == [
        (file_uri(folder / "deep" / "notes.tif"), "not_found"),
        (file_uri(tmp_path / "away.tif"), "not_found"),
    ]


def test_a_folder_without_permission_is_rejected() -> None:
    with unprivileged_folder() as folder:
        (folder / "closed").mkdir(mode=0)
        with unprivileged():
            assert codes(list_paths(folder, root=folder)) == ["permission_denied"]


def test_sidecars_are_found_in_any_case_and_belong_to_one_file(tmp_path: Path) -> None:
    sidecars = ["x.tif.aux.xml", "x.TFW", "x.tif.ovr", "x.tif.msk", "x.RPB", "x_rpc.txt"]
    for name in ("x.tif", "xy.tif", "x.txt", *sidecars):
        touch(tmp_path / name)
    x, xy = list_paths(tmp_path, root=tmp_path)
    assert isinstance(x, StoredFile)
    assert isinstance(xy, StoredFile)
    assert set(x.sidecars) == set(sidecars)
    assert xy.sidecars == ()
    assert find_file(tmp_path / "x.tif", [tmp_path]) == x


def test_a_sidecar_outside_the_roots_rejects_its_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root / "x.tif")
    (root / "x.tif.aux.xml").symlink_to(touch(tmp_path / "secret.xml"))
    assert codes(list_paths(root, root=root)) == ["not_allowed"]


def test_a_sidecar_that_is_a_pipe_rejects_its_file(tmp_path: Path) -> None:
    touch(tmp_path / "x.tif")
    os.mkfifo(tmp_path / "x.tif.msk")
    assert codes(list_paths(tmp_path, root=tmp_path)) == ["not_a_file"]


@pytest.mark.parametrize("changed", ["x.tif", "x.tfw"])
def test_the_fingerprint_changes_with_the_file_and_with_its_sidecars(
    tmp_path: Path, changed: str
) -> None:
    for name in ("x.tif", "x.tfw"):
        touch(tmp_path / name)
    before = find_file(tmp_path / "x.tif", [tmp_path])
    assert current_fingerprint(before) == before.fingerprint
    os.utime(tmp_path / changed, ns=(1, 1))
    assert current_fingerprint(before) != before.fingerprint


def test_a_new_or_deleted_sidecar_changes_the_fingerprint(tmp_path: Path) -> None:
    touch(tmp_path / "x.tif")
    without_sidecar = find_file(tmp_path / "x.tif", [tmp_path])
    touch(tmp_path / "x.tif.ovr")
    with_sidecar = find_file(tmp_path / "x.tif", [tmp_path])
    (tmp_path / "x.tif.ovr").unlink()
    assert (
        with_sidecar.fingerprint != without_sidecar.fingerprint == current_fingerprint(with_sidecar)
    )


def test_a_file_outside_the_roots_is_not_allowed(tmp_path: Path) -> None:
    file = touch(tmp_path / "x.tif")
    with pytest.raises(NotAllowed):
        find_file(file, [tmp_path / "elsewhere"])


def test_listing_is_lazy(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.tif")
    late_file = tmp_path / "b" / "y.tif"
    late_file.parent.mkdir()
    files = list_files([literal_location(tmp_path)], [tmp_path])
    assert isinstance(next(files), StoredFile)
    touch(late_file)
    assert names(list(files)) == ["y.tif"]


def test_ten_thousand_files_are_listed_within_a_second(tmp_path: Path) -> None:
    for index in range(10_000):
        (tmp_path / f"{index}.tif").touch()
    before = time.process_time()
    assert sum(1 for _ in list_files([literal_location(tmp_path)], [tmp_path])) == 10_000
    assert time.process_time() - before < 1.0
