"""Someone who reads a page and types its commands. `...` stands for anything in what the page says they print."""

import os
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import REPOSITORY, environment, without_progress
from tests.support.ports import free_port
from tests.support.prefect_server import OF_SERVERS, add_database
from tests.support.warm_python import warm_python


def blocks(kind: str, text: str) -> list[str]:
    """The blocks of a kind."""
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found


def steps(kind: str, text: str) -> list[tuple[str, str]]:
    """The commands of the blocks of a kind, and the output that is printed below each."""
    found: list[tuple[str, str]] = []
    for block in blocks(kind, text):
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
        self.ports = {port: str(free_port()) for port in ("8000", "4200", "5433")}
        programs = folder / "bin"
        programs.mkdir()
        command = programs / "rastersources"
        command.write_text(f'#!/bin/sh\nexec "{warm_python()}" -m pipeline.cli "$@"\n')
        command.chmod(0o755)
        (folder / "sample_data").symlink_to(REPOSITORY / "sample_data")
        self.home = folder / ".rastersources"
        add_database(self.home / "prefect")
        self.changes = environment(
            RASTERSOURCES_HOME=self.home,
            RASTERSOURCES_PORT=self.ports["8000"],
            RASTERSOURCES_PREFECT_PORT=self.ports["4200"],
            **OF_SERVERS,
        )
        del self.changes["RASTERSOURCES_WORKERS"]  # as many as a user has
        self.changes["PATH"] = f"{programs}{os.pathsep}{self.changes['PATH']}"

    def here(self, text: str) -> str:
        """A text of a page, with the ports of this test."""
        ports = "|".join(self.ports)
        return re.sub(
            rf"(127\.0\.0\.1:|--tcp )({ports})\b",
            lambda found: found[1] + self.ports[found[2]],
            text,
        )

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
            changes = 2 if command == "rastersources plan" or command.endswith(" --plan") else 0
            rejected = re.search(r"^rejected.*\[[a-z_]+\]$", expected, re.MULTILINE)
            failure = 1 if command.startswith("rastersources inspect ") else 3
            assert process.returncode == (failure if rejected else changes), command


def until_it_answers(url: str, server: "subprocess.Popen[Any]") -> None:
    while True:
        assert server.poll() is None
        try:
            httpx.get(url, timeout=60, verify=False)
            return
        except httpx.TransportError:
            time.sleep(0.05)
