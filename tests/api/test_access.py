"""Every route lets a caller see and write exactly the rows that section 6 of the contract allows."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq
import pytest
from httpx import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import ProgrammingError

from pipeline.database.privileges import create_reader_role
from pipeline.database.tables import label_types, layers, raster_sources, roles, scenarios
from tests.api.conftest import FULL, SOURCES, Add, callers, clear

ORGANISATIONS = 2
USERS = 3
ROLES = ("user", "supplier", "admin", "manager")
MODIFIERS = (0, 100, 200, 300)
LISTS = {SOURCES: raster_sources, "/api/v4/rasters/": layers, "/api/v4/labeltypes/": label_types,
         "/api/v4/scenarios/": scenarios}  # fmt: skip


ADD_FILES = """
INSERT INTO coordinate_systems (wkt, projection) VALUES ('GEOGCRS', 'EPSG:4326') ON CONFLICT DO NOTHING;
INSERT INTO raster_files (source_id, uri, fingerprint, size, width, height, band_count, transform, coordinate_system_id,
    rotated, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, west, south, east, north,
    footprint, operation_name, proj_version, dtype, bands, area_or_point, layout)
SELECT source.id, 'file:///secret/folder/' || source.id || '.tif', '', 1, 1, 1, 1, '{1,0,4,0,-1,52}', system.id,
    false, 4, 51, 5, 52, 1, -1, 4, 51, 5, 52, extent, '', '', 'f4', '[]', 'Area', '{}'
FROM raster_sources AS source, coordinate_systems AS system
"""


@dataclass(frozen=True)
class Row:
    """A row that belongs to an organisation."""

    organisation: int
    supplier: int | None
    modifier: int


@dataclass(frozen=True)
class World:
    """The roles of people, and the rows of a list."""

    roles: frozenset[tuple[int, int, str]]
    rows: tuple[Row, ...]

    def has(self, user: int, organisation: int, *names: str) -> bool:
        return any((user, organisation, name) in self.roles for name in names)

    def sees(self, user: int | None, row: Row) -> bool:
        """Apply section 6 of the contract to reading; None is a caller who is not logged in."""
        if row.modifier == 0:
            return True
        if user is None:
            return False
        if row.modifier == 100:
            return True
        if row.modifier == 200:
            return self.has(user, row.organisation, "user", "supplier", "admin")
        return row.supplier == user or self.has(user, row.organisation, "admin")

    def writes(self, user: int | None, row: Row) -> bool:
        """Apply section 6 of the contract to writing."""
        if user is None:
            return False
        own = row.supplier == user and self.has(user, row.organisation, "supplier")
        return self.has(user, row.organisation, "admin") or own


rows = st.builds(
    Row,
    st.integers(0, ORGANISATIONS - 1),
    st.none() | st.integers(0, USERS - 1),
    st.sampled_from(MODIFIERS),
)
worlds = st.builds(
    World,
    st.frozensets(
        st.tuples(
            st.integers(0, USERS - 1), st.integers(0, ORGANISATIONS - 1), st.sampled_from(ROLES)
        ),
        max_size=8,
    ),
    st.lists(rows, min_size=1, max_size=8).map(tuple),
)


@dataclass
class Setup:
    """The users and organisations that all worlds share, and the clients of these users."""

    engine: Engine
    organisations: list[int]
    users: list[int]
    clients: list[Client]

    def store(self, world: World) -> dict[str, list[str]]:
        """Store a world; return the uuids of its rows by list."""
        with self.engine.begin() as connection:
            clear(connection)
            connection.execute(text("DELETE FROM roles"))
            held = [{"user_id": self.users[user], "organisation_id": self.organisations[organisation], "role": role}
                    for user, organisation, role in world.roles]  # fmt: skip
            if held:
                connection.execute(insert(roles), held)
            return {path: self.add(connection, table, world) for path, table in LISTS.items()}

    def add(self, connection: Any, table: Any, world: World) -> list[str]:
        uuids = []
        for number, row in enumerate(world.rows):
            values = {"name": f"row {number}", "organisation_id": self.organisations[row.organisation],
                      "supplier_id": None if row.supplier is None else self.users[row.supplier],
                      "access_modifier": row.modifier}  # fmt: skip
            full = FULL | values if table is raster_sources else values
            uuids.append(
                str(
                    connection.execute(
                        insert(table).values(full).returning(table.c.uuid)
                    ).scalar_one()
                )
            )
        return uuids

    def add_files(self) -> dict[str, str]:
        """Add a file to each raster source; return the id of each as an item, by the uuid of its source."""
        with self.engine.begin() as connection:
            connection.execute(text(ADD_FILES))
            items = connection.execute(
                text(
                    "SELECT uuid, file.id FROM raster_files AS file "
                    "JOIN raster_sources AS source ON source.id = source_id"
                )
            )
            return {str(uuid): str(file_id) for uuid, file_id in items}

    def use(self, uuids: dict[str, list[str]], uses: dict[int, set[int]]) -> None:
        """Let each scenario use the raster sources at these positions of their list."""
        pairs = [{"scenario": uuids["/api/v4/scenarios/"][scenario], "source": uuids[SOURCES][source]}
                 for scenario, sources in uses.items() for source in sources]  # fmt: skip
        statement = (
            "INSERT INTO scenario_sources SELECT id, :source FROM scenarios WHERE uuid = :scenario"
        )
        with self.engine.begin() as connection:
            connection.execute(text(statement), pairs)

    def find_uses(self, uuids: dict[str, list[str]]) -> dict[int, set[int]]:
        """Return the stored positions of the raster sources of each scenario."""
        query = "SELECT uuid, source_uuid FROM scenario_sources JOIN scenarios ON id = scenario_id"
        with self.engine.connect() as connection:
            rows = connection.execute(text(query)).all()
        return {
            number: {
                uuids[SOURCES].index(str(source))
                for scenario, source in rows
                if str(scenario) == uuid
            }
            for number, uuid in enumerate(uuids["/api/v4/scenarios/"])
        }


@pytest.fixture(scope="module")
def setup(engine: Engine, client: Client, add_organisation: Any) -> Iterator[Setup]:
    organisations = [add_organisation(f"Organisation {number}") for number in range(ORGANISATIONS)]
    with callers(engine, client, USERS) as (users, clients):
        yield Setup(engine, organisations, users, clients)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=worlds, path=st.sampled_from(list(LISTS)))
def test_every_route_follows_the_access_rules(setup: Setup, world: World, path: str) -> None:
    uuids = setup.store(world)[path]
    for user, client in zip([*range(USERS), None], setup.clients, strict=True):
        seen = [uuid for uuid, row in zip(uuids, world.rows, strict=True) if world.sees(user, row)]
        writes = {
            uuid for uuid, row in zip(uuids, world.rows, strict=True) if world.writes(user, row)
        }
        for query in ({}, {"name__icontains": "ROW"}, {"ordering": "-name"}, {"uuid": ",".join(uuids)},
                      {"page_size": "1"}, {"in_bbox": "4,51,5,52"} if path == SOURCES else {}):  # fmt: skip
            page = client.get(path, params=query).json()
            listed = [item["uuid"] for item in page["results"]]
            expected = seen[::-1] if query.get("ordering") else seen
            assert page["count"] == len(seen)
            assert listed == (expected[:1] if "page_size" in query else expected)
            assert (page["next"] is None) == (len(listed) == len(seen))
        assert {
            item["uuid"] for item in client.get(path, params={"writable": "true"}).json()["results"]
        } == writes & set(seen)
        for uuid in uuids:
            detail = client.get(f"{path}{uuid}/")
            assert detail.status_code == (200 if uuid in seen else 404)
            if uuid in seen and "writable" in detail.json():
                assert detail.json()["writable"] == (uuid in writes)
            refused = client.patch(f"{path}{uuid}/", json={"name": ""})
            expected_status = (
                401 if user is None else 404 if uuid not in seen else 400 if uuid in writes else 403
            )
            assert refused.status_code == expected_status


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=worlds)
def test_whole_lists_follow_the_access_rules(setup: Setup, world: World) -> None:
    uuids = setup.store(world)[SOURCES]
    rows = list(zip(uuids, world.rows, strict=True))
    for user, client in zip([*range(USERS), None], setup.clients, strict=True):
        seen = [uuid for uuid, row in rows if world.sees(user, row)]
        writes = [uuid for uuid, row in rows if uuid in seen and world.writes(user, row)]
        for query in ({}, {"name__regex": "row"}, {"in_bbox": "4,51,5,52", "uuid": ",".join(uuids)}):  # fmt: skip
            lines = client.get(SOURCES, params={**query, "format": "csv"}).text.splitlines()
            table = list(csv.DictReader(lines))
            assert [row["uuid"] for row in table] == seen
            assert [row["uuid"] for row in table if row["writable"] == "true"] == writes
            features = client.get(SOURCES, params={**query, "format": "geojson"}).json()["features"]
            assert [feature["id"] for feature in features] == seen
    content = client.get(SOURCES, params={"format": "geoparquet"}).content  # of the last caller
    assert pq.read_table(BytesIO(content))["uuid"].to_pylist() == seen


MATRIX = World(
    frozenset({(0, 0, "admin"), (1, 0, "user"), (2, 0, "supplier"), (0, 1, "manager"), (1, 1, "supplier")}),
    (
        *(Row(0, supplier, modifier) for supplier in (None, 1, 2) for modifier in MODIFIERS),
        *(Row(1, 1, modifier) for modifier in MODIFIERS),
    ),
)  # fmt: skip
"""A world with every role and access modifier, and with rows of one's own and of others."""


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(world=MATRIX)
@given(world=worlds)
def test_features_follow_the_access_rules(setup: Setup, world: World) -> None:
    uuids = setup.store(world)[SOURCES]
    items = setup.add_files()
    for user, client in zip([*range(USERS), None], setup.clients, strict=True):
        rows = list(zip(uuids, world.rows, strict=True))
        seen = [uuid for uuid, row in rows if world.sees(user, row)]
        writes = {uuid for uuid, row in rows if world.writes(user, row)}
        for path, member in (("/stac/collections", "collections"), ("/stac/children", "children"),
                             ("/ogc/collections/rastersources/items", "features")):  # fmt: skip
            for query in ({}, {"bbox": "4,51,5,52", "q": "row", "filter": "title LIKE 'row%'"}):
                page = client.get(path, params={"limit": 50, **query}).json()
                assert [feature["id"] for feature in page[member]] == seen
                assert page["numberMatched"] == len(seen)
        collections = client.get("/ogc/collections", params={"limit": 50}).json()["collections"]
        assert [collection["id"] for collection in collections] == ["rastersources", *seen]
        linked = [
            link["href"] for link in client.get("/stac").json()["links"] if link["rel"] == "child"
        ]
        assert [href.split("/")[-1] for href in linked] == seen
        for search in ({}, {"bbox": [4, 51, 5, 52]}, {"collections": uuids}, {"ids": list(items.values())},
                      {"q": ["row"]}, {"sortby": [{"field": "title"}]},
                      {"filter": {"op": "=", "args": [{"property": "proj:code"}, "EPSG:4326"]}}):  # fmt: skip
            page = client.post("/stac/search", json={"limit": 50, **search}).json()
            features = {item["collection"]: item for item in page["features"]}
            assert (set(features), page["numberMatched"]) == (set(seen), len(seen))
            assert {
                uuid for uuid, item in features.items() if "data" in item["assets"]
            } == writes & set(seen)
            assert ("secret" in str(features)) == bool(writes & set(seen))
        for number, (uuid, item) in enumerate(items.items()):
            status = 200 if uuid in seen else 404
            root = ("/stac", "/ogc")[number % 2]
            for below in ("", "/items", f"/items/{item}", "/queryables"):
                assert client.get(f"{root}/collections/{uuid}{below}").status_code == status
            feature = client.get(f"/ogc/collections/rastersources/items/{uuid}")
            assert feature.status_code == status


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(world=worlds)
def test_a_scenario_shows_only_readable_raster_sources(setup: Setup, world: World) -> None:
    uuids, path = setup.store(world), "/api/v4/scenarios/"
    sources, numbers = uuids[SOURCES], range(len(world.rows))
    uses = {number: {number, (number + 1) % len(world.rows)} for number in numbers}
    setup.use(uuids, uses)
    for user, client in zip([*range(USERS), None], setup.clients, strict=True):
        seen = [number for number in numbers if world.sees(user, world.rows[number])]
        for row in client.get(path).json()["results"]:
            shown = {link.split("/")[-2] for link in row["raster_sources"]}
            number = uuids[path].index(row["uuid"])
            assert shown == {sources[source] for source in uses[number] if source in seen}
        for source in numbers:
            page = client.get(path, params={"raster_sources__uuid": sources[source]}).json()
            users = [number for number in seen if source in uses[number] and source in seen]
            assert [row["uuid"] for row in page["results"]] == [
                uuids[path][number] for number in users
            ]
            assert page["count"] == len(users)
    for user, client in zip(range(USERS), setup.clients, strict=False):
        for number in numbers:
            row = world.rows[number]
            if world.sees(user, row) and world.writes(user, row):
                answer = client.patch(f"{path}{uuids[path][number]}/", json={"raster_sources": []})
                assert answer.json()["raster_sources"] == []
                uses[number] -= {
                    source for source in numbers if world.sees(user, world.rows[source])
                }
    assert setup.find_uses(uuids) == uses


@pytest.fixture
def reader_role(engine: Engine) -> None:
    """Make the role for people who query by SQL, as `rastersources db reader` does."""
    with engine.begin() as connection:
        create_reader_role(connection)


@pytest.mark.usefixtures("reader_role")
def test_the_sql_role_for_readers_sees_public_rows_only(
    engine: Engine, database_url: str, add_source: Add
) -> None:
    with engine.begin() as connection:
        clear(connection)
    for modifier in MODIFIERS:
        add_source(f"s{modifier}", access_modifier=modifier)
    with engine.begin() as connection:
        connection.execute(text(ADD_FILES))
        connection.execute(text("GRANT rastersources_reader TO CURRENT_USER"))
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE rastersources_reader"))
        for relation in ("raster_sources", "public_raster_sources"):
            names = connection.execute(text(f"SELECT name FROM {relation}")).scalars().all()
            assert names == ["s0"]
        titles = connection.execute(text("SELECT title FROM stac_collections")).scalars().all()
        assert titles == ["s0"]
        rows = connection.execute(text("SELECT * FROM stac_collections")).mappings().all()
        assert [row["collection"]["title"] for row in rows] == ["s0"]
        items = connection.execute(text("SELECT item FROM stac_items")).scalars().all()
        assert [item["properties"]["title"][-4:] for item in items] == [".tif"]
        assert "secret" not in str(items)


@pytest.mark.parametrize(
    "statement",
    ["SELECT password_hash FROM users", "SELECT * FROM api_keys", "DELETE FROM raster_sources"],
)
@pytest.mark.usefixtures("reader_role")
def test_the_sql_role_for_readers_has_no_other_privileges(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("GRANT rastersources_reader TO CURRENT_USER"))
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE rastersources_reader"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text(statement))
