"""`rastersources serve` in a separate process, which takes uploads and can be killed at any time."""

import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import pytest
from sqlalchemy import Engine

from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import add_user, create_key, grant_role
from tests.support.commands import RASTERSOURCES, environment
from tests.support.database import scalars
from tests.support.derived import assert_derived
from tests.support.ports import free_port
from tests.support.warm_process import WarmProcess

FINAL_STATES = ("SUCCESS", "FAILURE", "REVOKED")
BOUNDARY = b"--b\r\nContent-Disposition: form-data; name="
HEAD = BOUNDARY + b'"file"; filename="a.tif"\r\n\r\n'
MEBIBYTE = bytes(2**20)

LARGE = pytest.mark.parametrize(
    "mebibytes", [192, pytest.param(2048, marks=pytest.mark.soak)], ids=["192 MiB", "2 GiB"]
)
KILLS = pytest.mark.parametrize(
    "kills", [3, pytest.param(60, marks=pytest.mark.soak)], ids=["3 kills", "60 kills"]
)


class Serving:
    """A running server and a client that may write."""

    process: WarmProcess | subprocess.Popen[bytes]
    warm = True

    def __init__(self, url: str, home: Path, key: str, organisation: str, **variables: str) -> None:
        self.url, self.home, self.key, self.organisation = url, home, key, organisation
        self.variables = variables
        self.port = free_port()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", auth=("__key__", key), timeout=60
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        environ = environment(
            **self.variables, RASTERSOURCES_DATABASE_URL=self.url, RASTERSOURCES_HOME=self.home
        )
        command = [*map(str, RASTERSOURCES), "serve", "--port", str(self.port)]
        errors = self.home / "errors"
        if self.warm:
            self.process = WarmProcess(command[1:], self.home, environ, errors)
        else:
            with errors.open("w") as file:
                self.process = subprocess.Popen(
                    command, env=environ, stdout=subprocess.DEVNULL, stderr=file
                )
        while True:
            try:
                assert self.client.get("/health").status_code == 200
                return
            except httpx.TransportError:
                assert self.process.poll() is None
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def add_source(self) -> str:
        """Add a temporal source; return its URL."""
        body = {"name": "a", "organisation": self.organisation, "temporal": True}
        url: str = self.client.post("/api/v4/rastersources/", json=body).json()["url"]
        return url

    def send(self, url: str, path: Path, step: int) -> str:
        """Upload the file of a time step; return the URL of the task."""
        timestamp = f"2024-01-01T{step // 60:02d}:{step % 60:02d}:00Z"
        with path.open("rb") as file:
            answer = self.client.post(
                f"{url}data/", files={"file": file}, data={"timestamp": timestamp}
            )
        assert answer.status_code == 200, answer.text
        task: str = answer.json()["url"]
        return task

    def wait_for(self, task: str) -> str:
        """Wait until a task has ended; return its status."""
        deadline = time.monotonic() + 60
        while (status := self.client.get(task).json()["status"]) not in FINAL_STATES:
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return str(status)

    def wait_for_uploads(self, engine: Engine) -> None:
        """Wait until no upload is open, including those that a kill left without an answer."""
        open_uploads = "SELECT id FROM uploads WHERE state IN ('received', 'processing', 'retry')"
        deadline = time.monotonic() + 60
        while scalars(engine, open_uploads):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def peak_memory(self) -> int:
        """Return the peak memory of the server process in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024


class ColdServing(Serving):
    """A server that starts slower, and whose processes can be found by their environment."""

    warm = False


@contextmanager
def serving_for(engine: Engine, url: str, home: Path, **variables: str) -> Iterator[Serving]:
    """Run a server with these environment variables for an administrator of the organisation Owner."""
    organisation = str(add_organisation(engine, "Owner"))
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    with Serving(url, home, create_key(engine, "admin"), organisation, **variables) as serving:
        yield serving


def stream(mebibytes: int) -> Iterator[bytes]:
    """Yield a form with a file of so many mebibytes of zeros."""
    yield HEAD
    for _ in range(mebibytes):
        yield MEBIBYTE
    yield b"\r\n--b--\r\n"


def assert_upload_needs_little_memory(serving: Serving, mebibytes: int) -> None:
    """Upload zeros, which take little memory and are rejected because they are not a GeoTIFF."""
    url = serving.add_source()
    answer = serving.client.post(
        f"{url}data/",
        content=stream(mebibytes),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=600,
    )
    assert answer.status_code == 200
    assert serving.peak_memory() < 200
    assert serving.wait_for(answer.json()["url"]) == "FAILURE"
    (upload,) = serving.client.get(f"{url}uploads/").json()["results"]
    assert upload["state_detail"].startswith("not_a_geotiff")


def assert_nothing_lost_or_doubled(serving: Serving, engine: Engine, tif: Path, kills: int) -> None:
    """Kill the server during uploads, and check that each upload with an answer is registered exactly once."""
    rng, url = random.Random(4), serving.add_source()
    tasks: dict[int, str] = {}
    for _ in range(kills):
        steps = range(len(tasks), len(tasks) + 6)
        with ThreadPoolExecutor(1) as thread:
            kill = thread.submit(kill_after, serving, rng.uniform(0.05, 0.5))
            for step in steps:
                try:
                    tasks[step] = serving.send(url, tif, step)
                except httpx.TransportError:
                    break
            kill.result()
        serving.start()
    assert {serving.wait_for(task) for task in tasks.values()} <= {"SUCCESS"}
    serving.wait_for_uploads(engine)
    registered = scalars(engine, REGISTERED_STEPS, name=url.split("/")[-2])
    assert len(registered) == len(set(registered))
    # The server also registers uploads whose answer was lost.
    assert set(tasks) <= set(registered)
    assert_derived(engine)


REGISTERED_STEPS = """
SELECT date_part('epoch', times[1] - '2024-01-01')::integer / 60 FROM raster_files
JOIN raster_sources AS source ON source.id = source_id WHERE source.uuid = CAST(:name AS uuid)
"""


def kill_after(serving: Serving, seconds: float) -> None:
    time.sleep(seconds)
    serving.kill()
