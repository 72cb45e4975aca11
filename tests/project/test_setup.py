"""setup.sh: packages come as wheels, and what tests need is added to a .venv that a program may be running from."""

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY, environment

BACKEND = """
import zipfile
def build_editable(folder, *_):
    with zipfile.ZipFile(f"{folder}/ours-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("ours.py", "")
        wheel.writestr("ours-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: ours\\nVersion: 1\\n")
        wheel.writestr("ours-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("ours-1.dist-info/RECORD", "")
    return "ours-1-py3-none-any.whl"
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "ours"
version = "1"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with our setup.sh, whose packages lie beside it."""
    shutil.copy(REPOSITORY / "setup.sh", tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "packages").mkdir()
    lines = ["--no-index", "--find-links packages", wheel(tmp_path / "packages", "running")]
    (tmp_path / "requirements.lock").write_text("\n".join(lines))
    lines.append(wheel(tmp_path / "packages", "testing"))
    (tmp_path / "requirements-dev.lock").write_text("\n".join(lines))
    return tmp_path


def wheel(folder: Path, name: str) -> str:
    """Make a wheel; its line of a lock file."""
    path, info = folder / f"{name}-1-py3-none-any.whl", f"{name}-1.dist-info"
    content = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as file:
        record = ""
        for inside, text in content.items():
            file.writestr(inside, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record += f"{inside},sha256={digest.decode()},{len(text)}\n"
        file.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return locked(path, name)


def source_package(folder: Path, name: str) -> str:
    """Make a package that must be built, which runs its code; its line of a lock file."""
    path = folder / f"{name}-1.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for inside, text in (
            ("setup.py", "raise SystemExit('its code ran')"),
            ("PKG-INFO", f"Name: {name}\n"),
        ):
            entry = tarfile.TarInfo(f"{name}-1/{inside}")
            entry.size = len(text)
            file.addfile(entry, io.BytesIO(text.encode()))
    return locked(path, name)


def locked(path: Path, name: str) -> str:
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def set_up(checkout: Path, lock: str, *, status: int = 0) -> str:
    changes = environment(RASTERSOURCES_DATABASE_URL="postgresql://given")
    done = subprocess.run(
        ["sh", checkout / "setup.sh", lock],
        env=changes,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (status == 0), done.stdout + done.stderr
    return done.stdout + done.stderr


def test_packages_for_tests_are_added_and_nothing_is_removed(checkout: Path) -> None:
    set_up(checkout, "requirements.lock")
    marker = checkout / ".venv" / "in use"
    marker.write_text("")
    assert set_up(checkout, "requirements-dev.lock").startswith("Adding the packages for the tests")
    assert marker.exists()
    imported: list[str | Path] = [
        checkout / ".venv/bin/python",
        "-c",
        "import running, testing, ours",
    ]
    subprocess.run(imported, check=True)
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert set_up(checkout, lock) == ""
    assert marker.exists()
    refuses_what_must_be_built(checkout, "requirements-dev.lock")


def test_a_package_that_must_be_built_is_refused(checkout: Path) -> None:
    refuses_what_must_be_built(checkout, "requirements.lock")


def refuses_what_must_be_built(checkout: Path, lock: str) -> None:
    with (checkout / lock).open("a") as file:
        file.write("\n" + source_package(checkout / "packages", "sneaky"))
    said = set_up(checkout, lock, status=1)
    assert "sneaky" in said
    assert "its code ran" not in said
