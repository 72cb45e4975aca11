"""Uploads to `rastersources serve` that are kept in a bucket: small in memory, and safe from being killed."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.people import add_user, create_key, grant_role
from pipeline.deposit import deposit_at
from pipeline.storage.objects import store_of
from pipeline.uploading import sweep
from tests.derived import assert_derived
from tests.factory import write_raster
from tests.s3 import Bucket, Server, new_bucket
from tests.test_uploads import Serving, kill_after, rows, stream


@pytest.fixture(scope="module")
def own(s3_server: Server) -> Iterator[Bucket]:
    """The bucket of the uploads, which this process finds by its environment."""
    found = new_bucket(s3_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        store_of.cache_clear()
        yield found
    store_of.cache_clear()


@pytest.fixture(scope="module")
def serving(
    database_url: str, engine: Engine, tmp_path_factory: pytest.TempPathFactory, own: Bucket
) -> Iterator[Serving]:
    organisation = str(add_organisation(engine, "Owner"))
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    home, key = tmp_path_factory.mktemp("home"), create_key(engine, "admin")
    changes = {"RASTERSOURCES_UPLOADS": f"s3://{own.name}/uploads"}
    with Serving(database_url, home, key, organisation, **changes) as serving:
        yield serving


@pytest.mark.parametrize(
    "mebibytes", [192, pytest.param(2048, marks=pytest.mark.soak)], ids=["192 MiB", "2 GiB"]
)
def test_a_large_file_is_handed_on_in_little_memory(
    serving: Serving, own: Bucket, mebibytes: int
) -> None:
    url = serving.source()
    answer = serving.client.post(
        f"{url}data/",
        content=stream(mebibytes),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=600,
    )
    assert answer.status_code == 200
    assert serving.peak() < 200
    assert serving.wait_for(answer.json()["url"]) == "FAILURE"
    (upload,) = serving.client.get(f"{url}uploads/").json()["results"]
    assert upload["state_detail"].startswith("not_a_geotiff")
    assert own.keys() == []


@pytest.mark.parametrize(
    "kills", [3, pytest.param(60, marks=pytest.mark.soak)], ids=["3 kills", "60 kills"]
)
def test_a_killed_server_loses_nothing_and_doubles_nothing(
    serving: Serving, engine: Engine, own: Bucket, tmp_path: Path, kills: int
) -> None:
    tif, chance, url = write_raster(tmp_path / "a.tif"), random.Random(4), serving.source()
    tasks: dict[int, str] = {}
    for _ in range(kills):
        with ThreadPoolExecutor(1) as thread:
            killing = thread.submit(kill_after, serving, chance.uniform(0.05, 0.5))
            for step in range(len(tasks), len(tasks) + 6):
                try:
                    tasks[step] = serving.send(url, tif, step)
                except httpx.TransportError:
                    break
            killing.result()
        serving.start()
    assert {serving.wait_for(task) for task in tasks.values()} <= {"SUCCESS"}
    serving.settle(engine)
    query = "SELECT date_part('epoch', times[1] - '2024-01-01')::integer / 60 FROM raster_files"
    found = rows(engine, query)
    assert len(found) == len(set(found))
    assert set(tasks) <= set(found)
    assert_derived(engine)
    deposit = deposit_at(f"s3://{own.name}/uploads")
    sweep(engine, deposit, seconds=0)
    assert set(deposit.uris()) == set(rows(engine, "SELECT uri FROM raster_files"))
