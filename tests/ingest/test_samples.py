"""The samples give the ten records of the original service, and the records follow the headers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
from affine import Affine
from httpx import Client

from pipeline.api.config import ApiConfig
from tests.api.conftest import client_of
from tests.support.commands import RASTERSOURCES, REPOSITORY, run

SEED = json.loads((REPOSITORY / "tests/data/seed.json").read_text())
SAMPLES = REPOSITORY / "sample_data"
LIST = "/api/v4/rastersources/"


def serve_records(database_url: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield all records that the API serves, by name."""
    with client_of(ApiConfig(database_url)) as client:
        page = client.get(LIST, params={"page_size": "100"}).json()
        assert page["count"] == len(page["results"])
        yield {record["name"]: record for record in page["results"]}


@pytest.fixture(scope="module")
def records(database_url: str) -> Iterator[dict[str, dict[str, Any]]]:
    command = [*RASTERSOURCES, "register", "--config", SAMPLES / "sources.toml", "--create"]
    run(command, RASTERSOURCES_DATABASE_URL=database_url)
    yield from serve_records(database_url)


def test_the_samples_give_ten_records(records: dict[str, Any]) -> None:
    assert sorted(records) == sorted(record["name"] for record in SEED["records"])


@pytest.mark.parametrize(
    "expected", SEED["records"], ids=[record["name"][-40:] for record in SEED["records"]]
)
def test_each_record_is_that_of_the_original_service(
    records: dict[str, Any], expected: dict[str, Any]
) -> None:
    record = records[expected["name"]]
    assert list(record) == SEED["keys"]
    assert record["organisation"]["name"] == expected["organisation"]
    assert list(record["spatial_bounds"]) == list(expected["spatial_bounds"])
    assert record["spatial_bounds"] == pytest.approx(expected["spatial_bounds"], abs=1e-12, rel=0)
    for field in expected.keys() - {"organisation", "spatial_bounds"}:
        assert (field, record[field], type(record[field])) == (
            field,
            expected[field],
            type(expected[field]),
        )


def test_the_detail_is_the_record_of_the_list(records: dict[str, Any], database_url: str) -> None:
    with client_of(ApiConfig(database_url)) as client:
        for record in records.values():
            path = f"{LIST}{record['uuid']}/"
            assert record["url"].endswith(path)
            detail = client.get(path).json()
            assert detail | hyperlinks(record) == record


def hyperlinks(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the address of the server, which differs from test to test."""
    return {"url": record["url"], "organisation": record["organisation"]}


@pytest.fixture
def copied_samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder)
    return folder


def register_and_find(url: str, folder: Path, name: str) -> dict[str, Any]:
    run(
        [*RASTERSOURCES, "register", "--config", folder / "sources.toml", "--create"],
        RASTERSOURCES_DATABASE_URL=url,
    )
    with client_of(ApiConfig(url)) as client:
        return find_record(client, name)


def find_record(client: Client, name: str) -> dict[str, Any]:
    (record,) = client.get(LIST, params={"name__endswith": name}).json()["results"]
    assert isinstance(record, dict)
    return record


def test_a_record_follows_place_pixel_size_and_nodata_of_its_header(
    copied_samples: Path, fresh: str
) -> None:
    before = register_and_find(fresh, copied_samples, "grid ucr-max")
    with rasterio.open(copied_samples / "bloemhof_ucr_max.tif", "r+") as dataset:
        dataset.transform = Affine(20, 0, 100_000, 0, -5, 440_000)
        dataset.nodata = -1234.5
    after = register_and_find(fresh, copied_samples, "grid ucr-max")
    # 112 columns of 20 m and 97 rows of 5 m
    assert (after["origin_x"], after["upper_bound_x"]) == (100_000, 102_240)
    assert (after["origin_y"], after["upper_bound_y"]) == (439_515, 440_000)
    assert (after["pixelsize_x"], after["pixelsize_y"]) == (20, -5)
    assert after["fill_value"] == "-1234.5"
    assert after["spatial_bounds"]["west"] > before["spatial_bounds"]["west"]
    assert after["spatial_bounds"]["south"] > before["spatial_bounds"]["north"]
    assert after["uuid"] == before["uuid"]
    assert after["last_modified"] > before["last_modified"]


def test_a_record_follows_dtype_and_size_of_its_file(copied_samples: Path, fresh: str) -> None:
    path = copied_samples / "bloemhof_mask.tif"
    with rasterio.open(path) as dataset:
        profile = dataset.profile
    profile.update(width=100, height=50, dtype="int16", nodata=-5, sparse_ok=False, compress=None)
    with rasterio.open(path, "w", **profile):
        pass
    record = register_and_find(fresh, copied_samples, "mask")
    assert (record["dtype"], record["fill_value"]) == ("i2", "-5")
    assert record["size"] == path.stat().st_size
    # the upper left corner stays, (93486, 434797): 100 columns and 50 rows of half a metre
    assert (record["upper_bound_x"], record["origin_y"]) == (93_536, 434_772)
