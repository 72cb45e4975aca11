"""A small catalogue, and functions that export it in the process of the test."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from sqlalchemy import Engine

from pipeline.catalogue.access import ANONYMOUS
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.search import find_caller
from pipeline.database.engine import make_engine
from pipeline.database.tables import raster_sources
from pipeline.export import selection as parts
from pipeline.export.selection import ExportSelection, Snapshot
from pipeline.export.stac_geoparquet import export_geoparquet
from pipeline.export.static_catalogue import StaticCatalogue
from pipeline.export.summary import Summary
from pipeline.export.target import open_target
from pipeline.export.tile_index import export_gti
from pipeline.raster import ProcessReader
from tests.support.database import execute, rows
from tests.support.factory import write_raster
from tests.support.ingestion import SilentReporter, definition_files, register_files

STEPS = ("20240101T010000Z", "20240102T010000Z")


@dataclass(frozen=True)
class Catalogue:
    """The raster files of a folder, registered in the usual way."""

    engine: Engine
    url: str
    folder: Path
    reader: ProcessReader[FileRow]

    def register(self, name: str, *paths: Path, modifier: str = "Public", **fields: Any) -> None:
        """Register files as one raster source."""
        work = definition_files(
            paths, id=name, name=name, group="all", access_modifier=modifier, **fields
        )
        register_files(self.engine, self.reader.read, work)

    def file_id(self, name: str) -> int:
        """Return the id of a file by its name."""
        query = "SELECT id FROM raster_files WHERE uri LIKE '%/' || :name"
        return int(rows(self.engine, query, name=name)[0].id)

    def export(
        self, form: str, target: Path, *, names: Sequence[str] = (), user: str | None = None, full: bool = False
    ) -> Summary:  # fmt: skip
        """Export to a target; files below the folder `open` are public."""
        return export(self.engine, self.folder, form, target, names, user, full=full)

    def kill_export(self, form: str, target: Path, renames: int, **options: Any) -> bool:
        """Export in a process that is killed after a number of renames; return whether it was killed."""
        child = os.fork()
        if not child:
            kill_after_renames(renames)
            engine = make_engine(self.url)
            export(engine, self.folder, form, target, **options)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill_after_renames(renames: int) -> None:
    """Let this process kill itself when it renames a file after so many renames."""
    calls, rename = iter(range(10**6)), Path.replace

    def replace(path: Path, to: Path) -> Path:
        if next(calls) == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, to)

    Path.replace = replace  # type: ignore[method-assign, assignment]


def export(
    engine: Engine, folder: Path, form: str, target: Path, names: Sequence[str] = (), user: str | None = None,
    *, full: bool = False,
) -> Summary:  # fmt: skip
    with engine.connect() as connection:
        caller = find_caller(connection, user) if user else ANONYMOUS
    where = [raster_sources.c.name.in_(names)] if names else []
    published = [(f"{folder.as_uri()}/open/", f"{folder.as_uri()}/open/")]
    chosen = ExportSelection(caller, where, published)
    with Snapshot(engine).open() as snapshot:
        if form == "gti":
            return export_gti(snapshot, chosen, target, SilentReporter(), full=full)
        with open_target(target, form) as opened:
            if form == "stac":
                return StaticCatalogue(
                    snapshot, chosen, opened, SilentReporter(), full=full
                ).update()
            return export_geoparquet(snapshot, chosen, opened, SilentReporter(), full=full)


@pytest.fixture(scope="module")
def catalogue(
    engine: Engine, database_url: str, pool: ProcessReader[FileRow], tmp_path_factory: pytest.TempPathFactory
) -> Catalogue:  # fmt: skip
    """A catalogue with a series and files: across the antimeridian, with NaN, in a CRS without a code, Private."""
    folder = tmp_path_factory.mktemp("rasters")
    catalogue = Catalogue(engine, database_url, folder, pool)
    (folder / "open").mkdir()
    series = [write_raster(folder / "open" / f"rain_{step}.tif") for step in STEPS]
    pacific = write_raster(
        folder / "pacific.tif", crs="EPSG:4326", width=20, height=10, transform=Affine(0.1, 0, 179, 0, -0.1, 0.5)
    )  # fmt: skip
    polar = write_raster(
        folder / "open" / "polar.tif", crs="EPSG:3413", nodata=float("nan"),
        transform=Affine(100_000, 0, -500_000, 0, -100_000, 500_000),
    )  # fmt: skip
    custom = write_raster(
        folder / "custom.tif", crs="+proj=laea +lat_0=52 +lon_0=5 +ellps=GRS80", count=2, dtype="uint8",
        transform=Affine(10, 0, 0, 0, -10, 100), nodata=None, descriptions=("red", "green"),
    )  # fmt: skip
    catalogue.register("rain", *series, temporal=True, pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$")
    for path in (pacific, polar, custom):
        catalogue.register(path.stem, path)
    catalogue.register("secret", write_raster(folder / "secret.tif"), modifier="Private")
    execute(engine, "INSERT INTO users (username) VALUES ('admin')")
    execute(
        engine,
        "INSERT INTO roles (user_id, organisation_id, role) SELECT users.id, organisations.id, role "
        "FROM users, organisations, unnest(ARRAY['user', 'admin']) AS role WHERE username = 'admin'",
    )
    return catalogue


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each part of an export have one id only."""
    monkeypatch.setattr(parts, "PART_IDS", 1)
