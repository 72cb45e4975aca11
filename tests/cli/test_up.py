"""`rastersources up`, which `make run` calls: everything from one command, and all of it gone afterwards."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.schedules.prefect_server import served_port
from pipeline.cli.ports import free_port
from pipeline.cli.prefect_password import password_file, server_password
from tests.support.commands import (
    FLOWS,
    RASTERSOURCES,
    REPOSITORY,
    environment,
    processes_of,
    run,
)
from tests.support.prefect_server import Prefect, add_database

pytestmark = pytest.mark.skipif(
    "RASTERSOURCES_DATABASE_URL" in os.environ,
    reason="a database is given, PostgreSQL's programs may be missing",
)
SAMPLES = REPOSITORY / "sample_data" / "sources.toml"


class Running:
    """A running `up`, with what it printed."""

    def __init__(self, home: Path) -> None:
        self.port, self.pages = free_port(), free_port()
        self.lines: list[str] = []
        changes = environment(
            RASTERSOURCES_HOME=home,
            RASTERSOURCES_API_WORKERS="2",
            RASTERSOURCES_PORT=str(self.port),
            RASTERSOURCES_PREFECT_PORT=str(self.pages),
            TMPDIR=home,
        )
        self.process = subprocess.Popen(
            [*RASTERSOURCES, "up", "--config", SAMPLES, "--create"],
            env=changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)

    def records(self) -> dict[str, Any]:
        """The list, as soon as it answers."""
        while True:
            assert self.process.poll() is None, self.lines
            try:
                page = httpx.get(
                    f"http://127.0.0.1:{self.port}/api/v4/rastersources/", timeout=60
                ).json()
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            assert isinstance(page, dict)
            return page

    def wait_for_samples(self) -> None:
        while self.records()["count"] < 10:
            time.sleep(0.1)

    def wait_for_pages(self) -> None:
        while not is_open(self.pages):
            assert self.process.poll() is None, self.lines
            time.sleep(0.1)

    def end(self, number: int) -> int:
        """Send a signal as a terminal does, to the whole group; the exit status."""
        os.killpg(self.process.pid, number)
        status = self.process.wait()
        assert self.process.stdout
        return status


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("up")
    add_database(home / "prefect")
    return home


@pytest.fixture
def running(home: Path) -> Iterator[Running]:
    running = Running(home)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)
    assert running.process.stdout
    running.process.stdout.close()


def pids_of(home: Path, words: str) -> set[int]:
    """The processes in whose command line these words are."""
    return {pid for pid, command in processes_of(home).items() if words in command}


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_serves_the_samples_and_stops_all_that_it_started(
    home: Path, running: Running, number: int
) -> None:
    running.wait_for_samples()
    running.wait_for_pages()
    pages = f"http://127.0.0.1:{running.pages}"
    assert "<title>Prefect" in httpx.get(pages, timeout=60, follow_redirects=True).text
    assert httpx.get(f"{pages}/ui-settings", timeout=60).json()["api_url"] == f"{pages}/api"
    socket_folder = folder_of_the_socket(home)
    assert socket_folder.is_dir()
    assert running.end(number) == 0
    printed = "".join(running.lines)
    assert f"Prefect's pages are at {pages} " in printed
    assert f"the password in {password_file(home)}\n" in printed
    assert server_password(home) not in printed
    assert not is_open(running.pages)
    assert f"http://127.0.0.1:{running.port}/api/v4/rastersources/" in printed
    assert "Three commands worth trying" in printed
    assert "Traceback" not in printed
    assert "Error" not in printed
    assert processes_of(home) == {}
    assert not socket_folder.exists()
    assert not (home / "postgres" / "postmaster.pid").exists()


def folder_of_the_socket(home: Path) -> Path:
    """The runtime folder of the private cluster."""
    return Path((home / "postgres" / "rastersources.conf").read_text().split('"')[1])


def test_it_can_be_stopped_while_the_flow_starts(home: Path, running: Running) -> None:
    running.records()
    running.end(signal.SIGINT)
    assert "Traceback" not in "".join(running.lines)
    assert processes_of(home) == {}


def a_flow_beside_it_goes_to_its_server(home: Path, running: Running, folder: Path) -> None:
    config = folder / "sources.toml"
    config.write_text('[[source]]\nid = "beside"\nfiles = "*.tif"\norganisation = "Owner"\n')
    while served_port(home) != running.pages:
        time.sleep(0.1)
    run([*FLOWS, "sync", "--create", "--config", config], RASTERSOURCES_HOME=home)
    password = server_password(home)
    runs = Prefect(f"http://127.0.0.1:{running.pages}/api", password).ask("flow_runs")
    (beside,) = [one for one in runs if one["parameters"].get("config") == str(config)]
    assert beside["state_name"] == "Completed"


def test_a_part_that_ends_too_early_is_started_again_and_ends_with_a_kill(
    home: Path, running: Running, tmp_path: Path
) -> None:
    running.wait_for_pages()
    servers = pids_of(home, "flows.schedules.prefect_server")
    a_flow_beside_it_goes_to_its_server(home, running, tmp_path)
    for schedules in pids_of(home, "flow schedule"):
        os.kill(schedules, signal.SIGKILL)
    while not pids_of(home, "flows.schedules.prefect_server") - servers:
        time.sleep(0.1)
    (told,) = [line for line in running.lines if "ended" in line]
    assert told.startswith("rastersources: the schedules have ended (status -9)")
    running.process.kill()
    running.process.wait()
    while any("python" in command for command in processes_of(home).values()):
        time.sleep(0.1)
    assert not is_open(running.pages)
    run([*RASTERSOURCES, "db", "stop"], RASTERSOURCES_HOME=home)


def test_it_serves_when_the_flow_fails(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(
        '[[source]]\nid = "x"\nfiles = "*.tif"\norganisation = "Nobody"\n'
    )
    port = free_port()
    changes = environment(
        RASTERSOURCES_HOME=home,
        RASTERSOURCES_PORT=str(port),
        RASTERSOURCES_PREFECT_PORT=str(free_port()),
    )
    process = subprocess.Popen(
        [*RASTERSOURCES, "up"],
        cwd=tmp_path,
        env=changes,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        sentence = process.stderr.readline()
        assert 'there is no organisation "Nobody"' in sentence
        url = f"http://127.0.0.1:{port}/api/v4/rastersources/"
        assert httpx.get(url, timeout=60).status_code == 200
    finally:
        process.terminate()
        process.communicate()


def test_a_port_that_is_taken_is_one_sentence(home: Path) -> None:
    up = ["up", "--config", SAMPLES]
    free = {"RASTERSOURCES_PORT": str(free_port()), "RASTERSOURCES_PREFECT_PORT": str(free_port())}
    for command, setting in (
        (up, "RASTERSOURCES_PORT"),
        (["serve"], "RASTERSOURCES_PORT"),
        (up, "RASTERSOURCES_PREFECT_PORT"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            changes: dict[str, Any] = {**free, setting: port, "RASTERSOURCES_HOME": home}
            done = run([*RASTERSOURCES, *command], status=1, **changes)
        (sentence,) = done.stderr.splitlines()
        assert port in sentence
        assert f"{setting}=" in sentence
        assert done.stdout == ""


@pytest.mark.parametrize("command", [["up", "--config", SAMPLES], ["serve"]], ids=["up", "serve"])
@pytest.mark.parametrize("uploads", ["s3://", "s3://bucket/../up", "file://up"])
def test_a_wrong_location_of_uploads_is_one_sentence(
    home: Path, command: list[str | Path], uploads: str
) -> None:
    changes: dict[str, Any] = {
        "RASTERSOURCES_HOME": home,
        "RASTERSOURCES_PORT": free_port(),
        "RASTERSOURCES_PREFECT_PORT": free_port(),
        "RASTERSOURCES_UPLOADS": uploads,
    }
    done = run([*RASTERSOURCES, *command], status=1, **changes)
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f'rastersources: RASTERSOURCES_UPLOADS is not usable: "{uploads}" ')
    assert done.stdout == ""


def test_a_wrong_sources_toml_is_a_sentence_for_each_field_before_anything_starts(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\nid = 1\n")
    port = str(free_port())
    done = run(
        [*RASTERSOURCES, "up"],
        status=1,
        cwd=tmp_path,
        RASTERSOURCES_HOME=home,
        RASTERSOURCES_PORT=port,
    )
    named = [line.split(": ")[3] for line in done.stderr.splitlines()]
    assert named == ["files", "organisation", "id"]
