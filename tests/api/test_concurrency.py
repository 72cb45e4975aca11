"""With many clients at once, no change is lost or incomplete, and no client gets an error."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from tests.api.conftest import SOURCES, Add

pytestmark = pytest.mark.usefixtures("empty", "people")
FILE = """
INSERT INTO raster_files (source_id, uri, fingerprint, size, width, height, band_count, transform, coordinate_system_id,
    rotated, origin_x, origin_y, upper_bound_x, upper_bound_y, pixelsize_x, pixelsize_y, west, south, east, north,
    footprint, operation_name, proj_version, dtype, bands, times, area_or_point, layout)
SELECT source.id, 'file:///' || source.id || '/' || n, 'f', 10 * n, 2, 3, 1, '{1,0,0,0,-1,3}', system.id, false, 0, 0,
    2, 3, 1, -1, n, 0, n + 1, 3, ST_Multi(ST_MakeEnvelope(n, 0, n + 1, 3, 4326)), 'none', '9', 'f4', '[]',
    ARRAY[timestamptz '2024-01-01' + n * interval '1 hour'], 'Area', '{}'
FROM raster_sources AS source, generate_series(1, 4) AS n,
    (INSERT_SYSTEM) AS system
"""


def open_admin_client(client: Client, people: dict[str, str]) -> Client:
    return Client(base_url=client.base_url, auth=("__key__", people["admin"]), timeout=60)


def test_concurrent_changes_of_different_fields_lose_nothing(
    client: Client, people: dict[str, str], add_source: Add
) -> None:
    row = add_source("a")
    fields = {
        "name": "n",
        "description": "d",
        "supplier_code": "c",
        "access_modifier": "Private",
        "supplier": "user",
    }

    def change(name: str, value: str) -> None:
        with open_admin_client(client, people) as admin:
            for number in range(5):
                suffix = "" if name in ("access_modifier", "supplier") else str(number)
                answer = admin.patch(f"{SOURCES}{row.uuid}/", json={name: value + suffix})
                assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(change, fields.keys(), fields.values()))
    with open_admin_client(client, people) as admin:
        source = admin.get(f"{SOURCES}{row.uuid}/").json()
    assert [source[name] for name in fields] == ["n4", "d4", "c4", "Private", "user"]


def test_a_source_is_never_deleted_while_a_layer_is_added(
    client: Client, people: dict[str, str], add_source: Add, owner: str
) -> None:
    def add_layer(uuid: object) -> int:
        graph = {"graph": {"r": ["lizard_nxt.blocks.LizardRasterSource", str(uuid)]}, "name": "r"}
        body = {"name": "l", "organisation": owner, "source": graph}
        with open_admin_client(client, people) as admin:
            return admin.post("/api/v4/rasters/", json=body).status_code

    def delete(uuid: object) -> int:
        with open_admin_client(client, people) as admin:
            return admin.delete(f"{SOURCES}{uuid}/").status_code

    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            uuid = add_source("a").uuid
            added, deleted = pool.submit(add_layer, uuid), pool.submit(delete, uuid)
            assert (added.result(), deleted.result()) in ((201, 412), (400, 204))


def work(client: Client, people: dict[str, str], owner: str, seed: int, seconds: float) -> set[int]:
    """Read, write and delete at random for so many seconds; return the statuses."""
    rng, statuses, end = random.Random(seed), set(), time.monotonic() + seconds
    with open_admin_client(client, people) as admin:
        while time.monotonic() < end:
            page = admin.get(
                SOURCES,
                params={"page_size": "20", "ordering": rng.choice(["name", "-size", ""])},
            )
            statuses.add(page.status_code)
            uuids: list[Any] = [row["uuid"] for row in page.json().get("results", [])]
            if not uuids or rng.random() < 0.2:
                statuses.add(
                    admin.post(
                        SOURCES, json={"name": f"new {seed}", "organisation": owner}
                    ).status_code
                )
                continue
            url, share = f"{SOURCES}{rng.choice(uuids)}/", rng.random()
            if share < 0.4:
                body: dict[str, Any] = {
                    "name": f"{seed}",
                    "temporal": share < 0.2,
                    "interval": "01:00:00",
                }
                statuses.add(admin.patch(url, json=body).status_code)
            elif share < 0.6:
                statuses.add(admin.delete(url).status_code)
            else:
                statuses.add(admin.get(url).status_code)
    return statuses


def hammer(
    client: Client, people: dict[str, str], engine: Engine, owner: str, clients: int, seconds: float
) -> set[int]:
    """Run many clients, check the derived fields against the files, and return all statuses."""
    with ThreadPoolExecutor(clients) as pool:
        done = pool.map(lambda seed: work(client, people, owner, seed, seconds), range(clients))
        statuses = set().union(*done)
    with engine.begin() as connection:
        changed = connection.execute(
            text("SELECT derive_sources(array_agg(id)) FROM raster_sources")
        ).all()
    assert changed == []
    return statuses


@pytest.fixture
def filled(engine: Engine, add_source: Add) -> None:
    """Add thirty sources of four files each."""
    for number in range(30):
        add_source(f"s{number}")
    system = "SELECT id FROM coordinate_systems LIMIT 1"
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO coordinate_systems (wkt) VALUES ('w') ON CONFLICT DO NOTHING")
        )
        connection.execute(text(FILE.replace("INSERT_SYSTEM", system)))
        connection.execute(text("SELECT derive_sources(array_agg(id)) FROM raster_sources"))


@pytest.mark.usefixtures("filled")
def test_many_clients_get_no_error(
    client: Client, people: dict[str, str], engine: Engine, owner: str
) -> None:
    assert hammer(client, people, engine, owner, 16, 3) <= {200, 201, 204, 404}


@pytest.mark.soak
@pytest.mark.usefixtures("filled")
def test_sixty_four_clients_get_no_error_for_a_minute(
    client: Client, people: dict[str, str], engine: Engine, owner: str
) -> None:
    assert hammer(client, people, engine, owner, 64, 60) <= {200, 201, 204, 404}
