"""GDAL's ogr2ogr reads the view for people who query by SQL."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.definitions.durations import format_interval
from tests.support.commands import RASTERSOURCES, run
from tests.support.database import execute
from tests.support.factory import write_raster
from tests.support.needs import needs_gdal

pytestmark = needs_gdal
VIEW = "public_raster_sources"
INTERVALS = {
    "none": None,
    "minutes": timedelta(minutes=5),
    "day": timedelta(days=1),
    "week and hours": timedelta(days=7, hours=1, minutes=2, seconds=3),
    "fraction": timedelta(seconds=1, microseconds=500),
    "thirty hours": timedelta(hours=30),
    "year": timedelta(days=365),
}


@pytest.fixture
def features(database_url: str, engine: Engine, tmp_path: Path) -> dict[str, Any]:
    """The rows of the GeoPackage that ogr2ogr makes of the view, by name."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in INTERVALS:
        write_raster(folder / f"{name}.tif")
    words = ["--organisation", "Owner", "--create", "--access-modifier", "Public"]
    run([*RASTERSOURCES, "register", folder, *words], RASTERSOURCES_DATABASE_URL=database_url)
    for name, interval in INTERVALS.items():
        statement = 'UPDATE raster_sources SET "interval" = :interval WHERE name = :name'
        execute(engine, statement, name=name, interval=interval)
    geopackage, geojson = tmp_path / "view.gpkg", tmp_path / "view.geojson"
    to_geopackage: list[str | Path] = [
        "ogr2ogr",
        "-f",
        "GPKG",
        geopackage,
        f"PG:{database_url}",
        VIEW,
    ]
    to_geojson: list[str | Path] = ["ogr2ogr", "-f", "GeoJSON", geojson, geopackage]
    for command in (to_geopackage, to_geojson):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "ERROR" not in done.stderr, done.stderr
    listed = json.loads(geojson.read_text())["features"]
    return {feature["properties"]["name"]: feature for feature in listed}


def test_the_interval_comes_as_seconds_and_as_text(features: dict[str, Any]) -> None:
    intervals = {
        name: (feature["properties"]["interval_seconds"], feature["properties"]["interval_text"])
        for name, feature in features.items()
    }
    assert intervals == {
        name: (None, None)
        if interval is None
        else (interval.total_seconds(), format_interval(interval))
        for name, interval in INTERVALS.items()
    }


def test_footprints_come_as_multipolygons(features: dict[str, Any]) -> None:
    assert {feature["geometry"]["type"] for feature in features.values()} == {"MultiPolygon"}
