"""Tasks write data into files that are complete, readable by everyone with the URL, and deleted after an hour."""

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.upload_files import sweep
from pipeline.storage.uploads import open_upload_store
from tests.api.conftest import As, address_of, client_of
from tests.api.views.test_layer_data import LAYERS, Show, show
from tests.api.views.test_pictures import find_pixel_processes, random_values, register
from tests.support.database import rows
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.s3 import Bucket
from tests.support.waiting import wait_until

__all__ = ["register", "show"]


def wait_for_task(client: Client, answer: httpx.Response) -> Any:
    """Wait until a task has ended; return it."""
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"task_id", "url"}
    task: dict[str, Any] = {}

    def has_ended() -> bool:
        task.update(client.get(answer.json()["url"]).json())
        return task["status"] not in ("PENDING", "STARTED")

    wait_until(has_ended)
    return task


@pytest.mark.parametrize("async_", ["true", "True", "1"])
def test_everyone_with_the_url_reads_the_file(
    client: Client, as_: As, show: Show, tmp_path: Path, async_: str
) -> None:
    values = random_values(90, 110)
    uuid = show(
        write_raster(tmp_path / "a.tif", width=110, height=90, values=values), modifier="Private"
    )
    task = wait_for_task(
        client, as_("user").get(f"{LAYERS}{uuid}/data/?async={async_}&format=geotiff")
    )
    assert (task["status"], task["detail"]) == ("SUCCESS", None)
    assert task["result"].startswith(f"{address_of(client)}/api/v4/downloads/")
    answer = client.get(task["result"])
    assert answer.headers["content-type"] == "image/tiff; application=geotiff"
    assert answer.headers["content-length"] == str(len(answer.content))
    with rasterio.open(io.BytesIO(answer.content)) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        assert dataset.transform == RD_TRANSFORM


def test_the_file_is_deleted_after_an_hour(
    client: Client, engine: Engine, show: Show, tmp_path: Path
) -> None:
    task = wait_for_task(
        client, client.get(f"{LAYERS}{show(write_raster(tmp_path / 'a.tif'))}/data/?async=1")
    )
    query = text("SELECT uri, expires - now() FROM downloads WHERE uuid = :uuid")
    with engine.begin() as connection:
        uuid = task["result"].rstrip("/").rpartition("/")[2]
        uri, left = connection.execute(query, {"uuid": uuid}).one()
        assert 3500 < left.total_seconds() <= 3600
        connection.execute(text("UPDATE downloads SET expires = now() - interval '1 second'"))
    assert client.get(task["result"]).status_code == 404
    store = open_upload_store(Path(uri.removeprefix("file://")).parents[1])
    assert uri in sweep(engine, store)
    assert not Path(uri.removeprefix("file://")).exists()
    assert rows(engine, "SELECT FROM downloads") == []


def test_the_sweep_keeps_a_file_that_has_not_expired(
    client: Client, engine: Engine, show: Show, tmp_path: Path
) -> None:
    task = wait_for_task(
        client, client.get(f"{LAYERS}{show(write_raster(tmp_path / 'a.tif'))}/data/?async=1")
    )
    ((uri,),) = rows(engine, "SELECT uri FROM downloads WHERE expires > now()")
    sweep(engine, open_upload_store(Path(uri.removeprefix("file://")).parents[1]))
    assert client.get(task["result"]).status_code == 200


def test_a_task_that_fails_says_why_and_leaves_nothing(
    client: Client, engine: Engine, show: Show, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif")
    url = f"{LAYERS}{show(path)}/data/?async=true"
    write_raster(tmp_path / "b.tif", values=np.zeros((1, 10, 10))).rename(path)
    task = wait_for_task(client, client.get(url))
    assert (task["status"], task["result"]) == ("FAILURE", None)
    assert "changed since" in task["detail"]
    assert str(tmp_path) not in task["detail"]
    task = wait_for_task(client, client.get(f"{url}&nodata=x"))
    assert task["detail"].startswith("nodata: ")


def test_the_sweep_fails_the_task_of_a_server_that_died(
    database_url: str, client: Client, engine: Engine, show: Show, tmp_path: Path
) -> None:
    uuid = show(write_raster(tmp_path / "a.tif"))
    folder = tmp_path / "uploads"
    with client_of(ApiConfig(database_url, uploads=str(folder))) as other:
        wait_until(lambda: other.get(f"{LAYERS}{uuid}/data/").status_code == 200)
    with engine.begin() as connection:  # a killed server leaves a recorded task without a lock
        task = connection.execute(
            text("INSERT INTO tasks (status) VALUES ('STARTED') RETURNING id, uuid")
        ).one()
        uri = f"file://{folder}/{'0' * 32}/raster.tif"
        connection.execute(
            text("INSERT INTO upload_files (uri, receiver) VALUES (:uri, 12345)"), {"uri": uri}
        )
        connection.execute(
            text("INSERT INTO downloads (task_id, uri, filename) VALUES (:id, :uri, 'a.tif')"),
            {"id": task.id, "uri": uri},
        )
    sweep(engine, open_upload_store(folder))
    failed = client.get(f"/api/v4/tasks/{task.uuid}/").json()
    assert (failed["status"], failed["result"]) == ("FAILURE", None)
    assert "stopped" in failed["detail"]


def test_a_server_that_stops_fails_its_tasks(
    database_url: str, client: Client, show: Show, tmp_path: Path
) -> None:
    uuid = show(write_raster(tmp_path / "a.tif"))
    with client_of(ApiConfig(database_url, uploads=str(tmp_path / "uploads"))) as other:
        others = set(find_pixel_processes())
        first = wait_for_task(other, other.get(f"{LAYERS}{uuid}/data/?async=1"))
        assert first["status"] == "SUCCESS"
        own = set(find_pixel_processes()) - others
        for pid in own:
            os.kill(pid, signal.SIGSTOP)
        task = other.get(f"{LAYERS}{uuid}/data/?async=1").json()
    assert own
    assert not set(find_pixel_processes()) & own
    failed = client.get(f"/api/v4/tasks/{task['task_id']}/").json()
    assert (failed["status"], failed["detail"]) == (
        "FAILURE",
        "The server stopped while it wrote the file; send the request again.",
    )


def test_a_guessed_url_is_404(client: Client) -> None:
    for name in ("10415ccb-ec31-4d43-bdb3-db597061527b", "x", "..%2F..%2Fetc%2Fpasswd"):
        assert client.get(f"/api/v4/downloads/{name}/").status_code == 404


def test_the_window_of_a_task_may_be_larger(database_url: str, show: Show, tmp_path: Path) -> None:
    url = f"{LAYERS}{show(write_raster(tmp_path / 'a.tif'))}/data/"
    limits: dict[str, Any] = {
        "data_pixels": 9,
        "task_pixels": 100,
        "uploads": str(tmp_path / "uploads"),
    }
    with client_of(ApiConfig(database_url, **limits)) as client:
        assert client.get(url).status_code == 400
        assert wait_for_task(client, client.get(f"{url}?async=1"))["status"] == "SUCCESS"
        assert client.get(f"{url}?async=1&width=101&height=1").status_code == 400


def test_a_task_writes_its_file_into_the_bucket_of_uploads(
    database_url: str, show: Show, tmp_path: Path, bucket: Bucket
) -> None:
    values = random_values(90, 110)
    uuid = show(write_raster(tmp_path / "a.tif", width=110, height=90, values=values))
    with client_of(ApiConfig(database_url, uploads=f"s3://{bucket.name}/uploads")) as client:
        task = wait_for_task(client, client.get(f"{LAYERS}{uuid}/data/?async=1"))
        assert task["status"] == "SUCCESS", task
        with rasterio.open(io.BytesIO(client.get(task["result"]).content)) as dataset:
            np.testing.assert_array_equal(dataset.read(), values)


def test_the_published_client_downloads_a_raster(
    client: Client,
    people: dict[str, str],
    show: Show,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    downloader = pytest.importorskip("threedi_scenario_downloader.downloader")
    monkeypatch.setattr(downloader, "LIZARD_URL", f"{address_of(client)}/api/v4/")
    pause: Callable[[float], None] = lambda _: None  # noqa: E731
    monkeypatch.setattr(downloader, "sleep", pause)
    downloader.set_api_key(people["user"])
    values = random_values(90, 110)
    uuid = show(
        write_raster(tmp_path / "a.tif", width=110, height=90, values=values), modifier="Private"
    )
    target = tmp_path / "downloaded.tif"
    with pytest.raises(KeyError):  # the client needs a size if it has no scenario
        downloader.download_raster(uuid, bbox="155000,462100,156100,463000", is_threedi_scenario=False,
                                   pathname=str(target))  # fmt: skip
    scenario = {"origin_x": 155_000.0, "origin_y": 462_100.0, "upper_bound_x": 156_100.0,
                "upper_bound_y": 463_000.0, "pixelsize_x": 10.0, "pixelsize_y": -10.0}  # fmt: skip
    monkeypatch.setattr(downloader, "get_scenario_instance", lambda _: scenario)
    monkeypatch.setattr(
        downloader, "get_raster", lambda *_, **__: {"uuid": uuid, "projection": "EPSG:28992"}
    )
    downloader.download_raster("a scenario", "depth-max-dtri", pathname=str(target))
    with rasterio.open(target) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
