"""A client of the API on the database of the module, and fixtures that add rows."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any

import pytest
import uvicorn
from httpx import Client
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from pipeline.api.config import ApiConfig
from pipeline.api.server import LimitedProtocol, server_config
from pipeline.catalogue.users import add_user as make_user
from pipeline.catalogue.users import create_key, grant_role
from pipeline.database.tables import organisations, raster_sources, users
from tests.support.chromium import GetBrowser
from tests.support.pages import BROWSER, post_sign_in

FULL = {
    "access_modifier": 0, "file_count": 1, "west": 4.0, "south": 51.0, "east": 5.0, "north": 52.0,
    "projection": "EPSG:28992", "origin_x": 172724.5, "origin_y": 312709.0, "upper_bound_x": 181453.0,
    "upper_bound_y": 324743.0, "pixelsize_x": 0.5, "pixelsize_y": -0.5, "size": 733758945, "dtype": "f4",
    "fill_value": "-9999.0", "first_value_timestamp": "1970-01-01T00:00:00Z",
    "last_value_timestamp": "1970-01-01T00:00:00Z",
}  # fmt: skip
"""Columns of a public raster source of one file."""
SOURCES = "/api/v4/rastersources/"


@contextmanager
def serve(config: ApiConfig, protocol: type[LimitedProtocol] = LimitedProtocol) -> Iterator[str]:
    """Run a real server on a free port and yield its address."""
    server = uvicorn.Server(server_config(config, log_level="critical", protocol=protocol))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def client_of(config: ApiConfig) -> Iterator[Client]:
    """Run a real server and yield a client."""
    with serve(config) as address, Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = str(tmp_path_factory.mktemp("home") / "uploads")
    with client_of(ApiConfig(database_url, uploads=folder)) as client:
        yield client


def address_of(client: Client) -> str:
    """Return the address of a client's server."""
    return str(client.base_url).rstrip("/")


Add = Callable[..., Any]
As = Callable[[str], Client]


@pytest.fixture(params=["with scripts", "without scripts"])
def browser(request: pytest.FixtureRequest, get_browser: GetBrowser) -> Any:
    """A real browser, with and without scripts."""
    return get_browser(request.param == "with scripts")


@pytest.fixture(scope="module")
def add_organisation(engine: Engine) -> Callable[[str], int]:
    """Add an organisation unless it exists, and return its id."""

    def add(name: str = "Owner") -> int:
        with engine.begin() as connection:
            connection.execute(upsert(organisations).values(name=name).on_conflict_do_nothing())
            return int(
                connection.execute(
                    select(organisations.c.id).where(organisations.c.name == name)
                ).scalar_one()
            )

    return add


@pytest.fixture(scope="module")
def add_user(engine: Engine) -> Callable[[str], int]:
    """Add a user unless it exists, and return its id."""

    def add(username: str) -> int:
        with engine.begin() as connection:
            connection.execute(upsert(users).values(username=username).on_conflict_do_nothing())
            return int(
                connection.execute(
                    select(users.c.id).where(users.c.username == username)
                ).scalar_one()
            )

    return add


@pytest.fixture(scope="module")
def add_source(engine: Engine, add_organisation: Callable[[str], int]) -> Add:
    """Add a public raster source of one file, or one with other columns, and return its row."""

    def add(name: str, organisation: str = "Owner", **columns: Any) -> Any:
        values = FULL | {"name": name, "organisation_id": add_organisation(organisation)} | columns
        with engine.begin() as connection:
            return connection.execute(
                insert(raster_sources).values(values).returning(raster_sources)
            ).one()

    return add


@pytest.fixture(scope="module")
def people(engine: Engine, add_organisation: Callable[[str], int]) -> dict[str, str]:
    """Add a user for each role in Owner and one without a role, and return the key of each."""
    add_organisation("Owner")
    keys = {}
    for username in ("user", "supplier", "admin", "manager", "stranger"):
        make_user(engine, username)
        if username != "stranger":
            grant_role(engine, username, "Owner", username)
        keys[username] = create_key(engine, username)
    return keys


@pytest.fixture(scope="module")
def as_(client: Client, people: dict[str, str]) -> Iterator[As]:
    """Return a client that logs in as the person with this name."""
    with ExitStack() as stack:
        clients = {
            username: stack.enter_context(
                Client(base_url=client.base_url, auth=("__key__", key), timeout=60)
            )
            for username, key in people.items()
        }
        yield clients.__getitem__


@pytest.fixture
def visitor(client: Client, people: dict[str, str]) -> Iterator[Client]:
    """A client of an administrator who is signed in to the pages, like a browser without Origin and Sec-Fetch-Site."""
    with Client(base_url=client.base_url, headers=BROWSER, timeout=60) as visitor:
        post_sign_in(visitor, "admin", people["admin"])
        yield visitor


@pytest.fixture
def owner(engine: Engine, people: dict[str, str]) -> str:
    """The uuid of the organisation Owner."""
    with engine.connect() as connection:
        return str(
            connection.execute(
                text("SELECT uuid FROM organisations WHERE name = 'Owner'")
            ).scalar_one()
        )


@pytest.fixture
def things(as_: As, owner: str) -> dict[str, str]:
    """Add a row of each kind that a URL can name; return their uuids or ids by list. All use the raster source."""
    admin = as_("admin")

    def add(name: str, **fields: Any) -> str:
        body = {"name": "a", "organisation": owner, "access_modifier": "Public", **fields}
        uuid: str = admin.post(f"/api/v4/{name}/", json=body).json()["uuid"]
        return uuid

    source = add("rastersources")
    graph = {
        "graph": {"raster": ["lizard_nxt.blocks.LizardRasterSource", source]},
        "name": "raster",
    }
    upload = admin.post(f"{SOURCES}{source}/data/", files={"file": ("a.tif", b"")})
    return {
        "rastersources": source,
        "organisations": owner,
        "rasters": add("rasters", source=graph),
        "labeltypes": add("labeltypes", source=graph),
        "scenarios": add("scenarios", raster_sources=[source]),
        "tasks": upload.json()["task_id"],
        "users": admin.get("/bootstrap/lizard/").json()["user"]["id"],
    }


@contextmanager
def callers(engine: Engine, client: Client, count: int) -> Iterator[tuple[list[int], list[Client]]]:
    """Add users without a role; yield their ids, and their clients with an anonymous client at the end."""
    names = [f"user {number}" for number in range(count)]
    ids = [make_user(engine, name) for name in names]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                Client(base_url=client.base_url, auth=("__key__", create_key(engine, name)))
            )
            for name in names
        ]
        yield ids, [*clients, client]


OWNED = ("layers", "label_types", "scenarios", "raster_sources")


def clear(connection: Connection) -> None:
    """Delete all layers, label types, scenarios and raster sources; for a few rows faster than TRUNCATE."""
    for table in OWNED:
        connection.execute(text(f"DELETE FROM {table}"))


@pytest.fixture
def empty(engine: Engine) -> None:
    """Delete the raster sources of earlier tests."""
    with engine.begin() as connection:
        clear(connection)


def names(page: Any) -> list[str]:
    """Return the names on a page."""
    assert page.status_code == 200, page.text
    return [row["name"] for row in page.json()["results"]]
