"""`rastersources up`, which `make run` calls, starts everything and stops all of it at the end."""

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
    """A process that runs `up`, with its output."""

    def __init__(self, home: Path, config: Path, *options: str) -> None:
        self.port, self.prefect_port = free_port(), free_port()
        self.lines: list[str] = []
        changes = environment(
            RASTERSOURCES_HOME=home,
            RASTERSOURCES_API_WORKERS="2",
            RASTERSOURCES_PORT=str(self.port),
            RASTERSOURCES_PREFECT_PORT=str(self.prefect_port),
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

    def wait_for_list(self) -> dict[str, Any]:
        """Return the list of raster sources, as soon as the API answers."""
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
        while self.wait_for_list()["count"] < 10:
            time.sleep(0.1)

    def wait_for_pages(self) -> None:
        self.wait_until(lambda: is_open(self.prefect_port))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.process.poll() is None, self.lines
            time.sleep(0.1)

    def lines_with(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]

    def send_signal(self, signal_number: int) -> int:
        """Send a signal to the whole group, as a terminal does; return the exit status."""
        os.killpg(self.process.pid, signal_number)
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
    """Run `up` until the end of the block."""
    running = Running(home, config, *options)
    yield running
    if running.process.poll() is None:
        running.send_signal(signal.SIGTERM)
    assert running.process.stdout
    running.process.stdout.close()


@pytest.fixture
def running(home: Path) -> Iterator[Running]:
    """An `up` that serves the samples."""
    with up(home, SAMPLES, "--create") as running:
        yield running


def find_pids(home: Path, words: str) -> set[int]:
    """Return the ids of the processes with these words in their command line."""
    return {pid for pid, command in find_processes(home).items() if words in command}


def is_open(port: int) -> bool:
    """Return whether a program listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_serves_the_samples_and_stops_all_that_it_started(home: Path, running: Running) -> None:
    running.wait_for_samples()
    running.wait_for_pages()
    running.wait_until(lambda: bool(running.lines_with("Three commands worth trying")))
    pages = f"http://127.0.0.1:{running.prefect_port}"
    assert "<title>Prefect" in httpx.get(pages, timeout=60, follow_redirects=True).text
    assert httpx.get(f"{pages}/ui-settings", timeout=60).json()["api_url"] == f"{pages}/api"
    second = run([*RASTERSOURCES, "up", "--config", SAMPLES], status=1, RASTERSOURCES_HOME=home)
    assert second.stderr.startswith(
        f"rastersources: a server of {home} runs at http://127.0.0.1:{running.port}; open that, "
    )
    socket_folder = find_socket_folder(home)
    assert socket_folder.is_dir()
    assert running.send_signal(signal.SIGTERM) == 0  # the test of the README sends Ctrl-C
    printed = "".join(running.lines)
    assert f"Prefect's pages are at {pages} " in printed
    assert f"the password in {password_file(home)}\n" in printed
    assert server_password(home) not in printed
    assert not is_open(running.prefect_port)
    assert f"http://127.0.0.1:{running.port}/api/v4/rastersources/" in printed
    assert printed.index(" registered, ") < printed.index("Three commands worth trying")
    assert "Traceback" not in printed
    assert "Error" not in printed
    assert find_processes(home) == {}
    assert not socket_folder.exists()
    assert not (home / "postgres" / "postmaster.pid").exists()


def find_socket_folder(home: Path) -> Path:
    """Return the runtime folder of the private cluster."""
    return Path((home / "postgres" / "rastersources.conf").read_text().split('"')[1])


def test_it_can_be_stopped_while_the_flow_starts(home: Path, running: Running) -> None:
    running.wait_for_list()
    running.send_signal(signal.SIGINT)
    assert "Traceback" not in "".join(running.lines)
    assert find_processes(home) == {}


def check_that_a_flow_uses_its_server(home: Path, running: Running, folder: Path) -> None:
    config = folder / "sources.toml"
    config.write_text('[[source]]\nid = "beside"\nfiles = "*.tif"\norganisation = "Owner"\n')
    running.wait_until(lambda: served_port(home) == running.prefect_port)
    run([*FLOWS, "sync", "--create", "--config", config], RASTERSOURCES_HOME=home)
    password = server_password(home)
    runs = Prefect(f"http://127.0.0.1:{running.prefect_port}/api", password).find("flow_runs")
    (flow_run,) = [run for run in runs if run["parameters"].get("config") == str(config)]
    assert flow_run["state_name"] == "Completed"


def test_it_serves_after_a_failed_first_sync_and_restarts_what_ends(
    home: Path, tmp_path: Path
) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text('[[source]]\nid = "x"\nfiles = "*.tif"\norganisation = "Nobody"\n')
    with up(home, config) as running:
        running.wait_until(lambda: bool(running.lines_with('there is no organisation "Nobody"')))
        running.wait_for_list()
        running.wait_for_pages()
        servers = find_pids(home, "flows.schedules.prefect_server")
        check_that_a_flow_uses_its_server(home, running, tmp_path)
        for schedules in find_pids(home, "flow schedule"):
            os.kill(schedules, signal.SIGKILL)
        running.wait_until(
            lambda: bool(find_pids(home, "flows.schedules.prefect_server") - servers)
        )
        (line,) = running.lines_with("ended")
        assert line.startswith("rastersources: the schedules have ended (status -9)")
        running.process.kill()
        running.process.wait()
    while any("python" in command for command in find_processes(home).values()):
        time.sleep(0.1)
    assert not is_open(running.prefect_port)
    run([*RASTERSOURCES, "db", "stop"], RASTERSOURCES_HOME=home)


def test_a_taken_port_gives_one_sentence(home: Path) -> None:
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
def test_a_wrong_location_of_uploads_gives_one_sentence(
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
    assert sentence.startswith(f'rastersources: RASTERSOURCES_UPLOADS is invalid: "{uploads}" ')
    assert done.stdout == ""


def test_a_wrong_sources_toml_gives_a_sentence_per_field_before_the_start(
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
    fields = [line.split(": ")[3] for line in done.stderr.splitlines()]
    assert fields == ["files", "organisation", "id"]
