"""The third-party files of the pages are those of the pinned packages."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.assets import STATIC, install, vendored


def test_the_vendored_files_are_those_of_the_packages(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    try:
        packages = install(tmp_path)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm does not find the packages: {error}")
    differ = [target for target, content in vendored(packages) if target.read_bytes() != content]
    assert differ == []


def test_the_packages_are_pinned_with_hashes_and_without_a_host() -> None:
    text = (STATIC / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []
    assert "://" not in text


def test_every_third_party_folder_has_its_licence() -> None:
    folders = [path for path in (STATIC / "vendor").iterdir() if path.is_dir()]
    assert {folder.name for folder in folders} == {"ol", "world-atlas"}
    assert all(list(folder.glob("LICENSE*")) for folder in folders)
