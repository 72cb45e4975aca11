"""A real S3 server for tests (SeaweedFS), which starts once per run on free ports."""

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
    """The address of the S3 server."""
    filer: str
    """The address of the file server, which also writes keys that S3 clients refuse."""


@dataclass(frozen=True)
class Bucket:
    """A new bucket."""

    server: Server
    endpoint: str
    """The address of the server, or of a proxy in front of it."""
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which a program can use the bucket."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    @cached_property
    def store(self) -> S3Store:
        """The tests' own connection to the bucket."""
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def put(self, key: str, content: bytes | Path = b"x") -> str:
        """Write bytes or a copy of a file to an object; return its `s3://` name."""
        obstore.put(self.store, key, content)
        return f"s3://{self.name}/{key}"

    def put_many(self, keys: Iterable[str], content: bytes = b"x") -> None:
        """Write the same content to many objects, 16 at a time."""
        with ThreadPoolExecutor(16) as threads:
            deque(threads.map(lambda key: self.put(key, content), keys), maxlen=0)

    def delete(self, *keys: str) -> None:

        obstore.delete(self.store, list(keys))

    def get(self, key: str) -> bytes:

        return bytes(obstore.get(self.store, key).bytes())

    def unfinished_uploads(self) -> list[str]:
        """Return the multipart uploads that were neither completed nor aborted, according to the file server."""
        url = f"{self.server.filer}/buckets/{self.name}/.uploads/"
        answer = httpx.get(url, headers={"Accept": "application/json"}, timeout=60)
        entries = answer.json()["Entries"] if answer.status_code == 200 else None
        return [entry["FullPath"] for entry in entries or ()]

    def keys(self) -> list[str]:
        """Return the keys of all objects."""
        return [meta["path"] for page in obstore.list(self.store) for meta in page]


def new_bucket(server: Server) -> Bucket:
    """Make a new, empty bucket. The server makes it with its first object."""
    bucket = Bucket(server, server.endpoint, f"test-{uuid4().hex[:12]}")
    bucket.put(".made")
    bucket.delete(".made")
    return bucket


@contextmanager
def seaweed(folder: Path) -> Iterator[Server]:
    """Run a server that keeps its data in a folder, until the end of the block."""
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
    server = Server(s3, filer)
    command = [
        str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}", *flags,
        f"-filer.localSocket={folder}/f.sock", f"-s3.localSocket={folder}/s.sock",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false",
        "-volume.max=2000", "-master.volumeSizeLimitMB=100",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until_ready(process, server, folder / "log")
        yield server
    finally:
        process.kill()  # SeaweedFS ignores SIGTERM
        process.wait()


def wait_until_ready(process: "subprocess.Popen[bytes]", server: Server, log: Path) -> None:
    """Wait until the server accepts objects; fail after SECONDS_TO_START."""
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(server.endpoint, timeout=5).close()
        except HTTPError as error:  # the server answers
            error.close()
            new_bucket(server)
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"SeaweedFS does not start: {log.read_text(errors='replace')[-2000:]}")
