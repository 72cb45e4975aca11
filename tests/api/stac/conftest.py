"""Raster sources of many kinds for STAC and OGC API, registered in the ordinary way."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.users import create_key
from pipeline.raster import ProcessReader
from tests.api.conftest import client_of
from tests.support.factory import write_raster
from tests.support.ingestion import definition_files, register_files

STEPS = ("20240101T010000Z", "20240102T010000Z")
CUSTOM = "+proj=laea +lat_0=52 +lon_0=5 +ellps=GRS80"
"""A CRS without authority and code."""
Uuids = dict[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rasters")


@pytest.fixture(scope="module")
def register(engine: Engine, pool: ProcessReader[FileRow]) -> Callable[..., str]:
    """Return a function that registers files as one raster source and returns its uuid."""

    def register(name: str, *paths: Path, modifier: str = "Public", **fields: Any) -> str:
        item = definition_files(
            paths, id=name, name=name, group="all", access_modifier=modifier, **fields
        )
        register_files(engine, pool.read, item)
        with engine.connect() as connection:
            query = text("SELECT uuid FROM raster_sources WHERE name = :name")
            return str(connection.execute(query, {"name": name}).scalar_one())

    return register


@pytest.fixture(scope="module")
def uuids(engine: Engine, register: Callable[..., str], folder: Path) -> Uuids:
    """Add the raster sources; return their uuids by name."""
    series = [write_raster(folder / f"rain_{step}.tif") for step in STEPS]
    degrees: dict[str, Any] = {"crs": "EPSG:4326", "width": 20, "height": 10}
    pacific = write_raster(
        folder / "pacific.tif", transform=Affine(0.1, 0, 179, 0, -0.1, 0.5), **degrees
    )
    polar = write_raster(
        folder / "polar.tif", crs="EPSG:3413", width=10, height=10, nodata=float("nan"),
        transform=Affine(100_000, 0, -500_000, 0, -100_000, 500_000),
    )  # fmt: skip
    custom = write_raster(
        folder / "custom.tif", crs=CUSTOM, transform=Affine(10, 0, 0, 0, -10, 100), count=2,
        dtype="uint8", nodata=None, descriptions=("red", "green"),
    )  # fmt: skip
    secret = write_raster(folder / "secret.tif")
    pattern = r"_(?P<time>\d{8}T\d{6}Z)\.tif$"
    uuids = {
        "rain": register("rain", *series, temporal=True, pattern=pattern),
        "pacific": register("pacific", pacific),
        "polar": register("polar", polar),
        "custom": register("custom", custom),
        "secret": register("secret", secret, modifier="Private"),
    }
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO raster_sources (name, organisation_id, access_modifier) "
                "SELECT 'empty', id, 0 FROM organisations"
            )
        )
        uuids["empty"] = str(
            connection.execute(
                text("SELECT uuid FROM raster_sources WHERE name = 'empty'")
            ).scalar_one()
        )
    return uuids


@pytest.fixture(scope="module")
def client(database_url: str, uuids: Uuids, folder: Path) -> Iterator[Client]:
    """A client of an API that publishes the files of a folder."""
    published = ((f"{folder.as_uri()}/rain", "https://example.org/data/rain"),)
    with client_of(ApiConfig(database_url, asset_urls=published)) as client:
        yield client


@pytest.fixture(scope="module")
def admin(engine: Engine, client: Client, people: dict[str, str]) -> Iterator[Client]:
    """A client of the administrator of all raster sources."""
    key = create_key(engine, "admin")
    with Client(base_url=client.base_url, auth=("__key__", key), timeout=60) as client:
        yield client
