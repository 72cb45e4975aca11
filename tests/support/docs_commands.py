"""Run the commands of a page, and compare their output. `...` in an expected output stands for any text."""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.commands import REPOSITORY, environment, without_progress
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, add_database
from tests.support.warm_python import warm_python


def find_code_blocks(kind: str, text: str) -> list[str]:
    """Return the contents of code blocks of this kind."""
    return [
        match[1] for match in re.finditer(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def find_commands(kind: str, text: str) -> list[tuple[str, str]]:
    """Return the commands in code blocks of this kind, each with its expected output."""
    commands: list[tuple[str, str]] = []
    for block in find_code_blocks(kind, text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if "<<'END'" in command:
                text, _, output = output.partition("END\n")
                command = f"{command}\n{text}END"
            commands.append((command, output))
    return commands


def matches(expected: str, output: str) -> bool:
    """Whether an output is as expected; `...` in the expected one stands for any text."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


class DocsShell:
    """Runs the commands of a page in a folder with sample_data."""

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
        self.variables = environment(
            RASTERSOURCES_HOME=self.home,
            RASTERSOURCES_PORT=self.ports["8000"],
            RASTERSOURCES_PREFECT_PORT=self.ports["4200"],
            **SERVER_VARIABLES,
        )
        del self.variables["RASTERSOURCES_WORKERS"]  # use the default, as a user does
        self.variables["PATH"] = f"{programs}{os.pathsep}{self.variables['PATH']}"

    def with_ports(self, text: str) -> str:
        """Replace the ports in a text of the page by those of this test."""
        ports = "|".join(self.ports)
        return re.sub(
            rf"(127\.0\.0\.1:|--tcp )({ports})\b",
            lambda match: match[1] + self.ports[match[2]],
            text,
        )

    def start(self, command: str) -> "subprocess.Popen[str]":
        """Start a command of the page."""
        return subprocess.Popen(
            ["sh", "-c", self.with_ports(command)], cwd=self.folder, env=self.variables, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def follow(self, commands: Iterable[tuple[str, str]]) -> None:
        """Run commands, and check their output and their exit status."""
        for command, expected in commands:
            process = self.start(command)
            printed = "\n".join(without_progress(process.communicate()[0]))
            assert matches(self.with_ports(expected), printed), f"{command}\n{printed}"
            plan_status = 2 if command == "rastersources plan" or command.endswith(" --plan") else 0
            rejected = re.search(r"^rejected.*\[[a-z_]+\]$", expected, re.MULTILINE)
            rejected_status = 1 if command.startswith("rastersources inspect ") else 3
            assert process.returncode == (rejected_status if rejected else plan_status), command
