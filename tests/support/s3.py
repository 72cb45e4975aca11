"""A real S3 server for tests: SeaweedFS, started once per run on free ports of this machine."""

import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import httpx
import obstore
from obstore.store import S3Store

from tests.support.ports import free_port

ACCESS_KEY, SECRET_KEY = "tester", "very-secret-indeed"
SECONDS_TO_START = 60


@dataclass(frozen=True)
class Server:
    """A running server."""

    endpoint: str
    """Its address as an S3 server."""
    filer: str
    """Its address as a file server, by which keys can be written that S3 clients refuse."""


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket and who may use it."""

    server: Server
    endpoint: str
    """The address of the server, or of something before it."""
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to know to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    @cached_property
    def store(self) -> S3Store:
        """A connection of the tests' own."""
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def put(self, key: str, content: bytes | Path = b"x") -> str:
        """Write an object, bytes or a copy of a file; its `s3://` name."""
        obstore.put(self.store, key, content)
        return f"s3://{self.name}/{key}"

    def put_many(self, keys: Iterable[str], content: bytes = b"x") -> None:
        """Write the same to many objects, some at a time."""
        with ThreadPoolExecutor(16) as threads:
            deque(threads.map(lambda key: self.put(key, content), keys), maxlen=0)

    def delete(self, *keys: str) -> None:
        """Remove objects."""
        obstore.delete(self.store, list(keys))

    def get(self, key: str) -> bytes:
        """What an object holds."""
        return bytes(obstore.get(self.store, key).bytes())

    def unfinished(self) -> list[str]:
        """Multipart uploads that were neither completed nor aborted, as the file server sees them."""
        url = f"{self.server.filer}/buckets/{self.name}/.uploads/"
        answer = httpx.get(url, headers={"Accept": "application/json"}, timeout=60)
        entries = answer.json()["Entries"] if answer.status_code == 200 else None
        return [entry["FullPath"] for entry in entries or ()]

    def keys(self) -> list[str]:
        """All that is there."""
        return [meta["path"] for page in obstore.list(self.store) for meta in page]


def new_bucket(server: Server) -> Bucket:
    """A bucket that nobody else uses; it is made with its first object."""
    bucket = Bucket(server, server.endpoint, f"test-{uuid4().hex[:12]}")
    bucket.put(".made")
    bucket.delete(".made")
    return bucket


@contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """A new server that keeps its data in a folder."""
    config = folder / "s3.json"
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(
        json.dumps(
            {"identities": [{"name": "tester", "credentials": credentials, "actions": actions}]}
        )
    )
    names = ("master", "volume", "filer", "s3")
    flags = [f"-{name}.{kind}={free_port()}" for name in names for kind in ("port", "port.grpc")]
    _, _, filer, s3 = (f"http://127.0.0.1:{flag.partition('=')[2]}" for flag in flags[::2])
    found = Server(s3, filer)
    command = [
        str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}", *flags,
        f"-filer.localSocket={folder}/f.sock", f"-s3.localSocket={folder}/s.sock",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false",
        "-volume.max=2000", "-master.volumeSizeLimitMB=100",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(server, found, folder / "log")
        yield found
    finally:
        server.kill()  # it does not heed SIGTERM
        server.wait()


def wait_for(server: "subprocess.Popen[bytes]", found: Server, log: Path) -> None:
    """Return when it takes objects."""
    patience = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < patience:
        try:
            urlopen(found.endpoint, timeout=5).close()
        except HTTPError as error:  # which is an answer
            error.close()
            new_bucket(found)
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"SeaweedFS does not start: {log.read_text(errors='replace')[-2000:]}")
