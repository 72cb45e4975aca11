"""Locations of entries in definitions and of arguments of the command line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import CatalogueError, Rejection
from pipeline.storage import (
    Location,
    StoredFile,
    file_uri,
    list_files,
    literal_location,
    parse_location,
)
from tests.support.unprivileged import unprivileged, unprivileged_folder


def list_entries(*entries: str, folder: Path) -> list[StoredFile | Rejection]:
    return list(list_files([parse_location(entry, folder) for entry in entries], [folder]))


def names(items: list[StoredFile | Rejection], folder: Path) -> list[str]:
    return [str(item.path.relative_to(folder)) for item in items if isinstance(item, StoredFile)]


def touch(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("rain", Location("/data/rain")),
        ("rain/*.tif", Location("/data/rain", "*.tif")),
        ("*.tif", Location("/data", "*.tif")),
        ("/other/r?in/**/*.tif", Location("/other", "r?in/**/*.tif")),
        ("../x/[ab].tif", Location("/data/../x", "[ab].tif")),
        ("file:///other/a%20b/*.tif", Location("/other/a b", "*.tif")),
        ("file:///other/%5Ba%5D/*%2A.tif", Location("/other/[a]", "*[*].tif")),
        ("FILE:///x.tif", Location("/x.tif")),
        ("s3://bucket", Location("s3://bucket")),
        ("s3://bucket/", Location("s3://bucket")),
        ("s3://bucket/*.tif", Location("s3://bucket", "*.tif")),
        ("s3://bucket/a%20b/**/c*/x.tif", Location("s3://bucket/a b", "**/c*/x.tif")),
        ("s3://bucket/100%25.tif", Location("s3://bucket/100%.tif")),
        (".", Location("/data")),
    ],
)
def test_an_entry_is_parsed_as_a_location(text: str, location: Location) -> None:
    assert parse_location(text, Path("/data")) == location


def test_arguments_are_literal_paths_or_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert literal_location("[a]*?.tif") == Location(f"{tmp_path}/[a]*?.tif")
    assert literal_location("a%20b") == Location(f"{tmp_path}/a%20b")
    assert literal_location("file:///a%20b/*") == Location("/a b/*")
    assert literal_location("s3://bucket/a%20*") == Location("s3://bucket/a *")


@pytest.mark.parametrize("text", ["*/../x", "file://host/x", "file:///x%00", "s3:///x"])
def test_an_invalid_location_is_an_error(text: str) -> None:
    with pytest.raises(CatalogueError):
        parse_location(text, Path("/data"))


FILES = [
    "a.tif", "b.dat", ".hidden.tif", "s/a.tif", "s/t/a.tif", "s/t/b.tif", "s.tif/a.tif", "s.tif/[x].tif",
    "u/t/a.TIF",
]  # fmt: skip
PARTS = st.sampled_from(
    ["*", "**", "?", "s", "t", "a.tif", "*.tif", "[a-s]*", "[!a]*", "s*", ".*", "[[]x].tif", "nothing"]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, min_size=1, max_size=4))
def test_globs_match_what_pathlib_finds(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "globs"
    if not folder.exists():
        touch(folder, *FILES)
    pattern = "/".join(parts)
    expected = set()
    for path in folder.glob(pattern):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        expected |= {file for file in files if path.is_file() or file.suffix.lower() == ".tif"}
    has_wildcard = any(sign in pattern for sign in "*?[")
    items = list_entries(pattern, folder=folder)
    assert sorted(names(items, folder)) == sorted(
        str(path.relative_to(folder)) for path in expected
    )
    assert (
        not has_wildcard
        or not expected
        or not [item for item in items if isinstance(item, Rejection)]
    )


def test_a_file_of_several_entries_comes_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "s/b.tif", "s/c.tif")
    (tmp_path / "link.tif").symlink_to(tmp_path / "s" / "c.tif")
    (tmp_path / "z").symlink_to(tmp_path / "s")
    items = list_entries("s/b.tif", "*.tif", "**/*", "s", ".", "z", folder=tmp_path)
    assert sorted(names(items, tmp_path)) == ["a.tif", "s/b.tif", "s/c.tif"]


def test_a_link_to_a_folder_is_followed_only_before_the_first_wildcard(tmp_path: Path) -> None:
    touch(tmp_path, "real/x.tif", "in/y.tif")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert list_entries("in/*/x.tif", folder=tmp_path) == []
    assert names(list_entries("in/**/*.tif", folder=tmp_path), tmp_path) == ["in/y.tif"]
    assert names(list_entries("in/link/*.tif", folder=tmp_path), tmp_path) == ["real/x.tif"]


@pytest.mark.parametrize("entry", ["d/a*", "d/a1", "d/*1/"])
def test_links_to_files_are_followed_in_folders_and_globs(tmp_path: Path, entry: str) -> None:
    touch(tmp_path, "d/a1/own.tif", "d/a1/s/x.tif", "d/b/z.tif", "d/c/y.tif")
    (tmp_path / "d/a1/file.tif").symlink_to("../b/z.tif")
    (tmp_path / "d/a1/folder").symlink_to("../c")
    (tmp_path / "d/a1/again.tif").symlink_to("s/x.tif")
    items = list_entries(entry, folder=tmp_path)
    assert sorted(names(items, tmp_path)) == ["d/a1/own.tif", "d/a1/s/x.tif", "d/b/z.tif"]


def test_the_folder_before_a_wildcard_must_exist(tmp_path: Path) -> None:
    (item,) = list_entries("gone/*.tif", folder=tmp_path)
    assert isinstance(item, Rejection)
    assert (item.uri, item.code) == (file_uri(tmp_path / "gone"), "not_found")
    touch(tmp_path, "here/x.dat")
    assert list_entries("here/*/x.tif", "*.tif", folder=tmp_path) == []


def test_a_folder_that_a_glob_cannot_list_is_rejected() -> None:
    with unprivileged_folder() as folder:
        touch(folder, "open/x.tif")
        (folder / "closed").mkdir(mode=0)
        with unprivileged():
            rejection, file = list_entries("*/*.tif", folder=folder)
        assert isinstance(rejection, Rejection)
        assert (rejection.uri, rejection.code) == (file_uri(folder / "closed"), "permission_denied")
        assert names([file], folder) == ["open/x.tif"]


def test_a_glob_lists_only_folders_that_can_match(tmp_path: Path) -> None:
    touch(tmp_path, "2024/tiles/x.tif")
    deep = tmp_path / "2024" / "other" / "gone"
    deep.parent.mkdir()
    deep.symlink_to(tmp_path / "nowhere")  # a walk into this folder would report it
    (deep.parent / "gone.tif").symlink_to(tmp_path / "nowhere")
    assert names(list_entries("2*/tiles/*.tif", folder=tmp_path), tmp_path) == ["2024/tiles/x.tif"]


def test_a_glob_rejects_the_broken_links_that_it_matches(tmp_path: Path) -> None:
    touch(tmp_path, "in/x.tif")
    (tmp_path / "in" / "sub").symlink_to(tmp_path / "away")
    assert names(list_entries("in/*.tif", "in/**/*.tif", folder=tmp_path), tmp_path) == ["in/x.tif"]
    for glob in ("i*/sub", "in/s*"):
        (item,) = list_entries(glob, folder=tmp_path)
        assert isinstance(item, Rejection)
        assert (item.uri, item.code) == (file_uri(tmp_path / "away"), "not_found")


def test_the_folder_of_the_sources_toml_may_have_wildcards_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "[x] *"
    touch(folder, "a.tif")
    assert names(list_entries("*.tif", folder=folder), folder) == ["a.tif"]
