"""Private clusters of tests that do not test how one is made."""

import subprocess
from pathlib import Path

from pipeline.database.private_cluster.cluster import Cluster
from tests.support.made_once import made_once


def add_cluster(home: Path) -> Cluster:
    """Copy a stopped cluster into a home, with an empty database: making a new one takes seconds."""
    template = made_once("cluster-template", start_and_stop)
    home.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["cp", "-a", template / "postgres", home], check=True)
    return Cluster(home)


def start_and_stop(home: Path) -> None:
    with Cluster(home).lease():
        pass
