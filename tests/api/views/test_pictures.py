"""Pictures show the right values in the right colours at the right places, to callers who may read the source."""

import math
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from httpx import Client, Response
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.file_row import FileRow, file_row
from pipeline.raster import ProcessReader
from pipeline.raster.pixels.client import PixelProcess
from pipeline.raster.pixels.requests import PixelLimits, Request, Sample
from pipeline.storage import literal_location
from tests.api.conftest import SOURCES, As, client_of
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import definition_files, register_files
from tests.support.png import read_png
from tests.support.s3 import Bucket

Register = Callable[..., str]
EDGE = 20037508.342789244
"""Half the length of the equator in web mercator, in metres."""
GREYS = "colormap=grey&rescale=0,254"
"""With these parameters, each integer v from 0 to 254 has a grey of its own: 255 * v / 254."""


@pytest.fixture(scope="module")
def register(engine: Engine, pool: ProcessReader[FileRow]) -> Register:
    """Register files as one raster source; return its uuid."""
    count = iter(range(1000))

    def register(*paths: Path, modifier: str = "Public", **fields: Any) -> str:
        name = f"source {next(count)}"
        item = definition_files(
            paths, id=f"d{next(count)}", name=name, group="all", access_modifier=modifier, **fields
        )
        register_files(engine, pool.read, item)
        with engine.connect() as connection:
            query = text("SELECT uuid FROM raster_sources WHERE name = :name")
            return str(connection.execute(query, {"name": name}).scalar_one())

    return register


def random_values(height: int, width: int, seed: int = 1) -> NDArray[Any]:
    """Return random integers from 0 to 254."""
    return np.random.default_rng(seed).integers(0, 255, (1, height, width)).astype("float32")


def tile_at(longitude: float, latitude: float, zoom: int) -> tuple[int, int]:
    """Return the column and row of the tile around a place (wiki.openstreetmap.org, "Slippy map tilenames")."""
    northing = math.asinh(math.tan(math.radians(latitude)))
    return int((longitude + 180) / 360 * 2**zoom), int((1 - northing / math.pi) / 2 * 2**zoom)


def tile_transform(zoom: int, column: int, row: int) -> Affine:
    size = 2 * EDGE / 2**zoom
    return Affine(size / 256, 0, column * size - EDGE, 0, -size / 256, EDGE - row * size)


def expected_tile(path: Path, transform: Affine, **options: Any) -> NDArray[Any]:
    """Make the exact tile by GDAL's warper in this process; -9999 where there is no value."""
    tile = np.full((256, 256), -9999, "float32")
    with rasterio.open(path, **options) as dataset:
        reproject(
            rasterio.band(dataset, 1), tile, dst_transform=transform, dst_crs="EPSG:3857",
            dst_nodata=-9999, resampling=Resampling.nearest, tolerance=0,
        )  # fmt: skip
    return tile


def values_of(answer: Response) -> NDArray[Any]:
    """Return the values in a picture of GREYS; -9999 where it is transparent."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    pixels = read_png(answer.content)
    assert (pixels[:, :, 0] == pixels[:, :, 1]).all()
    assert set(np.unique(pixels[:, :, 3])) <= {0, 255}
    values = np.rint(pixels[:, :, 0] * 254.0 / 255)
    return np.where(pixels[:, :, 3] == 255, values, -9999).astype("float32")


def get_tile(
    client: Client, uuid: str, zoom: int, column: int, row: int, query: str = GREYS
) -> Response:
    return client.get(f"{SOURCES}{uuid}/tiles/{zoom}/{column}/{row}.png?{query}")


@pytest.mark.parametrize("zoom", [9, 12, 14, 16])
def test_a_tile_shows_the_pixels_of_gdalwarp(
    client: Client, register: Register, tmp_path: Path, zoom: int
) -> None:
    values = random_values(700, 900)
    values[:, 100:200, 300:400] = -9999
    path = write_raster(tmp_path / "a.tif", width=900, height=700, values=values, tiled=True,
                        blockxsize=128, blockysize=128, compress="deflate")  # fmt: skip
    tile = tile_at(5.42, 52.13, zoom)
    shown = values_of(get_tile(client, register(path), zoom, *tile))
    expected = expected_tile(path, tile_transform(zoom, *tile))
    assert (expected != -9999).any()
    # A tile may be an eighth of a pixel off, which changes pixels whose centre lies near an edge.
    assert np.mean(shown != expected) < 0.05 * (1 if zoom > 10 else 4)
    assert np.mean((shown == -9999) != (expected == -9999)) < 0.02


def test_a_tile_of_a_large_raster_is_read_from_an_overview(
    client: Client, register: Register, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif", width=2000, height=2000, values=random_values(2000, 2000),
                        tiled=True, blockxsize=256, blockysize=256, overviews=(2, 4, 8))  # fmt: skip
    tile = tile_at(5.5, 52.1, 10)  # a pixel is 94 m, so the overview of 80 m is read
    shown = values_of(get_tile(client, register(path), 10, *tile))
    expected = expected_tile(path, tile_transform(10, *tile), overview_level=2)
    other = expected_tile(path, tile_transform(10, *tile), overview_level=1)
    inside = (expected != -9999) & (other != -9999)
    assert np.mean((shown != expected)[inside]) < 0.2
    assert np.mean((shown != other)[inside]) > 0.5


def test_a_preview_is_the_raster_in_its_own_pixels(
    client: Client, register: Register, tmp_path: Path
) -> None:
    values = random_values(120, 200)
    values[0, 5, 7] = -9999
    path = write_raster(tmp_path / "a.tif", width=200, height=120, values=values)
    shown = values_of(client.get(f"{SOURCES}{register(path)}/preview.png?{GREYS}"))
    np.testing.assert_array_equal(shown, values[0])


def test_a_large_preview_has_512_pixels(client: Client, register: Register, tmp_path: Path) -> None:
    values = random_values(512, 1024)
    path = write_raster(tmp_path / "a.tif", width=1024, height=512, values=values)
    shown = values_of(client.get(f"{SOURCES}{register(path)}/preview.png?{GREYS}"))
    # The centre of each pixel lies on the corner of four, of which GDAL reads the lower right one.
    np.testing.assert_array_equal(shown, values[0, 1::2, 1::2])


@pytest.mark.parametrize(
    ("transform", "turned"),
    [
        (Affine(10, 0, 155_000, 0, 10, 462_000), np.flipud),
        (Affine(-10, 0, 156_000, 0, -10, 463_000), np.fliplr),
        (Affine(0, 10, 155_000, 10, 0, 462_000), lambda values: np.flipud(values.T)),
    ],
    ids=["south up", "mirrored", "rotated"],
)
def test_a_preview_is_north_up(
    client: Client, register: Register, tmp_path: Path, transform: Affine, turned: Any
) -> None:
    values = random_values(100, 100)
    path = write_raster(
        tmp_path / "a.tif", width=100, height=100, values=values, transform=transform
    )
    shown = values_of(client.get(f"{SOURCES}{register(path)}/preview.png?{GREYS}"))
    np.testing.assert_array_equal(shown, turned(values[0]))


def test_the_file_that_was_registered_last_lies_on_top(
    client: Client, register: Register, tmp_path: Path
) -> None:
    below, above = random_values(100, 100), random_values(100, 100, seed=2)
    above[0, 20:30, 20:30] = -9999
    first = write_raster(tmp_path / "a.tif", width=100, height=100, values=below)
    moved = RD_TRANSFORM @ Affine.translation(50, 0)
    second = write_raster(tmp_path / "b.tif", width=100, height=100, values=above, transform=moved)
    shown = values_of(client.get(f"{SOURCES}{register(first, second)}/preview.png?{GREYS}"))
    expected = np.full((100, 150), -9999, "float32")
    expected[:, :100] = below[0]
    expected[:, 50:] = np.where(above[0] == -9999, expected[:, 50:], above[0])
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    ("time", "value"),
    [
        ("2024-01-01T02:00:00Z", 20),
        ("2024-01-01T02:59:59Z", 20),
        ("2024-01-01T03:00:00%2B01:00", 20),
        ("2030-01-01", 30),
        ("", 30),
        ("2024-01-01T00:59:59Z", None),
    ],
)
def test_the_time_chooses_the_step(
    client: Client, register: Register, tmp_path: Path, time: str, value: int | None
) -> None:
    paths = [
        write_raster(tmp_path / f"2024-01-01T0{hour}.tif", values=np.full((1, 10, 10), hour * 10.0))
        for hour in (1, 2, 3)
    ]
    uuid = register(
        *paths,
        temporal=True,
        pattern=r"(?P<time>\d{4}-\d\d-\d\dT\d\d)",
        time_format="%Y-%m-%dT%H",
    )
    shown = values_of(client.get(f"{SOURCES}{uuid}/preview.png?{GREYS}&time={time}"))
    assert np.unique(shown) == ([value] if value else [-9999])


def test_bytes_in_three_bands_are_shown_as_colours(
    client: Client, register: Register, tmp_path: Path
) -> None:
    values = np.random.default_rng(3).integers(1, 255, (3, 50, 60)).astype("u1")
    path = write_raster(tmp_path / "a.tif", width=60, height=50, count=3, dtype="uint8", nodata=0,
                        values=values)  # fmt: skip
    answer = client.get(f"{SOURCES}{register(path)}/preview.png")
    pixels = read_png(answer.content)
    np.testing.assert_array_equal(pixels[:, :, :3], np.moveaxis(values, 0, -1))
    assert (pixels[:, :, 3] == 255).all()


def test_pixels_outside_an_internal_mask_are_transparent(
    client: Client, register: Register, tmp_path: Path
) -> None:
    values = random_values(50, 50)
    path = write_raster(
        tmp_path / "a.tif", width=50, height=50, values=values, nodata=None, mask=True
    )
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        flags = np.full((50, 50), 255, "u1")
        flags[10:20] = 0
        dataset.write_mask(flags)
    shown = values_of(client.get(f"{SOURCES}{register(path)}/preview.png?{GREYS}"))
    np.testing.assert_array_equal(shown, np.where(flags, values[0], -9999))


def test_a_picture_of_an_object_equals_that_of_the_file(
    database_url: str, engine: Engine, register: Register, tmp_path: Path, bucket: Bucket
) -> None:
    values = random_values(1024, 1024)
    path = write_raster(tmp_path / "a.tif", width=1024, height=1024, values=values, tiled=True,
                        blockxsize=256, blockysize=256, compress="deflate", overviews=(2, 4))  # fmt: skip
    bucket.put("a.tif", path)
    local = register(path)
    with ProcessReader(1, file_row) as reader, client_of(ApiConfig(database_url)) as client:
        item = definition_files([], id="objects", name="object", access_modifier="Public")
        location = literal_location(f"s3://{bucket.name}/a.tif")
        register_files(engine, reader.read, replace(item, locations=[location]))
        (row,) = client.get(f"{SOURCES}?name=object").json()["results"]
        for zoom in (10, 11, 13, 15):
            tile = tile_at(5.42, 52.13, zoom)
            shown = values_of(get_tile(client, row["uuid"], zoom, *tile))
            np.testing.assert_array_equal(shown, values_of(get_tile(client, local, zoom, *tile)))
            assert (shown != -9999).any()


def test_the_colours_follow_the_statistics(
    client: Client, register: Register, tmp_path: Path
) -> None:
    values = np.arange(10_000, dtype="float32").reshape(1, 100, 100)
    uuid = register(write_raster(tmp_path / "a.tif", width=100, height=100, values=values))
    statistics = client.get(f"{SOURCES}{uuid}/statistics/").json()
    assert (statistics["minimum"], statistics["maximum"]) == (0, 9999)
    assert statistics["percentiles"]["50"] == np.percentile(values, 50)
    low, high = (np.percentile(values, percent) for percent in (2, 98))
    assert (statistics["percentiles"]["2"], statistics["percentiles"]["98"]) == pytest.approx(
        (low, high)
    )
    assert sum(statistics["histogram"]["counts"]) == 10_000
    assert not statistics["approximate"]
    default = client.get(f"{SOURCES}{uuid}/preview.png?colormap=magma").content
    explicit = client.get(
        f"{SOURCES}{uuid}/preview.png?colormap=magma&rescale={low},{high}"
    ).content
    assert default == explicit
    pixels = read_png(default)
    assert tuple(pixels[0, 0]) == (0x00, 0x00, 0x04, 255)
    assert tuple(pixels[99, 99]) == (0xFC, 0xFD, 0xBF, 255)


def test_a_client_that_has_the_picture_gets_304(
    client: Client, register: Register, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif")
    url = f"{SOURCES}{register(path)}/preview.png"
    first = client.get(url)
    assert first.headers["cache-control"] == "public, max-age=60"
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{url}?colormap=reds").headers["etag"] != first.headers["etag"]
    assert client.head(url).headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize("part", ["preview.png", "statistics", "tiles/0/0/0.png"])
def test_pictures_and_statistics_have_both_forms_of_their_path_and_head(
    client: Client, register: Register, tmp_path: Path, part: str
) -> None:
    url = f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'))}/{part}"
    bare, answer, head = client.get(url), client.get(f"{url}/"), client.head(url)
    assert (bare.status_code, answer.status_code, head.status_code) == (200, 200, 200)
    assert bare.content == answer.content
    assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))


def test_a_file_that_changed_since_it_was_registered_is_not_shown(
    client: Client, register: Register, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif")
    url = f"{SOURCES}{register(path)}/preview.png?{GREYS}"
    assert client.get(url).status_code == 200
    write_raster(tmp_path / "b.tif", values=np.zeros((1, 10, 10))).rename(path)
    answer = client.get(url)
    assert answer.status_code == 503
    assert "changed since" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("part", ["preview.png", "statistics/", "tiles/0/0/0.png"])
@pytest.mark.parametrize(
    ("modifier", "readers"),
    [
        ("Public", {"anonymous", "stranger", "user", "admin"}),
        ("Common", {"stranger", "user", "admin"}),
        ("Private", {"user", "admin"}),
        ("Hidden", {"admin"}),
    ],
)
def test_only_callers_who_may_read_the_source_get_pictures(
    client: Client, as_: As, register: Register, tmp_path: Path,
    part: str, modifier: str, readers: set[str],
) -> None:  # fmt: skip
    url = f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'), modifier=modifier)}/{part}"
    for name in ("anonymous", "stranger", "user", "admin"):
        answer = (client if name == "anonymous" else as_(name)).get(url)
        assert answer.status_code == (200 if name in readers else 404), name
        if name in readers and modifier != "Public":
            assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("colormap=none", "colormap"), ("rescale=1", "rescale"), ("rescale=2,1", "rescale"),
        ("rescale=nan,1", "rescale"), ("rescale=0,inf", "rescale"), ("rescale=0,1,2", "rescale"),
        ("time=yesterday", "time"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(
    client: Client, register: Register, tmp_path: Path, query: str, parameter: str
) -> None:
    answer = client.get(
        f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'))}/preview.png?{query}"
    )
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert list(answer.json()["detail"]) == [parameter]


@pytest.mark.parametrize(
    "tile",
    ["0/1/0", "0/0/1", "25/0/0", "-1/0/0", "1/a/0", "9999999999/0/0", "2/1e1/0", "2/%2e%2e/0"],
)
def test_a_tile_that_does_not_exist_is_404(
    client: Client, register: Register, tmp_path: Path, tile: str
) -> None:
    answer = client.get(f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'))}/tiles/{tile}.png")
    assert answer.status_code == 404
    assert set(answer.json()) == {"status", "code", "message", "detail"}


def test_huge_values_have_colours_too(client: Client, register: Register, tmp_path: Path) -> None:
    values = np.array([[[-1.7e308, 1.7e308, np.nan, np.inf]]])
    path = write_raster(tmp_path / "a.tif", width=4, height=1, dtype="float64", values=values)
    pixels = read_png(
        client.get(
            f"{SOURCES}{register(path)}/preview.png?colormap=grey&rescale=-1.7e308,1.7e308"
        ).content
    )
    assert pixels[0].tolist() == [[0, 0, 0, 255], [255] * 4, [0] * 4, [255] * 4]


def test_complex_numbers_are_rejected_with_a_sentence(
    client: Client, register: Register, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif", dtype="complex64", nodata=None)
    answer = client.get(f"{SOURCES}{register(path)}/preview.png")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Complex numbers have no")


def test_a_picture_of_too_many_files_is_rejected(
    database_url: str, register: Register, tmp_path: Path
) -> None:
    paths = [write_raster(tmp_path / f"{number}.tif") for number in range(3)]
    uuid = register(*paths)
    with client_of(ApiConfig(database_url, picture_files=2)) as client:
        answer = client.get(f"{SOURCES}{uuid}/preview.png")
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "The picture would show more than 2 files; zoom in.",
    )


def test_a_file_outside_the_allowed_folders_is_not_opened(
    database_url: str, register: Register, tmp_path: Path
) -> None:
    uuid = register(write_raster(tmp_path / "a.tif"))
    with client_of(ApiConfig(database_url, roots=("/nowhere",))) as client:
        answer = client.get(f"{SOURCES}{uuid}/preview.png")
    assert answer.status_code == 503
    assert "outside the folders" in answer.json()["detail"]


def test_a_pixel_process_that_is_killed_is_replaced(
    client: Client, register: Register, tmp_path: Path
) -> None:
    url = f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'))}/preview.png?{GREYS}"
    first = client.get(url).content
    for pid in find_pixel_processes():
        os.kill(pid, 9)
    assert client.get(url).content == first


def test_the_tiles_of_a_map_measure_a_source_once(
    client: Client, register: Register, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Request] = []
    ask = PixelProcess.ask

    def ask_and_record(process: PixelProcess, request: Request, limits: PixelLimits) -> Any:
        requests.append(request)
        return ask(process, request, limits)

    monkeypatch.setattr(PixelProcess, "ask", ask_and_record)
    url = f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'))}/tiles/0/0/0.png"
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(client.get, [url] * 6))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert [type(request) for request in requests].count(Sample) == 1
    assert len(requests) == 7


def test_a_process_that_hangs_is_replaced_and_requests_are_limited(
    database_url: str, register: Register, tmp_path: Path
) -> None:
    url = f"{SOURCES}{register(write_raster(tmp_path / 'a.tif'))}/preview.png?{GREYS}"
    others = set(find_pixel_processes())
    with client_of(ApiConfig(database_url, pixel_requests=1, pixel_seconds=1)) as client:
        first = client.get(url).content
        (hanging,) = set(find_pixel_processes()) - others
        os.kill(hanging, signal.SIGSTOP)
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(client.get, [url, url]))
        assert {answer.status_code for answer in answers} == {400}
        refused, late = sorted((answer.json()["detail"] for answer in answers), reverse=True)
        assert refused.startswith("Too many pictures")
        assert late.startswith("It takes more than 1 s")
        assert client.get(url).content == first
    assert set(find_pixel_processes()) <= others


def find_pixel_processes() -> list[int]:
    """Return the ids of the pixel processes that this process started."""
    pids = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with status.open() as file:
            parent = file.read().rpartition(")")[2].split()[1]
        command = (status.parent / "cmdline").read_bytes()
        if int(parent) == os.getpid() and b"pipeline.raster.pixels.process" in command:
            pids.append(int(status.parent.name))
    return pids
