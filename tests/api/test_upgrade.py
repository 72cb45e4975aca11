"""A migration to the next release runs while the server of this release answers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree
from threading import Event
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.database import migrations, schema_version
from pipeline.database.migrations import downgrade, migrate
from pipeline.database.schema_version import SCRIPTS
from tests.api.conftest import SOURCES, Add

MIGRATION = """
from sql import execute
revision, down_revision = "0002_city", "0001_initial"
def upgrade():
    execute("ALTER TABLE raster_sources ADD city text NOT NULL DEFAULT 'none'; ALTER TABLE organisations ADD city text")
    execute("UPDATE raster_sources SET city = name; SELECT pg_sleep(0.5)")
def downgrade():
    execute("ALTER TABLE raster_sources DROP city; ALTER TABLE organisations DROP city")
"""
PATHS = (
    SOURCES,
    f"{SOURCES}?name__icontains=dep",
    "/",
    "/map/footprints/0/0/0.mvt",
    "/stac/collections",
)

HEADERS = {"/": {"Accept": "text/html"}}


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a second migration."""
    scripts = tmp_path / "sql"
    copytree(SCRIPTS, scripts)
    (scripts / "migrations" / "0002_city.py").write_text(MIGRATION)
    for module in (migrations, schema_version):
        monkeypatch.setattr(module, "SCRIPTS", scripts)


@pytest.mark.usefixtures("next_release")
def test_a_migration_keeps_the_data_and_readers_wait_for_it(
    client: Client, engine: Engine, add_source: Add
) -> None:
    for name in ("Depth", "Depot", "Rain"):
        add_source(name)
    before = {path: read_path(client, path) for path in PATHS}
    done = Event()

    def read() -> int:
        count = 0
        while not done.is_set() or count < len(PATHS):
            path = PATHS[count % len(PATHS)]
            assert client.get(path, headers=HEADERS.get(path)).status_code == 200, path
            count += 1
        return count

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        try:
            assert migrate(engine) == ("0001_initial", "0002_city")
        finally:
            done.set()
        assert reading.result() >= len(PATHS)
    with engine.connect() as connection:
        cities = connection.execute(text("SELECT city FROM raster_sources ORDER BY city")).scalars()
        assert list(cities) == ["Depot", "Depth", "Rain"]
    after = {path: read_path(client, path) for path in PATHS}
    # an UPDATE in a migration is a change like any other
    assert [row["name"] for row in after[SOURCES]["results"]] == ["Depth", "Depot", "Rain"]
    assert after[SOURCES]["count"] == before[SOURCES]["count"] == 3
    assert after[PATHS[1]]["count"] == 2
    assert downgrade(engine, "-1") == ("0002_city", "0001_initial")
    assert read_path(client, SOURCES) == after[SOURCES]


def read_path(client: Client, path: str) -> Any:
    """Return the JSON of an answer, or None for a picture or page."""
    answer = client.get(path, headers=HEADERS.get(path))
    assert answer.status_code == 200, (path, answer.text)
    return answer.json() if "json" in answer.headers["Content-Type"] else None
