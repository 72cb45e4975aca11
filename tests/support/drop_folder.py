"""A drop folder with its target folders and a real catalogue."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport
from pipeline.ingest.drop_folders import DropFolderFiles, load_drop_folders
from pipeline.raster import ProcessReader
from pipeline.storage import file_uri
from tests.support.database import empty_catalogue, execute, rows
from tests.support.derived import assert_derived
from tests.support.factory import write_raster
from tests.support.ingestion import sync_files

Field = str | int | list[str] | None


def new_site(engine: Engine, pool: ProcessReader[FileRow], base: Path) -> "Site":
    """Empty the catalogue, and make empty folders."""
    empty_catalogue(engine)
    execute(engine, "INSERT INTO organisations (name) VALUES ('Owner')")
    site = Site(engine, pool, base)
    for folder in (site.folder, site.done, site.rejected):
        folder.mkdir()
    return site


SOURCE = """
    WITH owner AS (
        INSERT INTO organisations (name) VALUES (:organisation)
        ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id
    ), supplier AS (
        INSERT INTO users (username) SELECT :supplier WHERE :supplier IS NOT NULL
        ON CONFLICT (username) DO UPDATE SET username = excluded.username RETURNING id
    )
    INSERT INTO raster_sources (name, organisation_id, supplier_id, supplier_code, temporal)
    SELECT :code, owner.id, (SELECT id FROM supplier), :code, :temporal FROM owner RETURNING uuid
"""


@dataclass
class Site:
    """A drop folder, the folders `done` and `rejected`, and the catalogue."""

    engine: Engine
    pool: ProcessReader[FileRow]
    base: Path

    @property
    def folder(self) -> Path:
        return self.base / "incoming"

    @property
    def done(self) -> Path:
        return self.base / "done"

    @property
    def rejected(self) -> Path:
        return self.base / "rejected"

    def add_source(self, code: str, *, organisation: str = "Owner", supplier: str | None = None,
                   temporal: bool = False) -> Any:  # fmt: skip
        """Add a raster source without files; return its uuid."""
        values = {
            "code": code,
            "organisation": organisation,
            "supplier": supplier,
            "temporal": temporal,
        }
        with self.engine.begin() as connection:
            statement = SOURCE.replace(":supplier", "CAST(:supplier AS text)")
            return connection.execute(text(statement), values).scalar_one()

    def configure(self, **fields: Field) -> DropFolderFiles:
        """Write a sources.toml with the drop folder, and load it; fields of None are left out."""
        fields = {"folder": "incoming", "settle_seconds": 0, "organisation": "Owner", **fields}
        lines = "".join(
            f"{name} = {json.dumps(value)}\n" for name, value in fields.items() if value is not None
        )
        config = self.base / "sources.toml"
        config.write_text(f'[[drop]]\nid = "drop"\n{lines}')
        (drop_folder,) = load_drop_folders(config)
        return drop_folder

    def sync(self, **fields: Field) -> RunReport:
        """Sync the drop folder, with `done` and `rejected` as folders unless the fields say otherwise."""
        fields = {"done": "done", "rejected": "rejected", **fields}
        report = sync_files(self.engine, self.pool.read, self.configure(**fields))
        assert_derived(self.engine)
        assert rows(self.engine, "SELECT * FROM moves") == []
        return report

    def drop(self, name: str, **raster: Any) -> Path:
        """Write a raster into the drop folder."""
        return write_raster(self.folder / name, **raster)

    def files(self) -> list[tuple[str, str]]:
        """Return the supplier code of the source and the relative path of each registered file."""
        files = rows(
            self.engine,
            "SELECT supplier_code, uri FROM raster_files AS file JOIN raster_sources AS source "
            "ON source.id = file.source_id WHERE file.definition = 'drop' ORDER BY uri",
        )
        return self._with_relative_paths(files)

    def rejections(self) -> list[tuple[str, str]]:
        """Return the code and the relative path of each rejected file."""
        files = rows(self.engine, "SELECT code, uri FROM rejected_files ORDER BY uri")
        return self._with_relative_paths(files)

    def _with_relative_paths(self, files: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(code, uri.removeprefix(file_uri(self.base) + "/")) for code, uri in files]


def tree(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
