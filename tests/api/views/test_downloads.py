"""Data that are written for a task: complete, readable by whoever has the URL, and gone after an hour."""

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
from tests.api.conftest import As, base, client_of
from tests.api.views.test_layer_data import LAYERS, Show, show
from tests.api.views.test_pictures import numbered, pixel_processes, register
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.s3 import Bucket
from tests.support.waiting import wait_until

__all__ = ["register", "show"]


def task_of(client: Client, answer: httpx.Response) -> Any:
    """What has become of a task in the end."""
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"task_id", "url"}
    found: list[Any] = []

    def is_settled() -> bool:
        found.append(client.get(answer.json()["url"]).json())
        return found[-1]["status"] not in ("PENDING", "STARTED")

    wait_until(is_settled)
    return found[-1]


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)))


@pytest.mark.parametrize("truth", ["true", "True", "1"])
def test_whoever_has_the_url_reads_the_file(
    client: Client, as_: As, show: Show, tmp_path: Path, truth: str
) -> None:
    values = numbered(90, 110)
    uuid = show(
        write_raster(tmp_path / "a.tif", width=110, height=90, values=values), modifier="Private"
    )
    task = task_of(client, as_("user").get(f"{LAYERS}{uuid}/data/?async={truth}&format=geotiff"))
    assert (task["status"], task["detail"]) == ("SUCCESS", None)
    assert task["result"].startswith(f"{base(client)}/api/v4/downloads/")
    answer = client.get(task["result"])
    assert answer.headers["content-type"] == "image/tiff; application=geotiff"
    assert answer.headers["content-length"] == str(len(answer.content))
    with rasterio.open(io.BytesIO(answer.content)) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        assert dataset.transform == RD_TRANSFORM


def test_the_file_is_gone_after_an_hour(
    client: Client, engine: Engine, show: Show, tmp_path: Path
) -> None:
    task = task_of(
        client, client.get(f"{LAYERS}{show(write_raster(tmp_path / 'a.tif'))}/data/?async=1")
    )
    found = text("SELECT uri, expires - now() FROM downloads WHERE uuid = :uuid")
    with engine.begin() as connection:
        uuid = task["result"].rstrip("/").rpartition("/")[2]
        uri, left = connection.execute(found, {"uuid": uuid}).one()
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
    task = task_of(
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
    task = task_of(client, client.get(url))
    assert (task["status"], task["result"]) == ("FAILURE", None)
    assert "changed since" in task["detail"]
    assert str(tmp_path) not in task["detail"]
    task = task_of(client, client.get(f"{url}&nodata=x"))
    assert task["detail"].startswith("nodata: ")


def test_the_task_of_a_server_that_died_is_settled_by_the_sweep(
    database_url: str, client: Client, engine: Engine, show: Show, tmp_path: Path
) -> None:
    uuid = show(write_raster(tmp_path / "a.tif"))
    folder = tmp_path / "uploads"
    with client_of(ApiConfig(database_url, uploads=str(folder))) as other:
        wait_until(lambda: other.get(f"{LAYERS}{uuid}/data/").status_code == 200)
    with engine.begin() as connection:  # as a killed server leaves it: recorded, without its lock
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
    found = client.get(f"/api/v4/tasks/{task.uuid}/").json()
    assert (found["status"], found["result"]) == ("FAILURE", None)
    assert "stopped" in found["detail"]


def test_a_server_that_stops_tells_those_who_wait(
    database_url: str, client: Client, show: Show, tmp_path: Path
) -> None:
    uuid = show(write_raster(tmp_path / "a.tif"))
    with client_of(ApiConfig(database_url, uploads=str(tmp_path / "uploads"))) as other:
        others = set(pixel_processes())
        first = task_of(other, other.get(f"{LAYERS}{uuid}/data/?async=1"))
        assert first["status"] == "SUCCESS"
        own = set(pixel_processes()) - others
        for pid in own:
            os.kill(pid, signal.SIGSTOP)
        task = other.get(f"{LAYERS}{uuid}/data/?async=1").json()
    assert own
    assert not set(pixel_processes()) & own
    found = client.get(f"/api/v4/tasks/{task['task_id']}/").json()
    assert (found["status"], found["detail"]) == (
        "FAILURE",
        "The server stopped while it wrote the file; ask again.",
    )


def test_a_guessed_url_leads_nowhere(client: Client) -> None:
    for name in ("10415ccb-ec31-4d43-bdb3-db597061527b", "x", "..%2F..%2Fetc%2Fpasswd"):
        assert client.get(f"/api/v4/downloads/{name}/").status_code == 404


def test_a_window_for_a_task_may_be_larger(database_url: str, show: Show, tmp_path: Path) -> None:
    url = f"{LAYERS}{show(write_raster(tmp_path / 'a.tif'))}/data/"
    limits: dict[str, Any] = {
        "data_pixels": 9,
        "task_pixels": 100,
        "uploads": str(tmp_path / "uploads"),
    }
    with client_of(ApiConfig(database_url, **limits)) as client:
        assert client.get(url).status_code == 400
        assert task_of(client, client.get(f"{url}?async=1"))["status"] == "SUCCESS"
        assert client.get(f"{url}?async=1&width=101&height=1").status_code == 400


def test_a_file_in_a_bucket_of_uploads(
    database_url: str, show: Show, tmp_path: Path, bucket: Bucket
) -> None:
    values = numbered(90, 110)
    uuid = show(write_raster(tmp_path / "a.tif", width=110, height=90, values=values))
    with client_of(ApiConfig(database_url, uploads=f"s3://{bucket.name}/uploads")) as client:
        task = task_of(client, client.get(f"{LAYERS}{uuid}/data/?async=1"))
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
    monkeypatch.setattr(downloader, "LIZARD_URL", f"{base(client)}/api/v4/")
    pause: Callable[[float], None] = lambda _: None  # noqa: E731
    monkeypatch.setattr(downloader, "sleep", pause)
    downloader.set_api_key(people["user"])
    values = numbered(90, 110)
    uuid = show(
        write_raster(tmp_path / "a.tif", width=110, height=90, values=values), modifier="Private"
    )
    target = tmp_path / "downloaded.tif"
    with pytest.raises(KeyError):  # of the client: it needs a size where it has no scenario
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
