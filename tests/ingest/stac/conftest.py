"""Catalogues that tests write, and their import in the process of the test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport
from pipeline.ingest.plan import SyncPlan
from pipeline.ingest.register import RunOptions, RunOutcome
from pipeline.ingest.stac.assets import AssetFilter
from pipeline.ingest.stac.importing import StacImport, import_stac, open_import, plan_import
from pipeline.raster import ProcessReader
from pipeline.storage import Root
from tests.support.database import empty_catalogue, rows
from tests.support.ingestion import SilentReporter, run_context, single_report
from tests.support.web import Web, serve_folder

GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
FACTS = """
    SELECT size, width, height, band_count, transform, rotated, origin_x, origin_y, upper_bound_x, upper_bound_y,
           pixelsize_x, pixelsize_y, west, south, east, north, footprint::text, operation_code, operation_name,
           operation_accuracy, proj_version, dtype, fill_value, bands, times, datetime, area_or_point, layout, warnings,
           provenance, system.wkt, system.projection, file_name(uri) AS name
    FROM raster_files AS file JOIN coordinate_systems AS system ON system.id = file.coordinate_system_id
    WHERE definition = :definition ORDER BY file_name(uri)
"""
"""What a record says of its file, except where it is."""


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    folder = tmp_path / "served"
    folder.mkdir()
    with serve_folder(folder) as web:
        yield web


class Importer:
    """Imports in the process of a test."""

    def __init__(self, engine: Engine, pool: ProcessReader[FileRow]) -> None:
        self.engine, self.pool = engine, pool

    def open(
        self,
        name: str | Path,
        *roots: Root,
        asset_filter: AssetFilter = AssetFilter(),  # noqa: B008 - it cannot be changed
        most: int = 10**6,
        **fields: Any,
    ) -> StacImport:
        return open_import(
            str(name), {"organisation": "Owner", **fields}, asset_filter, roots, most
        )

    def outcome(self, name: str | Path, *roots: Root, **more: Any) -> tuple[StacImport, RunOutcome]:
        files = self.open(name, *roots, **more)
        return files, import_stac(run_context(self.engine, self.pool.read), files)

    def __call__(self, name: str | Path, *roots: Root, **more: Any) -> RunReport:
        return single_report([self.outcome(name, *roots, **more)[1]])

    def plan(self, name: str | Path, *roots: Root, **more: Any) -> SyncPlan:
        files = self.open(name, *roots, **more)
        return plan_import(self.engine, files, RunOptions(create=True), SilentReporter())


@pytest.fixture
def stac(engine: Engine, pool: ProcessReader[FileRow]) -> Importer:
    return Importer(engine, pool)


def item(href: str, collection: str | None = "maps", **changes: Any) -> dict[str, Any]:
    """An item of STAC with one GeoTIFF and a thumbnail."""
    name = href.rpartition("/")[2]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        **({"collection": collection} if collection else {}),
        "geometry": None,
        "properties": {"datetime": "2024-05-01T12:00:00Z"},
        "links": [],
        "assets": {
            "data": {"href": href, "type": GEOTIFF, "roles": ["data"]},
            "thumbnail": {"href": "./x.png", "type": "image/png", "roles": ["thumbnail"]},
        },
        **changes,
    }


def features(*items: dict[str, Any], next: dict[str, Any] | None = None) -> dict[str, Any]:
    links = [{"rel": "next", **next}] if next else []
    return {"type": "FeatureCollection", "features": [*items], "links": links}


def catalogue(*links: tuple[str, str], **more: Any) -> dict[str, Any]:
    found = [{"rel": rel, "href": href} for rel, href in links]
    return {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "links": found, **more}


def collection(name: str, *links: tuple[str, str]) -> dict[str, Any]:
    return catalogue(*links, type="Collection", id=name, title=f"The {name}", extent={})


def write_static(folder: Path, paths: list[Path]) -> Path:
    """A static catalogue beside its files, with relative links as pystac writes them."""
    links = []
    for number, path in enumerate(paths):
        document = folder / f"{number}.json"
        document.write_text(json.dumps(item(f"./{path.relative_to(folder)}".replace(" ", "%20"))))
        links.append(("item", f"../{document.name}"))
    (folder / "maps").mkdir(exist_ok=True)
    (folder / "maps/collection.json").write_text(
        json.dumps(collection("maps", *links, ("root", "../catalog.json")))
    )
    root = folder / "catalog.json"
    root.write_text(
        json.dumps(catalogue(("child", "./maps/collection.json"), ("root", "./catalog.json")))
    )
    return root


def facts(engine: Engine, definition: str) -> list[Any]:
    return rows(engine, FACTS, definition=definition)


def sources(engine: Engine) -> list[tuple[str, int]]:
    found = rows(engine, "SELECT name, file_count FROM raster_sources ORDER BY name, file_count")
    return [tuple(row) for row in found]


def uris(engine: Engine) -> list[str]:
    return [row.uri for row in rows(engine, "SELECT uri FROM raster_files ORDER BY uri")]


def codes(report: RunReport) -> dict[str, str]:
    return {rejection.uri: rejection.code for rejection in report.rejected}
