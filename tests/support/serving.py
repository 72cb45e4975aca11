"""`rastersources serve` in a process of its own, which takes uploads and can be killed at any moment."""

import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from sqlalchemy import Engine, text

from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import add_user, create_key, grant_role
from tests.support.commands import RASTERSOURCES, environment
from tests.support.derived import assert_derived
from tests.support.ports import free_port
from tests.support.warm_process import WarmProcess

ENDED = ("SUCCESS", "FAILURE", "REVOKED")
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
    """A running server, its uploads and a client that may write."""

    process: WarmProcess | subprocess.Popen[bytes]
    warm = True

    def __init__(self, url: str, home: Path, key: str, organisation: str, **changes: str) -> None:
        self.url, self.home, self.key, self.organisation = url, home, key, organisation
        self.changes = changes
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
        """Start it and wait until it answers."""
        changes = environment(
            **self.changes, RASTERSOURCES_DATABASE_URL=self.url, RASTERSOURCES_HOME=self.home
        )
        command = [*map(str, RASTERSOURCES), "serve", "--port", str(self.port)]
        errors = self.home / "errors"
        if self.warm:
            self.process = WarmProcess(command[1:], self.home, changes, errors)
        else:
            with errors.open("w") as file:
                self.process = subprocess.Popen(
                    command, env=changes, stdout=subprocess.DEVNULL, stderr=file
                )
        while True:
            try:
                assert self.client.get("/health").status_code == 200
                return
            except httpx.TransportError:
                assert self.process.poll() is None
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def source(self) -> str:
        """URL of a new series."""
        body = {"name": "a", "organisation": self.organisation, "temporal": True}
        url: str = self.client.post("/api/v4/rastersources/", json=body).json()["url"]
        return url

    def send(self, url: str, path: Path, step: int) -> str:
        """Upload one step; the URL of the task."""
        moment = f"2024-01-01T{step // 60:02d}:{step % 60:02d}:00Z"
        with path.open("rb") as file:
            answer = self.client.post(
                f"{url}data/", files={"file": file}, data={"timestamp": moment}
            )
        assert answer.status_code == 200, answer.text
        task: str = answer.json()["url"]
        return task

    def wait_for(self, task: str) -> str:
        """The status of a task when it has ended."""
        patience = time.monotonic() + 60
        while (status := self.client.get(task).json()["status"]) not in ENDED:
            assert time.monotonic() < patience, status
            time.sleep(0.05)
        return str(status)

    def settle(self, engine: Engine) -> None:
        """Wait until no upload waits, those included whose answer a kill kept from the client."""
        waiting = "SELECT id FROM uploads WHERE state IN ('received', 'processing', 'retry')"
        patience = time.monotonic() + 60
        while rows(engine, waiting):
            assert time.monotonic() < patience
            time.sleep(0.05)

    def peak(self) -> int:
        """The most memory that the server process has had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024


class ColdServing(Serving):
    """A server whose processes others find by their environment, which takes longer to start."""

    warm = False


@contextmanager
def serving_for(engine: Engine, url: str, home: Path, **changes: str) -> Iterator[Serving]:
    """A server with other settings than usual, and an administrator of the organisation Owner as its client."""
    organisation = str(add_organisation(engine, "Owner"))
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    with Serving(url, home, create_key(engine, "admin"), organisation, **changes) as serving:
        yield serving


def rows(engine: Engine, query: str, **values: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query), values).scalars())


def stream(mebibytes: int) -> Iterator[bytes]:
    """A form whose file has so many mebibytes of zeros."""
    yield HEAD
    for _ in range(mebibytes):
        yield MEBIBYTE
    yield b"\r\n--b--\r\n"


def assert_taken_in_little_memory(serving: Serving, mebibytes: int) -> None:
    """A file of zeros, which is refused in the end: it is no GeoTIFF."""
    url = serving.source()
    answer = serving.client.post(
        f"{url}data/",
        content=stream(mebibytes),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=600,
    )
    assert answer.status_code == 200
    assert serving.peak() < 200
    assert serving.wait_for(answer.json()["url"]) == "FAILURE"
    (upload,) = serving.client.get(f"{url}uploads/").json()["results"]
    assert upload["state_detail"].startswith("not_a_geotiff")


def assert_nothing_lost_or_doubled(serving: Serving, engine: Engine, tif: Path, kills: int) -> None:
    """What was answered while the server was killed, over and over, is there in the end, and once."""
    chance, url = random.Random(4), serving.source()
    tasks: dict[int, str] = {}
    for _ in range(kills):
        steps = range(len(tasks), len(tasks) + 6)
        with ThreadPoolExecutor(1) as thread:
            killing = thread.submit(kill_after, serving, chance.uniform(0.05, 0.5))
            for step in steps:
                try:
                    tasks[step] = serving.send(url, tif, step)
                except httpx.TransportError:
                    break
            killing.result()
        serving.start()
    assert {serving.wait_for(task) for task in tasks.values()} <= {"SUCCESS"}
    serving.settle(engine)
    found = rows(engine, STEPS, name=url.split("/")[-2])
    assert len(found) == len(set(found))
    # An upload whose answer was lost on the way is not the client's any more, yet it is registered.
    assert set(tasks) <= set(found)
    assert_derived(engine)


STEPS = """
SELECT date_part('epoch', times[1] - '2024-01-01')::integer / 60 FROM raster_files
JOIN raster_sources AS source ON source.id = source_id WHERE source.uuid = CAST(:name AS uuid)
"""


def kill_after(serving: Serving, seconds: float) -> None:
    time.sleep(seconds)
    serving.kill()
