"""Organisations, users, contracts, usage, tasks, uploads, files and roots, in the formats that clients read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.users import grant_role
from pipeline.raster import ProcessReader
from tests.api.conftest import SOURCES, Add, As, address_of, names
from tests.support.database import execute
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files

V4 = "/api/v4"
pytestmark = pytest.mark.usefixtures("empty", "people")


def test_organisations_are_found_by_a_part_of_their_uuid(
    client: Client, owner: str, add_organisation: Callable[[str], int]
) -> None:
    add_organisation("Other")
    page = client.get(f"{V4}/organisations/", params={"uuid": owner[5:15]}).json()
    assert page["results"] == [
        {"url": f"{address_of(client)}{V4}/organisations/{owner}/", "uuid": owner, "name": "Owner"}
    ]
    assert client.get(page["results"][0]["url"]).json() == page["results"][0]
    assert names(client.get(f"{V4}/organisations/", params={"name__startswith": "Oth"})) == [
        "Other"
    ]


def test_only_members_see_the_users_of_an_organisation(as_: As, client: Client, owner: str) -> None:
    url = f"{V4}/organisations/{owner}/users/"
    assert client.get(url).status_code == 401
    assert as_("stranger").get(url).status_code == 403
    users = (
        as_("manager")
        .get(url, params={"role": "supplier", "username__icontains": "SUPP"})
        .json()["results"]
    )
    assert [list(user) for user in users] == [
        ["url", "id", "username", "first_name", "last_name", "email", "roles"]
    ]
    assert (users[0]["username"], users[0]["roles"]) == ("supplier", ["supplier"])
    assert as_("manager").get(url, params={"role": "king"}).status_code == 400


def test_a_user_finds_their_organisations_and_roles(
    as_: As, engine: Engine, client: Client, owner: str
) -> None:
    grant_role(engine, "admin", owner, "user")
    bootstrap = as_("admin").get("/bootstrap/lizard/").json()
    assert bootstrap["user"] == {
        "id": bootstrap["user"]["id"],
        "username": "admin",
        "first_name": "",
        "authenticated": True,
    }
    url = f"{V4}/users/{bootstrap['user']['id']}/organisations/"
    organisations = as_("admin").get(url).json()["results"]
    roles = [(each["uuid"], sorted(each["roles"])) for each in organisations]
    assert roles == [(owner, ["admin", "user"])]
    assert client.get(url).status_code == 404
    assert as_("stranger").get(url).status_code == 404


def test_bootstrap_shows_an_anonymous_caller(client: Client) -> None:
    bootstrap = client.get("/bootstrap/lizard/").json()
    anonymous = {"id": None, "username": None, "first_name": "", "authenticated": False}
    assert bootstrap["user"] == anonymous
    assert set(bootstrap["sso"]) == {"login", "logout"}


def test_contracts_are_those_of_the_callers_organisations(
    as_: As, client: Client, engine: Engine, owner: str
) -> None:
    execute(engine, "UPDATE organisations SET raster_storage_capacity = 1000 WHERE name = 'Owner'")
    assert client.get(f"{V4}/contracts/").json()["results"] == []
    (contract,) = as_("user").get(f"{V4}/contracts/").json()["results"]
    assert contract["organisation"]["uuid"] == owner
    assert contract["raster_storage_capacity"] == 1000
    assert {"scenario_storage_capacity", "timeseries_storage_capacity"} < set(contract)


def test_usage_counts_only_rows_that_the_caller_may_read(
    as_: As, client: Client, add_source: Add, owner: str
) -> None:
    add_source("a", size=3)
    add_source("b", size=4, access_modifier=200)
    url = f"{V4}/organisations/{owner}/usage/"
    usage = {
        "scenario_count": 0,
        "scenario_total_size": 0,
        "timeseries_count": 0,
        "timeseries_total_size": 0,
    }
    assert as_("user").get(url).json() == {"raster_count": 2, "raster_total_size": 7, **usage}
    assert client.get(url).json() == {"raster_count": 1, "raster_total_size": 3, **usage}


@pytest.mark.parametrize("slash", ["", "/"])
def test_anyone_who_knows_the_uuid_may_read_a_task(
    client: Client, engine: Engine, slash: str
) -> None:
    uuid = "7a9ed96e-3a44-4501-ad41-a440f59df104"
    execute(
        engine,
        "INSERT INTO tasks (uuid, status) VALUES (:uuid, 'STARTED') ON CONFLICT DO NOTHING",
        uuid=uuid,
    )
    task = client.get(f"{V4}/tasks/{uuid}{slash}").json()
    assert list(task) == ["uuid", "url", "status", "result", "detail"]
    assert (task["uuid"], task["status"], task["result"]) == (uuid, "STARTED", None)
    assert client.get(f"{V4}/tasks/{uuid[:-1]}5/").status_code == 404


def test_uploads_are_listed_newest_first_and_by_state(
    client: Client, engine: Engine, add_source: Add
) -> None:
    row, private = add_source("a"), add_source("p", access_modifier=200)
    for source, state in (
        (row, "received"),
        (row, "rejected"),
        (row, "committed"),
        (private, "received"),
    ):
        execute(engine, "INSERT INTO uploads (source_id, filename, state) VALUES (:id, 'x.tif', :state)",
            id=source.id, state=state)  # fmt: skip
    url = f"{SOURCES}{row.uuid}/uploads/"
    uploads = client.get(url).json()["results"]
    assert [upload["state"] for upload in uploads] == ["committed", "rejected", "received"]
    assert list(uploads[0]) == [
        "id",
        "filename",
        "created_at",
        "updated_at",
        "state",
        "state_detail",
    ]
    assert client.get(url, params={"state": "rejected"}).json()["count"] == 1
    assert client.get(url, params={"state": "lost"}).status_code == 400
    assert client.get(f"{SOURCES}{private.uuid}/uploads/").status_code == 404


def test_only_callers_who_may_write_see_the_uri_of_files(
    as_: As, client: Client, engine: Engine, add_source: Add
) -> None:
    row = add_source("a")
    execute(engine, """
        WITH system AS (INSERT INTO coordinate_systems (wkt, projection) VALUES ('w', 'EPSG:4326') RETURNING id)
        INSERT INTO raster_files (source_id, uri, fingerprint, size, width, height, band_count, transform,
            coordinate_system_id, rotated, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y,
            west, south, east, north, footprint, operation_name, proj_version, dtype, bands, times,
            area_or_point, layout, warnings)
        SELECT :id, 'file:///data/a.tif', 'f', 10, 2, 3, 1, '{1,0,0,0,-1,3}', id, false, 0, 0, 2, 3, 1, -1,
            0, 0, 2, 3, ST_Multi(ST_MakeEnvelope(0, 0, 2, 3, 4326)), 'none', '9.5.1', 'f4', '[]',
            '{2024-01-01T00:00:00Z}', 'Area', '{}', CAST(:warnings AS jsonb) FROM system
    """, id=row.id, warnings='[{"code": "gdal_warning", "message": "in /data/a.tif: odd"}]')  # fmt: skip
    url = f"{SOURCES}{row.uuid}/files/"
    (public,) = client.get(url).json()["results"]
    assert (public["uri"], public["name"], public["projection"]) == (
        None,
        "a.tif",
        "EPSG:4326",
    )
    assert public["times"] == ["2024-01-01T00:00:00Z"]
    assert public["bounds"] == {"west": 0.0, "east": 2.0, "north": 3.0, "south": 0.0}
    assert public["warnings"] == [{"code": "gdal_warning", "message": "in a.tif: odd"}]
    (full,) = as_("admin").get(url).json()["results"]
    assert (full["uri"], full["warnings"][0]["message"]) == (
        "file:///data/a.tif",
        "in /data/a.tif: odd",
    )


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_the_root_names_the_lists(client: Client, version: str) -> None:
    root = client.get(f"/api/{version}/").json()
    assert root["rastersources"] == f"{address_of(client)}{SOURCES}"
    assert [client.get(url).status_code for url in root.values()] == [200] * len(root)


def test_a_file_has_its_plain_name_and_an_encoded_uri(
    as_: As, engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path, add_organisation: Any
) -> None:
    path = write_raster(tmp_path / "my é %41.tif")
    register_files(engine, pool.read, definition_files([path], access_modifier="Public"))
    (source,) = as_("admin").get(SOURCES).json()["results"]
    (file,) = as_("admin").get(f"{source['url']}files/").json()["results"]
    assert (file["name"], file["uri"]) == (path.name, path.as_uri())
