"""`rastersources up`, which `make run` calls: everything from one command, and all of it gone afterwards."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.schedules.prefect_server import served_port
from pipeline.cli.prefect_password import password_file, server_password
from tests.support.commands import (
    FLOWS,
    RASTERSOURCES,
    REPOSITORY,
    environment,
    find_processes,
    run,
    warm,
)
from tests.support.needs import needs_own_cluster
from tests.support.ports import free_port
from tests.support.prefect_server import SERVER_VARIABLES, Prefect, add_database
from tests.support.private_clusters import add_cluster

pytestmark = needs_own_cluster
SAMPLES = REPOSITORY / "sample_data" / "sources.toml"


class Running:
    """A running `up`, with what it printed."""

    def __init__(self, home: Path, config: Path, *options: str) -> None:
        self.port, self.pages = free_port(), free_port()
        self.lines: list[str] = []
        changes = environment(
            RASTERSOURCES_HOME=home,
            RASTERSOURCES_API_WORKERS="2",
            RASTERSOURCES_PORT=str(self.port),
            RASTERSOURCES_PREFECT_PORT=str(self.pages),
            TMPDIR=home,
            **SERVER_VARIABLES,
        )
        self.process = subprocess.Popen(
            [*warm(RASTERSOURCES), "up", "--config", config, *options],
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
                url = f"http://127.0.0.1:{self.port}/api/v4/rastersources/"
                page = httpx.get(url, timeout=60, verify=False).json()
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            assert isinstance(page, dict)
            return page

    def wait_for_samples(self) -> None:
        while self.records()["count"] < 10:
            time.sleep(0.1)

    def wait_for_pages(self) -> None:
        self.until(lambda: is_open(self.pages))

    def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            assert self.process.poll() is None, self.lines
            time.sleep(0.1)

    def lines_with(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]

    def end(self, number: int) -> int:
        """Send a signal as a terminal does, to the whole group; the exit status."""
        os.killpg(self.process.pid, number)
        status = self.process.wait()
        assert self.process.stdout
        return status


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("up")
    add_cluster(home)
    add_database(home / "prefect")
    return home


@contextmanager
def up(home: Path, config: Path, *options: str) -> Iterator[Running]:
    """A running `up`, which is ended at the end of the block."""
    running = Running(home, config, *options)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)
    assert running.process.stdout
    running.process.stdout.close()


@pytest.fixture
def running(home: Path) -> Iterator[Running]:
    """One that serves the samples."""
    with up(home, SAMPLES, "--create") as running:
        yield running


def pids_of(home: Path, words: str) -> set[int]:
    """The processes in whose command line these words are."""
    return {pid for pid, command in find_processes(home).items() if words in command}


def is_open(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_serves_the_samples_and_stops_all_that_it_started(home: Path, running: Running) -> None:
    running.wait_for_samples()
    running.wait_for_pages()
    running.until(lambda: bool(running.lines_with("Three commands worth trying")))
    pages = f"http://127.0.0.1:{running.pages}"
    assert "<title>Prefect" in httpx.get(pages, timeout=60, follow_redirects=True).text
    assert httpx.get(f"{pages}/ui-settings", timeout=60).json()["api_url"] == f"{pages}/api"
    socket_folder = folder_of_the_socket(home)
    assert socket_folder.is_dir()
    assert running.end(signal.SIGTERM) == 0  # the README's test has Ctrl-C
    printed = "".join(running.lines)
    assert f"Prefect's pages are at {pages} " in printed
    assert f"the password in {password_file(home)}\n" in printed
    assert server_password(home) not in printed
    assert not is_open(running.pages)
    assert f"http://127.0.0.1:{running.port}/api/v4/rastersources/" in printed
    assert printed.index(" registered, ") < printed.index("Three commands worth trying")
    assert "Traceback" not in printed
    assert "Error" not in printed
    assert find_processes(home) == {}
    assert not socket_folder.exists()
    assert not (home / "postgres" / "postmaster.pid").exists()


def folder_of_the_socket(home: Path) -> Path:
    """The runtime folder of the private cluster."""
    return Path((home / "postgres" / "rastersources.conf").read_text().split('"')[1])


def test_it_can_be_stopped_while_the_flow_starts(home: Path, running: Running) -> None:
    running.records()
    running.end(signal.SIGINT)
    assert "Traceback" not in "".join(running.lines)
    assert find_processes(home) == {}


def a_flow_beside_it_goes_to_its_server(home: Path, running: Running, folder: Path) -> None:
    config = folder / "sources.toml"
    config.write_text('[[source]]\nid = "beside"\nfiles = "*.tif"\norganisation = "Owner"\n')
    running.until(lambda: served_port(home) == running.pages)
    run([*FLOWS, "sync", "--create", "--config", config], RASTERSOURCES_HOME=home)
    password = server_password(home)
    runs = Prefect(f"http://127.0.0.1:{running.pages}/api", password).find("flow_runs")
    (beside,) = [one for one in runs if one["parameters"].get("config") == str(config)]
    assert beside["state_name"] == "Completed"


def test_it_serves_when_the_first_sync_fails_and_starts_again_what_ends(
    home: Path, tmp_path: Path
) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text('[[source]]\nid = "x"\nfiles = "*.tif"\norganisation = "Nobody"\n')
    with up(home, config) as running:
        running.until(lambda: bool(running.lines_with('there is no organisation "Nobody"')))
        running.records()
        running.wait_for_pages()
        servers = pids_of(home, "flows.schedules.prefect_server")
        a_flow_beside_it_goes_to_its_server(home, running, tmp_path)
        for schedules in pids_of(home, "flow schedule"):
            os.kill(schedules, signal.SIGKILL)
        running.until(lambda: bool(pids_of(home, "flows.schedules.prefect_server") - servers))
        (told,) = running.lines_with("ended")
        assert told.startswith("rastersources: the schedules have ended (status -9)")
        running.process.kill()
        running.process.wait()
    while any("python" in command for command in find_processes(home).values()):
        time.sleep(0.1)
    assert not is_open(running.pages)
    run([*RASTERSOURCES, "db", "stop"], RASTERSOURCES_HOME=home)


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
