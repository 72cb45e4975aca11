"""Runs over object storage, started as a user starts them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support.commands import RASTERSOURCES, run
from tests.support.database import empty_catalogue
from tests.support.factory import write_raster
from tests.support.proxy import Proxy, fail_every
from tests.support.s3 import Bucket


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    empty_catalogue(engine)


def uris(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT uri FROM raster_files ORDER BY uri")))


def register(database_url: str, location: str, status: int = 0, seconds: str = "20") -> Any:
    return run(
        [*RASTERSOURCES, "register", location, "--organisation", "Owner", "--create"],
        status=status,
        RASTERSOURCES_DATABASE_URL=database_url,
        RASTERSOURCES_BATCH_SIZE="10",
        RASTERSOURCES_FILE_SECONDS=seconds,
    )


def test_inspect_reads_objects(bucket: Bucket, tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "a b.tif")
    name = bucket.put("in/a b.tif", raster)
    url = name.replace(" ", "%20")
    locations: list[str | Path] = [raster, url]
    done = run([*RASTERSOURCES, "inspect", "--json", *locations])
    local_record, object_record = map(json.loads, done.stdout.splitlines())
    assert object_record == {**local_record, "uri": url}
    failed = run([*RASTERSOURCES, "inspect", "--stats", url], status=1)
    assert failed.stderr == (
        "rastersources: statistics need all pixels; copy the object to a folder first\n"
    )


def test_unchanged_objects_are_not_requested_again(
    bucket: Bucket, s3_proxy: Proxy, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    raster = write_raster(tmp_path / "a.tif")
    names = [bucket.put(f"in/{index}.tif", raster) for index in range(5)]
    register(database_url, f"s3://{bucket.name}/in")
    assert uris(engine) == names
    s3_proxy.exchanges.clear()
    register(database_url, f"s3://{bucket.name}/in")
    assert s3_proxy.exchanges
    assert all(exchange.is_listing for exchange in s3_proxy.exchanges)


def test_all_objects_are_registered_although_the_storage_fails_at_times(
    bucket: Bucket, s3_proxy: Proxy, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    bucket.put_many(
        [f"in/{index:03d}.tif" for index in range(100)],
        write_raster(tmp_path / "a.tif").read_bytes(),
    )
    s3_proxy.fault = fail_every(5, 503)
    register(database_url, f"s3://{bucket.name}/in")
    assert len(uris(engine)) == 100


def test_a_run_without_storage_ends_with_a_sentence_and_the_next_completes_it(
    bucket: Bucket, s3_proxy: Proxy, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    names = [f"in/{index:03d}.tif" for index in range(40)]
    bucket.put_many(names, write_raster(tmp_path / "a.tif").read_bytes())
    s3_proxy.fault = lambda _, path: 503 if "in/02" in path else None
    failed = register(database_url, f"s3://{bucket.name}/in", status=1, seconds="3")
    assert failed.stderr.splitlines()[-1].startswith(f"rastersources: s3://{bucket.name}/in/02")
    assert failed.stderr.endswith("(it answers 503); try again later\n")
    registered = uris(engine)
    assert len(registered) < 30
    assert not [uri for uri in registered if "/in/02" in uri]
    s3_proxy.fault = lambda _method, _path: None
    register(database_url, f"s3://{bucket.name}/in")
    assert uris(engine) == [f"s3://{bucket.name}/{name}" for name in names]


def test_a_definition_takes_objects_and_files_into_one_source(
    bucket: Bucket, engine: Engine, database_url: str, tmp_path: Path
) -> None:
    raster = write_raster(tmp_path / "x_2024-01-01.tif")
    bucket.put("rain/x_2024-01-02.tif", raster)
    bucket.put("rain/notes.txt")
    (tmp_path / "sources.toml").write_text(
        f"""
        [[source]]
        id = "rain"
        files = ["*.tif", "s3://{bucket.name}/rain/*.tif"]
        organisation = "Owner"
        group = "all"
        name = "Rain"
        temporal = true
        pattern = '_(?P<time>[0-9-]{{10}})\\.tif$'
        """
    )
    command = [*RASTERSOURCES, "register", "--config", tmp_path / "sources.toml", "--create"]
    run(command, RASTERSOURCES_DATABASE_URL=database_url)
    with engine.connect() as connection:
        (source,) = connection.execute(
            text("SELECT first_value_timestamp::date::text, last_value_timestamp::date::text, size FROM raster_sources")
        ).all()  # fmt: skip
    assert source == ("2024-01-01", "2024-01-02", 2 * raster.stat().st_size)
