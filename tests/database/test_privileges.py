"""An ordinary role on a given PostGIS: everything works, or one sentence has the SQL for the administrator."""

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.database.private_cluster.cluster import Cluster
from tests.support.commands import RASTERSOURCES, run
from tests.support.factory import write_raster
from tests.support.needs import needs_own_cluster
from tests.support.private_clusters import add_cluster

pytestmark = needs_own_cluster
READER = "rastersources_reader"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server with the role `ordinary`, which may only log in."""
    cluster = add_cluster(tmp_path_factory.mktemp("home"))
    cluster.start()
    try:
        administer(cluster, "postgres", "CREATE ROLE ordinary LOGIN", "CREATE ROLE another LOGIN")
        user_of_this_process = pwd.getpwuid(os.geteuid()).pw_name
        with (cluster.data / "pg_ident.conf").open("a") as file:
            file.writelines(
                f'rastersources "{user_of_this_process}" {role}\n'
                for role in ("ordinary", "another")
            )
        administer(cluster, "postgres", "SELECT pg_reload_conf()")
        yield cluster
    finally:
        cluster.stop()


def administer(cluster: Cluster, database: str, *statements: str) -> None:
    with psycopg.connect(cluster.url(database, "postgres"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def create_database(
    cluster: Cluster, request: pytest.FixtureRequest
) -> Iterator[Callable[..., str]]:
    """A function that creates the database `own` without extensions and returns its URL for the role `ordinary`."""

    def make(options: str = "") -> str:
        administer(cluster, "postgres", f"CREATE DATABASE own TEMPLATE template0 {options}")
        return cluster.url("own", "ordinary")

    yield make
    administer(
        cluster,
        "postgres",
        "DROP DATABASE own WITH (FORCE)",
        f"DROP ROLE IF EXISTS {READER}",
        "ALTER ROLE ordinary NOCREATEROLE",
    )


def fail_with_sentence(url: str, *command: str) -> str:
    """Run a command that must fail; return its only line of output."""
    done = run([*RASTERSOURCES, *command], status=1, RASTERSOURCES_DATABASE_URL=url)
    (line,) = done.stderr.splitlines()
    return line


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_one_sentence_has_the_sql_for_everything_that_is_missing(
    cluster: Cluster, create_database: Callable[..., str], tmp_path: Path
) -> None:
    url = create_database()
    message = fail_with_sentence(url, "db", "migrate")
    statements = message.partition('in the database "own": ')[2].rpartition("; then")[0].split("; ")
    assert statements == [
        'GRANT CREATE, USAGE ON SCHEMA "public" TO "ordinary"',
        'CREATE EXTENSION "postgis"',
        'CREATE EXTENSION "pg_trgm"',
    ]
    assert rows(url, "SELECT FROM pg_class WHERE relname = 'alembic_version'") == []
    administer(cluster, "own", *statements[:2])
    (missing,) = fail_with_sentence(url, "db", "migrate").partition(": ")[2].split("; ")[1:-1]
    assert missing.endswith('CREATE EXTENSION "pg_trgm"')
    administer(cluster, "own", *statements[2:])
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    register_twice(url, tmp_path)


def register_twice(url: str, folder: Path) -> None:
    """Register a file twice; expect it to be unchanged the second time."""
    write_raster(folder / "a.tif")
    command: list[str | Path] = ["register", folder, "--organisation", "Owner", "--create"]
    for counts in ("1 registered, 0 unchanged", "0 registered, 1 unchanged"):
        done = run([*RASTERSOURCES, *command], RASTERSOURCES_DATABASE_URL=url)
        assert counts in done.stdout
    assert rows(url, "SELECT name FROM raster_sources") == [("a",)]


def test_the_owner_of_a_database_needs_only_postgis(
    cluster: Cluster, create_database: Callable[..., str], tmp_path: Path
) -> None:
    url = create_database("OWNER ordinary")
    message = fail_with_sentence(url, "db", "migrate")
    assert 'CREATE EXTENSION "postgis"; then' in message  # pg_trgm is a trusted extension
    assert "pg_trgm" not in message
    administer(cluster, "own", "CREATE EXTENSION postgis")
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    register_twice(url, tmp_path)


def test_db_reader_creates_the_role_of_readers(
    cluster: Cluster, create_database: Callable[..., str]
) -> None:
    url = create_database("OWNER ordinary")
    administer(cluster, "own", "CREATE EXTENSION postgis")
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    role_query = f"SELECT FROM pg_roles WHERE rolname = '{READER}'"
    assert rows(url, role_query) == []
    assert f"CREATE ROLE {READER} NOLOGIN" in fail_with_sentence(url, "db", "reader")
    administer(cluster, "own", "ALTER ROLE ordinary CREATEROLE")
    for _ in range(2):
        run([*RASTERSOURCES, "db", "reader"], RASTERSOURCES_DATABASE_URL=url)
    administer(cluster, "own", f"GRANT {READER} TO another")
    with psycopg.connect(url) as owner:
        owner.execute("INSERT INTO organisations (name) VALUES ('Owner')")
        owner.execute("""
            INSERT INTO raster_sources (name, organisation_id, access_modifier)
            SELECT new.name, id, access FROM organisations,
                (VALUES ('public', 0), ('private', 200)) AS new (name, access)
        """)
    reader_url = cluster.url("own", "another")
    assert rows(reader_url, "SELECT name FROM public_raster_sources") == [("public",)]
    assert rows(reader_url, "SELECT name FROM raster_sources") == [("public",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(reader_url, "SELECT email FROM users")


def test_a_migration_grants_to_an_existing_role_of_readers(
    cluster: Cluster, create_database: Callable[..., str]
) -> None:
    url = create_database("OWNER ordinary")
    administer(
        cluster,
        "own",
        "CREATE EXTENSION postgis",
        f"CREATE ROLE {READER}",
        f"GRANT {READER} TO another",
    )
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    assert rows(cluster.url("own", "another"), "SELECT name FROM public_raster_sources") == []


def test_a_role_that_does_not_own_the_tables_is_refused(
    cluster: Cluster, create_database: Callable[..., str]
) -> None:
    url = create_database("OWNER ordinary")
    administer(cluster, "own", "CREATE EXTENSION postgis")
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    administer(cluster, "own", "GRANT ALL ON ALL TABLES IN SCHEMA public TO another")
    other_url = cluster.url("own", "another")
    message = fail_with_sentence(other_url, "rejected", "list")
    assert 'belong to the role "ordinary"' in message
    administer(cluster, "own", message.rpartition("run: ")[2])
    run([*RASTERSOURCES, "rejected", "list"], RASTERSOURCES_DATABASE_URL=other_url)


def test_a_missing_right_is_reported_in_one_sentence(
    cluster: Cluster, create_database: Callable[..., str], tmp_path: Path
) -> None:
    url = create_database("OWNER ordinary")
    administer(cluster, "own", "CREATE EXTENSION postgis")
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    administer(cluster, "own", "REVOKE ordinary FROM another")  # another test grants it
    for command in (["user", "list"], ["db", "migrate"]):
        assert "lacks a privilege" in fail_with_sentence(cluster.url("own", "another"), *command)
    administer(cluster, "own", "REVOKE TEMPORARY ON DATABASE own FROM public, ordinary")
    path = str(write_raster(tmp_path / "a.tif"))
    message = fail_with_sentence(url, "register", path, "--organisation", "Owner", "--create")
    assert 'GRANT TEMPORARY ON DATABASE "own" TO' in message


def test_extensions_and_tables_may_be_in_other_schemas(
    cluster: Cluster, create_database: Callable[..., str], tmp_path: Path
) -> None:
    url = create_database()
    administer(
        cluster, "own", "CREATE SCHEMA gis", "CREATE SCHEMA catalogue AUTHORIZATION ordinary",
        "CREATE EXTENSION postgis SCHEMA gis", "CREATE EXTENSION pg_trgm SCHEMA gis",
        "GRANT USAGE ON SCHEMA gis TO ordinary", "ALTER ROLE ordinary IN DATABASE own SET search_path = catalogue",
    )  # fmt: skip
    message = fail_with_sentence(url, "db", "migrate")
    (statement,) = (
        message.partition('in the database "own": ')[2].rpartition("; then")[0].split("; ")
    )
    assert statement == 'ALTER ROLE "ordinary" IN DATABASE "own" SET search_path = catalogue, "gis"'
    with psycopg.connect(url) as ordinary:  # this role may do it without an administrator
        ordinary.execute(statement.encode())
    run([*RASTERSOURCES, "db", "migrate"], RASTERSOURCES_DATABASE_URL=url)
    register_twice(url, tmp_path)
    assert rows(url, "SELECT schemaname FROM pg_tables WHERE tablename = 'raster_files'") == [
        ("catalogue",)
    ]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "REVOKE TEMPORARY ON DATABASE own FROM public",
            'GRANT TEMPORARY ON DATABASE "own" TO "ordinary"',
        ),
        (
            "ALTER ROLE ordinary IN DATABASE own SET search_path = nowhere",
            'ALTER ROLE "ordinary" IN DATABASE "own" SET search_path = "$user", public',
        ),
    ],
    ids=["TEMPORARY", "no schema"],
)
def test_other_rights_that_are_missing_are_named(
    cluster: Cluster, create_database: Callable[..., str], statement: str, words: str
) -> None:
    url = create_database()
    administer(
        cluster, "own", "GRANT CREATE ON SCHEMA public TO ordinary",
        "CREATE EXTENSION postgis", "CREATE EXTENSION pg_trgm", statement,
    )  # fmt: skip
    assert words in fail_with_sentence(url, "db", "migrate")


def test_a_database_of_another_encoding_is_refused(create_database: Callable[..., str]) -> None:
    message = fail_with_sentence(
        create_database("OWNER ordinary ENCODING 'LATIN1' LOCALE 'C'"), "db", "migrate"
    )
    assert "stores text as LATIN1" in message
