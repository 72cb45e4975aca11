"""setup.sh installs only wheels, and adds packages for tests to a .venv that a program may be using."""

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
    """A small checkout with our setup.sh and the packages that it installs."""
    shutil.copy(REPOSITORY / "setup.sh", tmp_path)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "packages").mkdir()
    lines = ["--no-index", "--find-links packages", make_wheel(tmp_path / "packages", "running")]
    (tmp_path / "requirements.lock").write_text("\n".join(lines))
    lines.append(make_wheel(tmp_path / "packages", "testing"))
    (tmp_path / "requirements-dev.lock").write_text("\n".join(lines))
    return tmp_path


def make_wheel(folder: Path, name: str) -> str:
    """Make a wheel; return its line of a lock file."""
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
    return lock_line(path, name)


def make_source_package(folder: Path, name: str) -> str:
    """Make a package that must be built, which would run its code; return its line of a lock file."""
    path = folder / f"{name}-1.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for inside, text in (
            ("setup.py", "raise SystemExit('its code ran')"),
            ("PKG-INFO", f"Name: {name}\n"),
        ):
            entry = tarfile.TarInfo(f"{name}-1/{inside}")
            entry.size = len(text)
            file.addfile(entry, io.BytesIO(text.encode()))
    return lock_line(path, name)


def lock_line(path: Path, name: str) -> str:
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def run_setup(checkout: Path, lock: str, *, status: int = 0) -> str:
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
    run_setup(checkout, "requirements.lock")
    marker = checkout / ".venv" / "in use"
    marker.write_text("")
    assert run_setup(checkout, "requirements-dev.lock").startswith(
        "Adding the packages for the tests"
    )
    assert marker.exists()
    import_packages: list[str | Path] = [
        checkout / ".venv/bin/python",
        "-c",
        "import running, testing, ours",
    ]
    subprocess.run(import_packages, check=True)
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert run_setup(checkout, lock) == ""
    assert marker.exists()
    assert_refuses_a_source_package(checkout, "requirements-dev.lock")


def test_a_package_that_must_be_built_is_refused(checkout: Path) -> None:
    assert_refuses_a_source_package(checkout, "requirements.lock")


def assert_refuses_a_source_package(checkout: Path, lock: str) -> None:
    with (checkout / lock).open("a") as file:
        file.write("\n" + make_source_package(checkout / "packages", "sneaky"))
    output = run_setup(checkout, lock, status=1)
    assert "sneaky" in output
    assert "its code ran" not in output
