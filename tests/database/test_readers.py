"""The rights of people who query by SQL with the role rastersources_reader."""

import os
import pwd
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pipeline.database.engine import make_engine
from pipeline.database.migrations import migrate
from pipeline.database.privileges import create_reader_role
from tests.support.private_clusters import add_cluster

ROWS = """
INSERT INTO organisations (name, raster_storage_capacity) VALUES ('Owner', 1000), ('Other', 2000);
INSERT INTO users (username, email, password_hash)
SELECT name, name || '@example.org', 'x' FROM unnest('{open,closed,idle}'::text[]) AS name;
INSERT INTO raster_sources (name, organisation_id, supplier_id, access_modifier)
SELECT source.name, organisation.id, supplier.id, access
FROM (VALUES ('public', 'open', 0), ('nobodys', NULL, 0), ('common', 'closed', 100), ('hidden', 'closed', 300))
    AS source (name, username, access)
JOIN organisations AS organisation ON organisation.name = 'Owner'
LEFT JOIN users AS supplier USING (username);
GRANT rastersources_reader TO reader;
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    """A connection of a user with the role, to a cluster with rows of all kinds."""
    cluster = add_cluster(tmp_path_factory.mktemp("home"))
    cluster.start()
    try:
        engine = make_engine(cluster.url())
        migrate(engine)
        with engine.begin() as owner:
            create_reader_role(owner)
            owner.exec_driver_sql("CREATE ROLE reader LOGIN")
            owner.exec_driver_sql(ROWS)
        engine.dispose()
        with (cluster.data / "pg_ident.conf").open("a") as file:
            file.write(f'rastersources "{pwd.getpwuid(os.geteuid()).pw_name}" reader\n')
        with psycopg.connect(cluster.url("postgres", "postgres")) as superuser:
            superuser.execute("SELECT pg_reload_conf()")
        with psycopg.connect(cluster.url(user="reader"), autocommit=True) as connection:
            yield connection
    finally:
        cluster.stop()


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT current_user", [("reader",)]),
        ("SELECT name FROM raster_sources ORDER BY name", [("nobodys",), ("public",)]),
        (
            "SELECT name, organisation, supplier FROM public_raster_sources ORDER BY name",
            [("nobodys", "Owner", None), ("public", "Owner", "open")],
        ),
        ("SELECT username FROM users ORDER BY id", [("open",)]),
        (
            "SELECT name FROM organisations WHERE uuid IS NOT NULL ORDER BY id",
            [("Owner",), ("Other",)],
        ),
    ],
)
def test_a_reader_sees_public_rows_with_their_owners(
    reader: psycopg.Connection[Any], query: str, rows: list[Any]
) -> None:
    assert reader.execute(query).fetchall() == rows


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT raster_storage_capacity FROM organisations",
        "SELECT created FROM organisations",
        "SELECT * FROM organisations",
        "SELECT email FROM users",
        "SELECT password_hash FROM users",
        "SELECT * FROM sessions",
        "SELECT * FROM api_keys",
        "SELECT * FROM roles",
        "SELECT * FROM uploads",
        "UPDATE raster_sources SET name = 'x'",
        "DELETE FROM users",
    ],
)
def test_a_reader_may_neither_see_nor_change_anything_else(
    reader: psycopg.Connection[Any], statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(statement)
