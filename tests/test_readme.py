"""The README is true: its commands are run in order, and print what it says. `...` stands for anything."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.server import free_port
from tests.commands import RASTERSOURCES, REPOSITORY, environment, run

README = (REPOSITORY / "README.md").read_text()
pytestmark = pytest.mark.skipif(
    "RASTERSOURCES_DATABASE_URL" in os.environ,
    reason="a database is given, PostgreSQL's programs may be missing",
)


def steps() -> list[tuple[str, str]]:
    """The commands of the console blocks, and the output that is printed below each."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if "<<'END'" in command:
                text, _, output = output.partition("END\n")
                command = f"{command}\n{text}END"
            found.append((command, output))
    return found


def matches(expected: str, output: str) -> bool:
    """Whether the output is the one expected, in which `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """The environment of someone who reads the README, and the port of the API."""
    port = free_port()
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "rastersources"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "sample_data").symlink_to(REPOSITORY / "sample_data")
    changes = environment(RASTERSOURCES_HOME=tmp_path / "home", RASTERSOURCES_PORT=str(port))
    changes["PATH"] = f"{programs}{os.pathsep}{changes['PATH']}"
    server = subprocess.Popen([*RASTERSOURCES, "serve"], env=changes, stdout=subprocess.DEVNULL)
    while True:
        assert server.poll() is None
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/v4/rastersources/")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield changes, port
    server.terminate()
    server.wait()


def test_the_commands_print_what_the_readme_says(
    tmp_path: Path, served: tuple[dict[str, str], int]
) -> None:
    changes, port = served
    assert len(steps()) >= 10
    for command, expected in steps():
        script = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        done = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, env=changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
        assert matches(expected, done.stdout), f"{command}\n{done.stdout}"
        assert done.returncode == (3 if "[truncated]" in expected else 0)


def test_make_run_prints_what_the_readme_says(tmp_path: Path) -> None:
    block = README.partition("$ make run\n")[2].partition("```")[0]
    expected = block.partition("\n")[2]  # what setup.sh prints is seen on a fresh machine only
    port = str(free_port())
    changes = environment(RASTERSOURCES_HOME=tmp_path, RASTERSOURCES_PORT=port)
    up = [*RASTERSOURCES, "up", "--config", "sample_data/sources.toml", "--create"]
    process = subprocess.Popen(
        up, cwd=REPOSITORY, env=changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    printed = ""
    while "registered" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += "" if line.endswith("files done\n") else line
    process.terminate()
    process.communicate()
    assert matches(expected.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), printed), printed


def test_make_help_names_the_commands_of_the_readme() -> None:
    text = run(["make", "help"]).stdout
    assert "make run" in text
    assert "make test" in text
    makefile = (REPOSITORY / "Makefile").read_text()
    block = README.partition("$ make test\n")[2].partition("```")[0]
    for line in block.splitlines():
        if line.startswith((".venv/bin/", "tests/")):
            assert line.replace(".venv/bin", "$(BIN)") in makefile


def test_links_lead_to_files() -> None:
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
