"""Each reason why a database refuses a connection has its own sentence, without the password."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.commands import RASTERSOURCES, run
from tests.support.needs import needs_own_cluster
from tests.support.ports import free_port
from tests.support.private_clusters import add_cluster

pytestmark = needs_own_cluster
SECRET = "hush-hush"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server with roles of all kinds, each with the password SECRET."""
    cluster, port = add_cluster(tmp_path_factory.mktemp("home")), free_port()
    cluster.start(port)
    try:
        with psycopg.connect(cluster.url("postgres", "postgres"), autocommit=True) as connection:
            for role in (
                "known LOGIN",
                "full LOGIN CONNECTION LIMIT 0",
                "mute NOLOGIN",
                "barred LOGIN",
            ):
                connection.execute(f"CREATE ROLE {role} PASSWORD '{SECRET}'".encode())
            connection.execute("REVOKE CONNECT ON DATABASE rastersources FROM public")
            connection.execute(
                "GRANT CONNECT ON DATABASE rastersources TO known, full, mute, barred"
            )
            hba = cluster.data / "pg_hba.conf"
            rule = "host all known,full,mute,postgres,nobody 127.0.0.1/32 scram-sha-256\n"
            hba.write_text(hba.read_text().partition("host")[0] + rule)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE DATABASE closed")
            connection.execute("REVOKE CONNECT ON DATABASE closed FROM public")
        yield port
    finally:
        cluster.stop()


UNKNOWN_HOST = "of the database is unknown"
CASES = {
    "database": ("known:hush-hush@127.0.0.1:{port}/nothing", 'no database "nothing"'),
    "password": ("known:wr0ng-w0rd@127.0.0.1:{port}/rastersources", 'password of "known" is wrong'),
    "no password": ("known@127.0.0.1:{port}/rastersources", "requires a password"),
    "pg_hba": ("barred:hush-hush@127.0.0.1:{port}/rastersources", "pg_hba.conf"),
    "connections": ("full:hush-hush@127.0.0.1:{port}/rastersources", "no free connection"),
    "login": ("mute:hush-hush@127.0.0.1:{port}/rastersources", 'ALTER ROLE "mute" LOGIN'),
    "connect": ("known:hush-hush@127.0.0.1:{port}/closed", 'GRANT CONNECT ON DATABASE "closed"'),
    "name": ("known:hush-hush@nowhere.invalid/rastersources", UNKNOWN_HOST),
    "rest of a password": ("known:hush@hush-hush@nowhere.invalid/rastersources", UNKNOWN_HOST),
    "option": ("known:hush-hush@127.0.0.1/x?colour=red", '"colour" is not an option of a connection'),
    "number": ("known:hush-hush@127.0.0.1/x?connect_timeout=soon", "an option of the connection has an invalid value"),
}  # fmt: skip


@pytest.mark.parametrize(("address", "words"), CASES.values(), ids=CASES)
def test_each_reason_of_a_failed_connection_has_its_own_sentence(
    port: int, address: str, words: str
) -> None:
    url = "postgresql://" + address.format(port=port)
    done = run([*RASTERSOURCES, "rejected", "list"], status=1, RASTERSOURCES_DATABASE_URL=url)
    (sentence,) = done.stderr.splitlines()
    assert words in sentence
    assert "does not answer" not in sentence
    for secret in (SECRET, "wr0ng-w0rd"):
        assert secret not in sentence


def test_unknown_roles_have_their_own_sentence(port: int, tmp_path: Path) -> None:
    """Connect by the socket: over TCP a server reports an unknown role as a wrong password."""
    cluster = add_cluster(tmp_path)
    cluster.start()
    try:
        with (cluster.data / "pg_ident.conf").open("a") as file:
            file.write("rastersources /^.*$ nobody_of_that_name\n")
        with psycopg.connect(cluster.url("postgres", "postgres")) as connection:
            connection.execute("SELECT pg_reload_conf()")
        for user, words in (
            ("nobody_of_that_name", 'no role "nobody_of_that_name"'),
            ("stranger", 'to the database as "stranger"'),
        ):
            url = cluster.url(user=user)
            done = run(
                [*RASTERSOURCES, "rejected", "list"], status=1, RASTERSOURCES_DATABASE_URL=url
            )
            (sentence,) = done.stderr.splitlines()
            assert words in sentence
    finally:
        cluster.stop()


def test_a_stopped_server_is_reported_as_not_answering() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"postgresql://known:{SECRET}@127.0.0.1:{port}/rastersources"
    done = run([*RASTERSOURCES, "rejected", "list"], status=1, RASTERSOURCES_DATABASE_URL=url)
    (sentence,) = done.stderr.splitlines()
    assert "does not answer; try again later" in sentence
