"""On a read-only standby the API answers reads, and writes are refused with the reason."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from pipeline.api.config import ApiConfig
from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.private_cluster.cluster import Cluster
from pipeline.database.private_cluster.programs import find_programs, give_to_owner, run_as
from tests.api.conftest import SOURCES, client_of
from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import write_raster
from tests.support.needs import needs_own_cluster
from tests.support.private_clusters import add_cluster
from tests.support.serving import Serving

pytestmark = needs_own_cluster


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = add_cluster(tmp_path_factory.mktemp("primary"))
    cluster.start()
    try:
        with (cluster.data / "pg_hba.conf").open("a") as file:
            file.write("local replication all trust\n")
        with psycopg.connect(cluster.url("postgres", "postgres")) as connection:
            connection.execute("SELECT pg_reload_conf()")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def key(primary: Cluster) -> str:
    """A key of an administrator of the organisation Owner, in a migrated database."""
    engine = make_engine(primary.url())
    migrate(engine)
    add_organisation(engine, "Owner")
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    key = create_key(engine, "admin")
    engine.dispose()
    return key


@pytest.fixture(scope="module")
def standby(primary: Cluster, key: str) -> Iterator[str]:
    """The URL of a streaming standby."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    give_to_owner(folder)
    programs, primary_url = find_programs(), primary.url("postgres", "postgres")

    def run_program(program: str, *words: str) -> None:
        command: list[str | Path] = [programs / program, "-D", folder / "data", *words]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, **run_as())

    try:
        run_program("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-d", primary_url)
        configuration = folder / "data" / "rastersources.conf"
        configuration.write_text(f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n")
        run_program("pg_ctl", "-w", "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://rastersources@/rastersources?host={quote(str(folder), safe='')}"
        finally:
            run_program("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["standby", "setting"])
def read_only(request: pytest.FixtureRequest, primary: Cluster, key: str) -> Iterator[str]:
    """The URL of a standby, or of a database that is read-only by a setting."""
    if request.param == "standby":
        yield request.getfixturevalue("standby")
    else:
        yield primary.url() + "&options=" + quote("-c default_transaction_read_only=on")


def test_the_api_answers_reads_and_refuses_writes(read_only: str, key: str) -> None:
    with client_of(ApiConfig(read_only)) as client:
        organisation = client.get("/api/v4/organisations/").json()["results"][0]
        client.auth = ("__key__", key)
        csv_list = f"{SOURCES}?format=csv&name__regex=a"  # exports a snapshot
        for path in (SOURCES, csv_list, "/health", "/api/v4/changes/", "/bootstrap/lizard/"):
            assert client.get(path).status_code == 200, path
        body = {"name": "a", "organisation": organisation["uuid"]}
        answer = client.post(SOURCES, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "read-only standby" in answer.json()["detail"]


def test_a_standby_serves_the_feed_without_numbering_commits(
    standby: str, primary: Cluster
) -> None:
    with psycopg.connect(primary.url()) as connection:
        connection.execute("""
            INSERT INTO raster_sources (name, organisation_id, access_modifier)
            SELECT 'unnumbered', id, 0 FROM organisations
        """)
    with psycopg.connect(standby) as replica:
        while not replica.execute("SELECT FROM commits WHERE seq IS NULL").fetchall():
            time.sleep(0.05)
            replica.rollback()
    with client_of(ApiConfig(standby)) as client:
        assert client.get("/api/v4/changes/").status_code == 200


def test_commands_that_write_fail_with_one_sentence(read_only: str, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    commands = (
        ["user", "add", "ann"],
        ["organisation", "add", "New"],
        ["register", "a.tif", "--organisation", "Owner"],
    )
    for words in commands:
        done = run(
            [*RASTERSOURCES, *words], status=1, cwd=tmp_path, RASTERSOURCES_DATABASE_URL=read_only
        )
        (line_with_reason,) = [
            line
            for line in (done.stdout + done.stderr).splitlines()
            if "accepts no changes" in line
        ]
        assert "to the primary" in line_with_reason
    run([*RASTERSOURCES, "rejected", "list"], RASTERSOURCES_DATABASE_URL=read_only)


def test_a_server_beside_a_standby_leaves_uploaded_files_alone(
    standby: str, key: str, tmp_path: Path
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    old = uploads / "10415ccb-ec31-4d43-bdb3-db597061527b.tif"
    write_raster(old)
    os.utime(old, (0, 0))
    with Serving(standby, tmp_path, key, "Owner", RASTERSOURCES_UPLOADS=str(uploads)) as serving:
        errors = tmp_path / "errors"
        while "uploads wait: the database accepts no changes" not in errors.read_text():
            assert serving.process.poll() is None
            time.sleep(0.1)
    assert old.exists()
    assert "Traceback" not in errors.read_text()
