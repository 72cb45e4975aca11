"""The pages for clients are right, and clients load the same pixels as rasterio, of the samples and of a bucket."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pytest
import rasterio
import stackstac
from httpx import Client
from numpy.typing import NDArray
from pystac import ItemCollection
from pystac_client import Client as StacClient
from requests.auth import HTTPBasicAuth
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.api.stac.search import DEFAULT_LIMIT
from pipeline.catalogue.users import add_user, create_key, grant_role
from pipeline.storage.s3 import open_bucket
from tests.api.conftest import address_of, client_of
from tests.support.commands import RASTERSOURCES, REPOSITORY, run
from tests.support.docs_commands import find_code_blocks, matches
from tests.support.factory import write_raster
from tests.support.needs import QGIS_PYTHON, needs_gdal, needs_qgis
from tests.support.s3 import Bucket, Server, new_bucket

SAMPLES = REPOSITORY / "sample_data"
PAGES = REPOSITORY / "docs" / "how-to"
IN_BUCKET = """
[[source]]
id = "bucket"
files = "s3://{}/"
organisation = "Owner"
access_modifier = "Private"
"""
pytestmark = [  # the clients are older than some libraries that they use
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture(scope="module")
def own(s3_server: Server, folder: Path) -> Iterator[Bucket]:
    """A bucket with files of one band and of two, which this process and GDAL find by the environment."""
    bucket = new_bucket(s3_server)
    address = s3_server.endpoint.partition("//")[2]
    variables = {"AWS_S3_ENDPOINT": address, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for count in (1, 2):
        path = write_raster(
            folder / f"bands_{count}.tif", width=200, height=300, count=count, dtype="uint16", nodata=0,
            values=np.random.default_rng(count).integers(1, 60_000, (count, 300, 200)),
            tiled=True, blockxsize=128, blockysize=128, compress="deflate",
        )  # fmt: skip
        bucket.put(path.name, path)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**bucket.environment, **variables}.items():
            patch.setenv(name, value)
        open_bucket.cache_clear()
        yield bucket
    open_bucket.cache_clear()


@pytest.fixture(scope="module")
def client(database_url: str, own: Bucket, folder: Path) -> Iterator[Client]:
    """A client of an API that has the samples and the bucket, and publishes the locations of both."""
    samples = (SAMPLES / "sources.toml").read_text().replace('files = "', f'files = "{SAMPLES}/')
    config = folder / "sources.toml"
    config.write_text(samples + IN_BUCKET.format(own.name))
    command = [*RASTERSOURCES, "register", "--config", config, "--create"]
    run(command, RASTERSOURCES_DATABASE_URL=database_url)
    urls = [f"{SAMPLES.as_uri()}/", f"s3://{own.name}/"]
    with client_of(ApiConfig(database_url, asset_urls=tuple((url, url) for url in urls))) as client:
        yield client


def find_items(client: Client, pattern: str, key: str | None = None) -> ItemCollection:
    """Return the items whose titles match a pattern, in the order of their titles."""
    login = HTTPBasicAuth("__key__", key) if key else None
    catalogue = StacClient.open(f"{address_of(client)}/stac", request_modifier=login)  # type: ignore[arg-type]
    return catalogue.search(filter=f"title LIKE '{pattern}'", sortby="title").item_collection()


def read(path: Path) -> NDArray[Any]:
    """Return the pixels of all bands."""
    with rasterio.open(path) as dataset:
        values: NDArray[Any] = dataset.read()
        return values


def read_valid(path: Path) -> NDArray[Any]:
    """Return the pixels of the first band, with NaN for nodata."""
    with rasterio.open(path) as dataset:
        values = dataset.read(1).astype("f8")
        return np.where(dataset.read_masks(1) == 255, values, np.nan)


SERIES = ["bloemhof_rain_20240101T010000Z.tif", "bloemhof_rain_20240101T020000.784912Z.tif"]


def test_odc_stac_loads_the_pixels_of_a_series(client: Client) -> None:
    loaded = odc.stac.load(find_items(client, "bloemhof_rain%"), bands=["data"])
    assert loaded.data.dtype == "float32"
    np.testing.assert_array_equal(loaded.data, [read(SAMPLES / name)[0] for name in SERIES])
    assert len(np.unique(loaded.data)) > 10


def test_stackstac_loads_the_pixels_of_a_series(client: Client) -> None:
    loaded = stack(find_items(client, "bloemhof_rain%"))
    np.testing.assert_array_equal(loaded[:, 0], [read_valid(SAMPLES / name) for name in SERIES])


def stack(items: ItemCollection) -> NDArray[Any]:
    """Load the assets `data` with stackstac as docs/how-to/odc-stac.md does; return the pixels."""
    for item in items:
        item.properties["proj:epsg"] = int(item.properties["proj:code"].removeprefix("EPSG:"))
    values: NDArray[Any] = stackstac.stack(items, assets=["data"], snap_bounds=False).values
    return values


def test_both_load_the_pixels_of_other_samples(client: Client) -> None:
    for name in ("bloemhof_mask", "bloemhof_ucr_max"):
        items = find_items(client, f"{name}.tif")
        expected = read(SAMPLES / f"{name}.tif")
        np.testing.assert_array_equal(odc.stac.load(items, bands=["data"]).data, expected)
        shown = read_valid(SAMPLES / f"{name}.tif")
        np.testing.assert_array_equal(stack(items)[0, 0], shown)


def test_odc_stac_loads_a_window(client: Client) -> None:
    items = find_items(client, "bloemhof_s1_max.tif")
    part = odc.stac.load(items, bands=["data"], bbox=(4.5, 51.893, 4.502, 51.895))
    with rasterio.open(SAMPLES / "bloemhof_s1_max.tif") as dataset:
        expected = dataset.read(1, window=dataset.window(*part.odc.geobox.boundingbox))
    np.testing.assert_array_equal(part.data, [expected])
    assert len(np.unique(expected)) > 10


def test_both_load_the_pixels_of_a_bucket(
    client: Client, engine: Engine, own: Bucket, folder: Path
) -> None:
    add_user(engine, "admin")
    grant_role(engine, "admin", "Owner", "admin")
    first_item, second_item = find_items(client, "bands%.tif", create_key(engine, "admin"))
    hrefs = [item.assets["data"].href for item in (first_item, second_item)]
    assert hrefs == [f"s3://{own.name}/bands_{count}.tif" for count in (1, 2)]
    first, (second, third) = read(folder / "bands_1.tif"), read(folder / "bands_2.tif")
    np.testing.assert_array_equal(odc.stac.load([first_item]).data, first)
    loaded = odc.stac.load([second_item])
    np.testing.assert_array_equal(loaded["data.1"][0], second)
    np.testing.assert_array_equal(loaded["data.2"][0], third)
    np.testing.assert_array_equal(stack(ItemCollection([first_item]))[0], first)


def find_example(page: str, client: Client) -> tuple[str, str]:
    """Return the program of a page, with the address of the server of the tests, and its expected output."""
    text = (PAGES / page).read_text().replace("http://localhost:8000", address_of(client))
    return "\n".join(find_code_blocks("python", text)), "".join(find_code_blocks("text", text))


@pytest.mark.parametrize("page", ["pystac-client.md", "odc-stac.md", "notebooks.md"])
def test_the_program_of_a_page_prints_the_output_on_the_page(
    engine: Engine, client: Client, database_url: str, page: str
) -> None:
    add_user(engine, page)
    program, expected = find_example(page, client)
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True,
        env={
            "PATH": str(Path(sys.executable).parent),
            "RASTERSOURCES_DATABASE_URL": database_url,
            "CATALOGUE_KEY": create_key(engine, page),
        },
    )  # fmt: skip
    assert matches(expected, done.stdout), done.stdout + done.stderr


def run_qgis(program: str, folder: Path) -> str:
    """Run a program in QGIS without a window; return its output."""
    done = subprocess.run(
        [QGIS_PYTHON, "-c", START_QGIS + program], check=False, capture_output=True, text=True,
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


START_QGIS = """
from qgis.core import QgsApplication
application = QgsApplication([], False)
application.initQgis()
"""
LISTING = """
from qgis.core import QgsFeatureRequest, QgsRectangle, QgsSettings, QgsVectorLayer
settings = QgsSettings()
settings.setValue("qgis/connections-wfs/here/url", "URL")
settings.setValue("qgis/connections-wfs/here/version", "OGC_API_FEATURES")
(provider,) = [p for p in application.dataItemProviderRegistry().providers() if p.name() == "WFS"]
connection = provider.createDataItem("wfs:/here", None)
for item in connection.createChildren():
    print("listed", item.name())
layer = QgsVectorLayer("url='URL' typename='rastersources' pageSize='3'", "sources", "OAPIF")
for feature in layer.getFeatures():
    print("found", feature["name"])
for feature in layer.getFeatures(QgsFeatureRequest().setFilterRect(QgsRectangle(5, 50, 6, 51))):
    print("near", feature["name"])
rain = QgsVectorLayer("url='URL' typename='RAIN' pageSize='1'", "rain", "OAPIF")
for feature in rain.getFeatures():
    print("rain", feature["title"])
"""


@pytest.fixture
def public_names(engine: Engine) -> list[str]:
    """Add raster sources until a page without a limit has fewer; return the names of all public ones."""
    with engine.begin() as connection:
        connection.execute(text(
            "INSERT INTO raster_sources (name, organisation_id, access_modifier) SELECT 'empty', id, 0 "
            "FROM organisations LIMIT 1 ON CONFLICT DO NOTHING"
        ))  # fmt: skip
        query = "SELECT name FROM raster_sources WHERE access_modifier = 0"
        names = list(connection.execute(text(query)).scalars())
    assert len(names) > DEFAULT_LIMIT
    return names


@needs_qgis
def test_qgis_reads_pages_and_filters_by_a_box(
    client: Client, public_names: list[str], tmp_path: Path
) -> None:
    rain = find_items(client, "bloemhof_rain%")[0].collection_id
    program = LISTING.replace("URL", f"{address_of(client)}/ogc").replace("RAIN", str(rain))
    printed = run_qgis(program, tmp_path).splitlines()

    def lines_after(word: str) -> list[str]:
        return sorted(line.partition(" ")[2] for line in printed if line.startswith(f"{word} "))

    assert lines_after("listed") == sorted(["Raster sources", *public_names])
    assert lines_after("found") == sorted(public_names)
    assert lines_after("near") == ["1811_maastricht_pet_2023_ahn4"]
    assert lines_after("rain") == SERIES


@needs_gdal
def test_ogr_lists_the_collections_of_several_pages(
    client: Client, public_names: list[str]
) -> None:
    listed = subprocess.run(
        ["ogrinfo", "-ro", f"OAPIF:{address_of(client)}/ogc"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    titles = re.findall(r"\(title: (.*?)\)(?: \(|$)", listed, re.MULTILINE)
    assert sorted(titles) == sorted(["Raster sources", *public_names])


@needs_qgis
def test_the_program_for_qgis_prints_the_output_on_its_page(client: Client, tmp_path: Path) -> None:
    program, expected = find_example("qgis.md", client)
    assert matches(expected, run_qgis(program, tmp_path))
