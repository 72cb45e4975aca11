"""Uploads to a bucket through `rastersources serve`: they take little memory and survive kills."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline.catalogue.upload_files import sweep
from pipeline.storage.s3 import open_bucket
from pipeline.storage.uploads import open_upload_store
from tests.support.database import scalars
from tests.support.factory import write_raster
from tests.support.s3 import Bucket, Server, new_bucket
from tests.support.serving import (
    KILLS,
    LARGE,
    Serving,
    assert_nothing_lost_or_doubled,
    assert_upload_needs_little_memory,
    serving_for,
)


@pytest.fixture(scope="module")
def upload_bucket(s3_server: Server) -> Iterator[Bucket]:
    """The bucket of the uploads, which this process finds by its environment."""
    bucket = new_bucket(s3_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        open_bucket.cache_clear()
        yield bucket
    open_bucket.cache_clear()


@pytest.fixture(scope="module")
def serving(
    database_url: str,
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    upload_bucket: Bucket,
) -> Iterator[Serving]:
    uploads, home = f"s3://{upload_bucket.name}/uploads", tmp_path_factory.mktemp("home")
    with serving_for(engine, database_url, home, RASTERSOURCES_UPLOADS=uploads) as serving:
        yield serving


@LARGE
def test_a_large_upload_takes_little_memory(
    serving: Serving, upload_bucket: Bucket, mebibytes: int
) -> None:
    assert_upload_needs_little_memory(serving, mebibytes)
    assert upload_bucket.keys() == ["uploads/.catalogue"]


@KILLS
def test_a_killed_server_loses_and_doubles_no_upload(
    serving: Serving, engine: Engine, upload_bucket: Bucket, tmp_path: Path, kills: int
) -> None:
    assert_nothing_lost_or_doubled(serving, engine, write_raster(tmp_path / "a.tif"), kills)
    store = open_upload_store(f"s3://{upload_bucket.name}/uploads")
    sweep(engine, store)
    assert set(store.uris()) == set(scalars(engine, "SELECT uri FROM raster_files"))
