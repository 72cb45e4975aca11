"""Private clusters of tests that do not test how one is made."""

import subprocess
from pathlib import Path

import psycopg

from pipeline.database.private_cluster.cluster import Cluster
from tests.support.made_once import made_once


def add_cluster(home: Path) -> Cluster:
    """Copy a stopped cluster into a home, with an empty database: making a new one takes seconds."""
    template = made_once("cluster-template", start_and_stop)
    home.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["cp", "-a", template / "postgres", home], check=True)
    return Cluster(home)


def start_and_stop(home: Path) -> None:
    make_quick(Cluster(home))


SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_preload_libraries": "postgis-3",
}


def make_quick(cluster: Cluster) -> None:
    """Have it load PostGIS when it starts, instead of in each session, and spare it the safety from a power cut."""
    chosen = cluster.data / "postgresql.auto.conf"
    if chosen.exists() and all(name in chosen.read_text() for name in SETTINGS):
        return
    with cluster.lease():
        url = cluster.url("postgres", "postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            for name, value in SETTINGS.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
