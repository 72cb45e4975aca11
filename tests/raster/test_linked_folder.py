import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.raster.linked_folder import linked_folder, remove_dead_folders
from tests.raster.workers.test_pool import find_readers, is_alive, write_copies
from tests.support.commands import REPOSITORY

HOLDER = """
    import sys, time
    from pipeline.raster.linked_folder import linked_folder

    with linked_folder({"a.tif": 0}) as folder:
        print(folder, flush=True)
        time.sleep(600)
"""
READER = """
    import sys, time
    from pathlib import Path
    from pipeline.raster import ReadOptions
    from pipeline.storage import list_files, literal_location
    from tests.support.reading import read_in_new_processes

    folder = Path(sys.argv[1])
    files = list_files([literal_location(folder)], [folder])
    print(len(list(read_in_new_processes(files, ReadOptions(), 2))), flush=True)
"""


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the temporary folder of this process and its children."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@contextmanager
def start_holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process with an open file and sidecars; return it and its folder."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER)], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_links_to_the_open_file_and_is_removed_after_its_block(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("as it was")
    with (tmp_path / "a").open() as file, linked_folder({"b.tif": file.fileno()}) as folder:
        (tmp_path / "a").unlink()
        (tmp_path / "a").write_text("another one")
        assert (folder / "b.tif").read_text() == "as it was"
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_only_folders_of_killed_processes_are_removed() -> None:
    with start_holder() as (living, used), start_holder() as (killed, left):
        killed.kill()
        killed.wait()
        remove_dead_folders()
        assert (used / "a.tif").is_symlink()
        assert is_alive(living.pid)
        assert not left.exists()


@pytest.mark.parametrize("kind", ["another name", "another mode", "a link", "another user"])
def test_folders_of_others_are_not_removed(
    tmp_path: Path, temporary_folder: Path, kind: str
) -> None:
    folder = temporary_folder / (
        "rastersources-other" if kind == "another name" else "rastersources-read-x"
    )
    target = tmp_path / "precious"
    (target if kind == "a link" else folder).mkdir(mode=0o755 if kind == "another mode" else 0o700)
    if kind == "a link":
        folder.symlink_to(target)
    if kind == "another user":
        if os.geteuid() != 0:
            pytest.skip("only root gives folders away")
        os.chown(folder, 65534, 65534)
    (folder / "kept").touch()
    remove_dead_folders()
    assert (folder / "kept").exists()


def test_killed_readers_leave_no_folders(tmp_path: Path, temporary_folder: Path) -> None:
    (files := tmp_path / "files").mkdir()
    for file in write_copies(files, 300):
        file.path.with_name(f"{file.name}.aux.xml").write_text("<PAMDataset/>")
    command = [sys.executable, "-c", textwrap.dedent(READER), str(files)]

    def folders() -> list[Path]:
        # Python's tempfile leaves its own trial file where it is killed.
        return list(temporary_folder.glob("rastersources-read-*"))

    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=REPOSITORY) as process:
            while process.poll() is None and not folders():
                pass
            workers = find_readers(process.pid)
            for pid in (process.pid, *workers):
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
        while any(map(is_alive, workers)):
            pass
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "300\n"
    assert folders() == []
