"""An empty catalogue for each test, and a function that syncs a folder."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport
from pipeline.raster import ProcessReader
from tests.support.database import empty_catalogue
from tests.support.ingestion import definition_files, sync_files


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


@pytest.fixture
def sync(engine: Engine, pool: ProcessReader[FileRow]) -> Any:
    def sync(folder: Path, accept_missing: bool = True, **fields: Any) -> RunReport:
        return sync_files(
            engine, pool.read, definition_files([folder], **fields), accept_missing=accept_missing
        )

    return sync
