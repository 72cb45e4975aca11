"""A real PgBouncer in front of a private cluster."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from pipeline.database.private_cluster.cluster import Cluster
from pipeline.database.private_cluster.programs import give_to_owner, run_as
from tests.support.ports import free_port

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin")
CONFIGURATION = """\
[databases]
rastersources = host=127.0.0.1 port={server} dbname=rastersources user=rastersources password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 4
server_round_robin = 1
ignore_startup_parameters = {ignored}
"""


@contextmanager
def pooler(cluster: Cluster, mode: str, *, ignored: str = "extra_float_digits") -> Iterator[str]:
    """Run a pooler, and yield the URL of the database behind it. Sessions take turns, which is the hardest case."""
    assert PGBOUNCER
    folder, port = Path(tempfile.mkdtemp(dir="/tmp")), free_port()
    password = cluster.password_file.read_text().strip().rpartition(":")[2]
    text = CONFIGURATION.format(
        server=cluster.tcp_port, password=password, port=port, mode=mode, ignored=ignored
    )
    (folder / "pgbouncer.ini").write_text(text)
    for path in (folder, folder / "pgbouncer.ini"):
        give_to_owner(path)
    url = f"postgresql://anyone@127.0.0.1:{port}/rastersources"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PGBOUNCER, folder / "pgbouncer.ini"], cwd="/", stdout=log, stderr=log, **run_as()
        )
    try:
        while not answers(url):
            assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False
