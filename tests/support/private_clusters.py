"""Private clusters for tests that do not test how a cluster is made."""

import subprocess
from pathlib import Path

import psycopg

from pipeline.database.private_cluster.cluster import Cluster
from tests.support.make_once import make_once


def add_cluster(home: Path) -> Cluster:
    """Copy a stopped cluster with an empty database into a home, because making a new one takes seconds."""
    template = make_once("cluster-template", make_template)
    home.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["cp", "-a", template / "postgres", home], check=True)
    return Cluster(home)


def make_template(home: Path) -> None:
    speed_up(Cluster(home))


SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_preload_libraries": "postgis-3",
}


def speed_up(cluster: Cluster) -> None:
    """Let the cluster load PostGIS once instead of in each session, and skip the protection against power cuts."""
    settings = cluster.data / "postgresql.auto.conf"
    if settings.exists() and all(name in settings.read_text() for name in SETTINGS):
        return
    with cluster.lease():
        url = cluster.url("postgres", "postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            for name, value in SETTINGS.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
