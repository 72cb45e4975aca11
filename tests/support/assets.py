"""Copy the third-party files of the pages from npm: `python -m tests.support.assets` (`make assets`)."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.commands import REPOSITORY

STATIC = REPOSITORY / "pipeline" / "api" / "static"
LICENCES = STATIC / "vendor" / "ol" / "LICENSES-of-its-parts.txt"


def install(folder: Path) -> Path:
    """Install the pinned packages in a folder; raises CalledProcessError."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(STATIC / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "node_modules"


def vendored(packages: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield each vendored file of this repository, and its content in the packages."""
    targets = json.loads((STATIC / "package.json").read_text())["vendored"]
    for source, target in targets.items():
        content = (packages / source).read_bytes()
        # Developer tools of browsers would ask for the source map, which is not vendored.
        yield (
            REPOSITORY / target,
            content.replace(b"//# sourceMappingURL=ol.js.map", b"").rstrip() + b"\n",
        )
    yield LICENCES, licences(packages).encode()


def licences(packages: Path) -> str:
    """Return the licences of the packages that are parts of ol.js."""
    lock = json.loads((STATIC / "package-lock.json").read_text())["packages"]
    texts = []
    for path, package in sorted(lock.items()):
        if not path or package.get("dev") or path.endswith(("/ol", "/world-atlas")):
            continue
        name = path.removeprefix("node_modules/")
        files = sorted(file for file in (packages / name).glob("*") if "licen" in file.name.lower())
        text = (
            files[0].read_text() if files else f"Licence: {package.get('license', 'see package')}"
        )
        lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
        texts.append(f"{name} {package['version']}\n\n{lines}\n")
    return f"\n{'-' * 80}\n\n".join(texts)


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        for target, content in vendored(install(Path(temporary))):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            sys.stdout.write(f"{target.relative_to(REPOSITORY)}\n")
