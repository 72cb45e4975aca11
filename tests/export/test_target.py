"""The folder of an export: one export writes at a time, and it touches only its own files."""

from pathlib import Path

import pytest

from pipeline.errors import CatalogueError, RunInProgress
from pipeline.export.target import HIDDEN, Record, open_target


def test_two_exports_do_not_write_one_target(tmp_path: Path) -> None:
    with (
        open_target(tmp_path / "out", "stac"),
        pytest.raises(RunInProgress, match=r"another export is writing .*out; wait"),
        open_target(tmp_path / "out", "stac"),
    ):
        pass
    with open_target(tmp_path / "out", "stac") as target:
        assert target.parts("items") == []


@pytest.mark.parametrize("name", ["../letter.txt", "a/../../letter.txt", "/etc/passwd"])
def test_a_record_that_names_files_elsewhere_deletes_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "letter.txt").touch()
    with open_target(tmp_path / "out", "stac") as target:
        target.write("items", 3, Record("digest", [], [name]))
        with pytest.raises(CatalogueError, match="not below the target"):
            target.delete(target.read("items", 3).gone)
    assert (tmp_path / "letter.txt").exists()


@pytest.mark.parametrize(
    "names", [["letter.txt"], [f"{HIDDEN}/lease"], [f"{HIDDEN}/lock", f"{HIDDEN}/data/base"]]
)
def test_a_folder_of_others_is_refused(tmp_path: Path, names: list[str]) -> None:
    """The home of a private cluster counts as such a folder: its hidden folder has the name of that of an export."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with (
        pytest.raises(CatalogueError, match="has other files"),
        open_target(tmp_path, "stac"),
    ):
        pass
    assert {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    } == set(names)


def test_an_export_that_was_killed_at_its_start_can_continue(tmp_path: Path) -> None:
    hidden = tmp_path / HIDDEN
    hidden.mkdir()
    (hidden / "lock").touch()
    (hidden / "format.new").touch()
    with open_target(tmp_path, "stac"):
        written = (hidden / "format").stat()
    with open_target(tmp_path, "stac"):
        assert (hidden / "format").read_text() == "stac"
    assert (hidden / "format").stat() == written
    with (
        pytest.raises(CatalogueError, match="is an export to stac"),
        open_target(tmp_path, "geoparquet"),
    ):
        pass


@pytest.mark.parametrize("content", ['{"digest"', "{}", "[1]", '"digest"'])
def test_a_damaged_record_is_named_in_the_error(tmp_path: Path, content: str) -> None:
    with open_target(tmp_path / "out", "stac") as target:
        (tmp_path / "out" / HIDDEN / "items-000001.json").write_text(content)
        with pytest.raises(CatalogueError, match=r"items-000001\.json is damaged"):
            target.read("items", 1)


def test_a_part_without_files_is_forgotten(tmp_path: Path) -> None:
    with open_target(tmp_path / "out", "stac") as target:
        target.write("items", 1, Record("digest", ["a.json"]))
        assert target.parts("items") == [1]
        target.write("items", 1, Record())
        assert target.parts("items") == []
