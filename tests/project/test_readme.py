"""The README is true: its commands are run in order, and print what it says. `...` stands for anything."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.cli.ports import free_port
from pipeline.cli.prefect_password import server_password
from tests.support.commands import (
    RASTERSOURCES,
    REPOSITORY,
    environment,
    processes_of,
    run,
    without_progress,
)
from tests.support.needs import needs_own_cluster
from tests.support.prefect_server import Prefect, add_database
from tests.support.private_clusters import add_cluster

README = (REPOSITORY / "README.md").read_text()
pytestmark = needs_own_cluster


def steps(kind: str, text: str = README) -> list[tuple[str, str]]:
    """The commands of the blocks of a kind, and the output that is printed below each."""
    found: list[tuple[str, str]] = []
    for block in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL):
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


class Reader:
    """Someone who reads the README, in an empty folder beside sample_data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"8000": str(free_port()), "4200": str(free_port())}
        programs = folder / "bin"
        programs.mkdir()
        command = programs / "rastersources"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.cli "$@"\n')
        command.chmod(0o755)
        (folder / "sample_data").symlink_to(REPOSITORY / "sample_data")
        self.home = folder / "home"
        add_database(self.home / "prefect")
        self.changes = environment(
            RASTERSOURCES_HOME=self.home,
            RASTERSOURCES_PORT=self.ports["8000"],
            RASTERSOURCES_PREFECT_PORT=self.ports["4200"],
        )
        del self.changes["RASTERSOURCES_WORKERS"]  # as many as a user has
        self.changes["PATH"] = f"{programs}{os.pathsep}{self.changes['PATH']}"

    def here(self, text: str) -> str:
        """A text of the README, with the ports of this test."""
        ports = "|".join(self.ports)
        return re.sub(rf"(?<=127\.0\.0\.1:)({ports})\b", lambda found: self.ports[found[0]], text)

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Begin with a command as it is printed."""
        return subprocess.Popen(
            ["sh", "-c", self.here(command)], cwd=self.folder, env=self.changes, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def follow(self, steps: Iterable[tuple[str, str]]) -> None:
        """Run commands, which print what is expected, and whose status is the one that goes with it."""
        for command, expected in steps:
            process = self.start(command)
            printed = "\n".join(without_progress(process.communicate()[0]))
            assert matches(self.here(expected), printed), f"{command}\n{printed}"
            changes = 2 if command == "rastersources plan" else 0
            assert process.returncode == (3 if "[truncated]" in expected else changes)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_the_commands_print_what_the_readme_says(reader: Reader) -> None:
    add_cluster(reader.home)
    server = subprocess.Popen(
        [*RASTERSOURCES, "serve"], env=reader.changes, stdout=subprocess.DEVNULL
    )
    until_it_answers(f"http://127.0.0.1:{reader.ports['8000']}/api/v4/rastersources/", server)
    try:
        assert len(steps("console")) >= 10
        reader.follow(steps("console"))
    finally:
        server.terminate()
        server.wait()


def test_the_commands_print_what_the_tutorial_says(reader: Reader) -> None:
    tutorial = (REPOSITORY / "docs" / "tutorial.md").read_text()
    reader.follow([("rastersources sync --create --config sample_data/sources.toml", "...")])
    assert len(steps("console", tutorial)) > 12
    reader.follow(steps("console", tutorial))


def until_it_answers(url: str, server: "subprocess.Popen[Any]") -> None:
    while True:
        assert server.poll() is None
        try:
            httpx.get(url, timeout=60, verify=False)
            return
        except httpx.TransportError:
            time.sleep(0.05)


def test_a_file_put_into_a_folder_with_a_schedule_is_in_the_api_after_the_next_run(
    reader: Reader,
) -> None:
    with reader_of_schedules(reader) as after:
        for command, expected in after:
            if command.startswith("sleep "):
                until_served(reader, since=datetime.now(UTC))
            else:
                reader.follow([(command, expected)])


@pytest.mark.soak  # measures seconds, which fails on a machine that has too much to do
def test_a_file_in_a_scheduled_folder_is_in_the_api_when_the_readme_says(
    reader: Reader,
) -> None:
    with reader_of_schedules(reader) as after:
        reader.follow(after)


@contextmanager
def reader_of_schedules(reader: Reader) -> Iterator[list[tuple[str, str]]]:
    """Someone who has everything running, and whom the first scheduled run has served; the steps that are left."""
    section = README.partition("\n## Schedules\n")[2].partition("\n## ")[0]
    before, (command, expected), *after = divided(steps("", section))
    add_cluster(reader.home)
    reader.follow(before)
    up = reader.start(f"exec {command}")
    try:
        printed = until_synced(up)
        assert matches(reader.here(expected), printed), printed
        until_served(reader, since=datetime.fromtimestamp(0, UTC))
        yield after
    finally:
        up.terminate()
        up.communicate()


def divided(all_steps: list[tuple[str, str]]) -> Any:
    """Those before the one that stays in the foreground, that one, and those after it."""
    (number,) = (n for n, (command, _) in enumerate(all_steps) if " up " in command)
    return all_steps[:number], *all_steps[number:]


def until_synced(process: "subprocess.Popen[str]") -> str:
    """What it prints up to the end of the first sync; lines on the way there come from slow machines."""
    assert process.stdout
    printed = ""
    while "Ctrl-C stops everything." not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line if without_progress(line) else ""
    return printed


def until_served(reader: Reader, since: datetime) -> None:
    """Return when a scheduled run has ended that began since then: the reader is in no hurry."""
    query = {
        "flow_runs": {
            "state": {"type": {"any_": ["COMPLETED"]}},
            "start_time": {"after_": since.isoformat()},
        }
    }
    password = server_password(reader.home)
    prefect = Prefect(f"http://127.0.0.1:{reader.ports['4200']}/api", password)
    while True:
        runs = prefect.ask("flow_runs", **query)
        if any(run["deployment_id"] for run in runs):
            return
        time.sleep(0.3)


def test_make_run_prints_what_the_readme_says_and_ctrl_c_stops_everything(reader: Reader) -> None:
    block = README.partition("$ make run\n")[2].partition("```")[0]
    expected = block.partition("\n")[2]  # what setup.sh prints is seen on a fresh machine only
    up = reader.start(
        f"cd '{REPOSITORY}'; exec .venv/bin/python -m pipeline.cli up --config sample_data/sources.toml --create"
    )
    try:
        printed = until_synced(up)
    finally:
        os.killpg(up.pid, signal.SIGINT)  # as a terminal does
        printed_at_the_end, _ = up.communicate()
    assert matches(reader.here(expected), printed), printed
    assert (up.returncode, printed_at_the_end) == (0, "")
    assert processes_of(reader.home) == {}


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
