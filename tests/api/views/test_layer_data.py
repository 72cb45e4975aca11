"""The data of layers: the same pixels as by gdalwarp, the requested step, and sentences for wrong requests."""

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from httpx import Client, Response
from numpy.typing import NDArray

from pipeline.api.config import ApiConfig
from tests.api.conftest import SOURCES, As, client_of
from tests.api.views.test_pictures import Register, random_values, register
from tests.support.factory import RD, RD_TRANSFORM, write_raster

__all__ = ["register"]
LAYERS = "/api/v4/rasters/"
BLOCK = "lizard_nxt.blocks.LizardRasterSource"
Show = Callable[..., str]


@pytest.fixture
def show(as_: As, owner: str, register: Register) -> Show:
    """Register files and make a layer that shows them; return its uuid."""

    def show(*paths: Path, modifier: str = "Public", **fields: Any) -> str:
        source = register(*paths, modifier=modifier, **fields)
        return add_layer(as_, owner, {"raster": [BLOCK, source]}, modifier)

    return show


def add_layer(as_: As, owner: str, graph: dict[str, Any], modifier: str = "Public") -> str:
    """Add a layer with this graph; return its uuid."""
    body = {"name": "Depth (max)/x", "organisation": owner, "access_modifier": modifier,
            "source": {"graph": graph, "name": "raster"}}  # fmt: skip
    answer = as_("admin").post(LAYERS, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["uuid"])


def read_geotiff(answer: Response) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the pixels and the profile of a GeoTIFF."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/tiff; application=geotiff"
    assert len(answer.content) == int(answer.headers["content-length"])
    with rasterio.open(io.BytesIO(answer.content)) as dataset:
        return dataset.read(), dataset.profile


def warp(path: Path, bounds: tuple[float, ...], crs: str, width: int, height: int) -> NDArray[Any]:
    """Return the same window by gdalwarp, of the installed version."""
    program = shutil.which("gdalwarp")
    if program is None:
        pytest.skip("gdalwarp (gdal-bin) is not installed")
    target = path.with_name("warped.tif")
    options = ["-t_srs", crs, "-te", *map(str, bounds), "-ts", str(width), str(height)]
    subprocess.run([program, "-q", "-r", "near", "-et", "0", *options, path, target], check=True)
    with rasterio.open(target) as dataset:
        pixels: NDArray[Any] = dataset.read()
        return pixels


WINDOWS = [
    (RD, (155_000, 461_000, 157_000, 463_000), 200, 200),
    (RD, (154_950.5, 461_003.25, 156_049.5, 462_111), 333, 217),
    (RD, (155_000, 462_000, 156_000, 463_000), 50, 50),  # each centre lies between two pixels
    (RD, (155_100, 462_000, 155_110, 462_010), 64, 64),
    (RD, (0, 300_000, 10, 300_010), 3, 4),
    ("EPSG:3857", (599_000, 6_810_000, 604_000, 6_815_000), 250, 250),
    ("EPSG:4326", (5.38, 52.12, 5.43, 52.16), 300, 240),
    ("EPSG:32631", (663_000, 5_778_000, 667_000, 5_781_000), 321, 123),
    ("EPSG:3035", (4_010_000, 3_220_000, 4_016_000, 3_226_000), 200, 200),
    ("EPSG:32661", (2_100_000, -2_300_000, 2_500_000, -2_000_000), 50, 50),
]


@pytest.mark.parametrize(("crs", "bounds", "width", "height"), WINDOWS)
def test_the_pixels_are_those_of_gdalwarp(
    client: Client, show: Show, tmp_path: Path,
    crs: str, bounds: tuple[float, ...], width: int, height: int,
) -> None:  # fmt: skip
    values = random_values(300, 400)
    values[:, 10:20, 30:50] = -9999
    path = write_raster(tmp_path / "a.tif", width=400, height=300, values=values)
    query: dict[str, str | int] = {"bbox": ",".join(map(str, bounds)), "projection": crs, "width": width,
             "height": f"{height}.0", "format": "geotiff"}  # fmt: skip
    pixels, profile = read_geotiff(client.get(f"{LAYERS}{show(path)}/data/", params=query))
    np.testing.assert_array_equal(pixels, warp(path, bounds, crs, width, height))
    assert (profile["crs"], profile["nodata"], profile["dtype"]) == (crs, -9999, "float32")
    assert rasterio.transform.array_bounds(height, width, profile["transform"]) == pytest.approx(
        bounds
    )


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:4326", (-180.0, 8.0, -179.0, 10.0)),
        ("EPSG:4326", (179.5, 8.5, 180.5, 9.5)),
        ("EPSG:4326", (-120.0, 8.0, -118.0, 10.0)),
        ("EPSG:4326", (350.0, 8.0, 370.0, 10.0)),
        ("EPSG:3857", (-20_037_508.0, 890_000.0, -19_930_000.0, 1_100_000.0)),
        ("EPSG:3857", (-10_000_000.0, 890_000.0, -9_000_000.0, 1_100_000.0)),
        ("EPSG:32660", (700_000.0, 890_000.0, 950_000.0, 1_100_000.0)),
    ],
)
@pytest.mark.parametrize(
    ("west", "step"),
    [(179.0, 0.1), (0.0, 18.0), (-181.0, 0.1), (-180.0, 18.0), (0.0, 18.5)],
    ids=["179 to 181", "0 to 360", "-181 to -179", "-180 to 180", "wider than the earth"],
)
def test_the_pixels_beyond_180_degrees_are_those_of_gdalwarp(
    client: Client, show: Show, tmp_path: Path,
    west: float, step: float, crs: str, bounds: tuple[float, ...],
) -> None:  # fmt: skip
    transform = Affine(step, 0, west, 0, -0.1, 10)
    values = random_values(20, 20)
    path = write_raster(
        tmp_path / "a.tif", width=20, height=20, crs="EPSG:4326", transform=transform, values=values
    )
    box = ",".join(map(str, bounds))
    query = f"bbox={box}&projection={crs}&width=31&height=29"
    pixels, _ = read_geotiff(client.get(f"{LAYERS}{show(path)}/data/?{query}"))
    np.testing.assert_array_equal(pixels, warp(path, bounds, crs, 31, 29))


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:4326", (-30.0, 8.0, 30.0, 10.0)),
        ("EPSG:4326", (330.0, 8.0, 390.0, 10.0)),
        ("EPSG:3857", (-3_000_000.0, 890_000.0, 3_000_000.0, 1_100_000.0)),
    ],
)
def test_two_files_from_0_to_360_degrees_join_at_greenwich(
    client: Client, show: Show, tmp_path: Path, crs: str, bounds: tuple[float, ...]
) -> None:  # fmt: skip
    values = random_values(20, 40)
    east, west, both = (tmp_path / name for name in ("east.tif", "west.tif", "both.tif"))
    for path, start, part in (
        (east, 0, values[:, :, :20]), (west, 180, values[:, :, 20:]), (both, 0, values),
    ):  # fmt: skip
        write_raster(path, width=part.shape[2], height=20, crs="EPSG:4326", values=part,
                     transform=Affine(9, 0, start, 0, -0.1, 10))  # fmt: skip
    box = ",".join(map(str, bounds))
    query = f"bbox={box}&projection={crs}&width=60&height=20"
    layer = show(east, west)
    pixels, _ = read_geotiff(client.get(f"{LAYERS}{layer}/data/?{query}"))
    np.testing.assert_array_equal(pixels, warp(both, bounds, crs, 60, 20))


@pytest.mark.parametrize(
    ("transform", "dtype", "nodata", "count"),
    [
        (Affine(10, 0, 155_000, 0, 10, 460_000), "int16", -32768, 1),
        (Affine(0, 10, 155_000, 10, 0, 460_000), "uint8", None, 3),
        (Affine(7, 3, 155_000, 3, -7, 462_000), "float64", float("nan"), 2),
        (RD_TRANSFORM, "complex64", None, 1),
        (RD_TRANSFORM, "uint32", 2**32 - 1, 1),
        (RD_TRANSFORM, "uint64", None, 1),
    ],
)
def test_the_pixels_of_any_grid_and_type_are_those_of_gdalwarp(
    client: Client, show: Show, tmp_path: Path,
    transform: Affine, dtype: str, nodata: float | None, count: int,
) -> None:  # fmt: skip
    values = np.random.default_rng(5).integers(0, 100, (count, 120, 80))
    path = write_raster(tmp_path / "a.tif", width=80, height=120, count=count, dtype=dtype,
                        nodata=nodata, transform=transform, values=values)  # fmt: skip
    bounds = (155_003.0, 460_002.0, 155_777.0, 462_101.0)
    query = f"bbox={','.join(map(str, bounds))}&width=111&height=222"
    pixels, profile = read_geotiff(client.get(f"{LAYERS}{show(path)}/data/?{query}"))
    expected = warp(path, bounds, RD, 111, 222)
    if nodata is not None:
        with rasterio.open(path) as dataset:
            assert profile["nodata"] == dataset.nodata or np.isnan(profile["nodata"])
    np.testing.assert_array_equal(pixels, expected)


def test_a_coarse_window_is_read_from_the_overview_that_gdalwarp_reads(
    client: Client, show: Show, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif", width=1024, height=1024, values=random_values(1024, 1024),
                        tiled=True, blockxsize=128, blockysize=128, overviews=(2, 4, 8))  # fmt: skip
    bounds = (155_000.0, 452_760.0, 165_240.0, 463_000.0)
    query = f"bbox={','.join(map(str, bounds))}&width=190&height=190"
    pixels, _ = read_geotiff(client.get(f"{LAYERS}{show(path)}/data/?{query}"))
    # a pixel of the window is 5.4 pixels of the raster, so GDAL reads the overview of 4
    with rasterio.open(path, overview_level=1) as overview:
        expected = overview.read(1)
    indices = np.floor((np.arange(190) + 0.5) * 1024 / 190 / 4).astype(int)
    np.testing.assert_array_equal(pixels[0], expected[np.ix_(indices, indices)])


def test_pixel_size_enlarges_the_window_to_whole_pixels(
    client: Client, show: Show, tmp_path: Path
) -> None:
    uuid = show(
        write_raster(tmp_path / "a.tif", width=100, height=100, values=random_values(100, 100))
    )
    answer = client.get(f"{LAYERS}{uuid}/data/?bbox=155000,462000,155105,462100&pixel_size=10")
    pixels, profile = read_geotiff(answer)
    assert pixels.shape == (1, 10, 11)
    assert profile["transform"] == Affine(10, 0, 155_000, 0, -10, 462_100)
    assert answer.headers["content-disposition"] == 'attachment; filename="Depth_max_x.tif"'


def test_without_parameters_the_answer_is_the_raster(
    client: Client, show: Show, tmp_path: Path
) -> None:
    values = random_values(90, 110)
    uuid = show(write_raster(tmp_path / "a.tif", width=110, height=90, values=values))
    pixels, profile = read_geotiff(client.get(f"{LAYERS}{uuid}/data/"))
    np.testing.assert_array_equal(pixels, values)
    assert profile["transform"] == RD_TRANSFORM


def test_nodata_of_the_request_replaces_that_of_the_file(
    client: Client, show: Show, tmp_path: Path
) -> None:
    values = np.array([[[-9999, 7]]], "float32")
    uuid = show(write_raster(tmp_path / "a.tif", width=2, height=1, values=values))
    pixels, profile = read_geotiff(client.get(f"{LAYERS}{uuid}/data/?nodata=-1"))
    assert (pixels.tolist(), profile["nodata"]) == ([[[-1, 7]]], -1)


STEPS = {"pattern": r"(?P<time>\d{4}-\d\d-\d\dT\d\d)", "time_format": "%Y-%m-%dT%H"}


@pytest.mark.parametrize(
    ("query", "value"),
    [("start=2024-01-01T02:00:00Z", 20), ("time=2024-01-01T02:30:00Z", 20), ("", 30),
     ("start=2025-01-01", 30), ("start=2024-01-01T01:00:00Z&time=2024-01-01T03:00:00Z", 10)],
)  # fmt: skip
def test_start_chooses_the_step(
    client: Client, show: Show, tmp_path: Path, query: str, value: int
) -> None:
    paths = [
        write_raster(tmp_path / f"2024-01-01T0{hour}.tif", values=np.full((1, 10, 10), hour * 10.0))
        for hour in (1, 2, 3)
    ]
    pixels, _ = read_geotiff(
        client.get(f"{LAYERS}{show(*paths, temporal=True, **STEPS)}/data/?{query}")
    )
    assert np.unique(pixels) == [value]


def test_a_start_before_the_first_step_is_rejected(
    client: Client, show: Show, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "2024-01-01T01.tif")
    answer = client.get(f"{LAYERS}{show(path, temporal=True, **STEPS)}/data/?start=2023-01-01")
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert answer.json()["detail"] == {
        "start": [
            "There is no step at or before this time; the first step is 2024-01-01T01:00:00Z."
        ]
    }


def test_a_file_with_a_band_for_each_step_gives_the_band(
    client: Client, show: Show, tmp_path: Path
) -> None:
    values = np.stack([np.full((10, 10), number) for number in (10.0, 20.0, 30.0)])
    tags = [{"NETCDF_DIM_time": str(hour)} for hour in (1, 2, 3)]
    units = {"time#units": "hours since 2024-01-01 00:00:00", "time#standard_name": "time"}
    path = write_raster(tmp_path / "a.tif", count=3, values=values, band_tags=tags, tags=units)
    uuid = show(path, temporal=True)
    steps = client.get(f"{LAYERS}{uuid}/timesteps/").json()["steps"]
    assert steps == [f"2024-01-01T0{hour}:00:00Z" for hour in (1, 2, 3)]
    for query, value in (("", 30), ("start=2024-01-01T02:59:00Z", 20)):
        pixels, _ = read_geotiff(client.get(f"{LAYERS}{uuid}/data/?{query}"))
        assert (pixels.shape[0], np.unique(pixels).tolist()) == (1, [value])


def test_timesteps_are_all_steps(client: Client, show: Show, tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"2024-01-01T{hour:02}.tif") for hour in range(24)]
    uuid = show(*paths, temporal=True, **STEPS)
    times = [f"2024-01-01T{hour:02}:00:00Z" for hour in range(24)]
    url = f"{LAYERS}{uuid}/timesteps/"
    assert client.get(url).json() == {"start": times[0], "end": times[-1], "steps": times}
    filtered = client.get(f"{url}?start=2024-01-01T03:00:00Z&end=2024-01-01T05:30:00Z").json()
    assert filtered["steps"] == times[3:6]
    assert client.get(f"{url}?end=2000-01-01").json() == {"start": None, "end": None, "steps": []}
    assert client.get(f"{url}?start=x").json()["detail"].keys() == {"start"}


@pytest.mark.parametrize(
    "graph",
    [
        {"raster": ["lizard_nxt.blocks.Snap", BLOCK]},
        {"a": [BLOCK], "raster": ["dask_geomodeling.raster.Clip", "a"]},
        {"raster": [BLOCK]},
        {"raster": [BLOCK, 3]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("part", ["data", "timesteps"])
def test_a_layer_of_more_than_one_source_has_no_pixels(
    client: Client, as_: As, owner: str, graph: dict[str, Any], part: str
) -> None:
    answer = client.get(f"{LAYERS}{add_layer(as_, owner, graph)}/{part}/")
    assert answer.status_code == 400
    assert "Only layers that show one raster source" in answer.json()["detail"]


HOSTILE = [
    ("bbox=1,2,3", "bbox"), ("bbox=a,b,c,d", "bbox"), ("bbox=nan,0,1,1", "bbox"), ("bbox=0,0,inf,1", "bbox"),
    ("bbox=5,5,5,6", "bbox"), ("bbox=6,5,5,6", "bbox"), ("bbox=0,0,1e300,1e300", "bbox"),
    ("width=0&height=1", "width"), ("width=-5&height=5", "width"), ("width=1.5&height=5", "width"),
    ("width=nan&height=5", "width"), ("width=1e3&height=5", "width"), ("width=99999999999&height=1", "width"),
    ("width=999999999&height=999999999", "width"), ("width=10", "height"), ("height=10", "width"),
    ("pixel_size=0", "pixel_size"), ("pixel_size=-1", "pixel_size"), ("pixel_size=nan", "pixel_size"),
    ("pixel_size=1e-300", "width"), ("projection=EPSG:999999", "projection"),
    ("projection=EPSG:4978&bbox=0,0,1,1&width=1&height=1", "projection"),
    ("projection=EPSG:5709&bbox=0,0,1,1&width=1&height=1", "projection"),
    ("projection=/etc/passwd", "projection"), ("projection=file:///etc/passwd", "projection"),
    ("projection=%2Binit=/tmp/x:1", "projection"), ("projection=%2Bproj=longlat %2Bnadgrids=/etc/passwd", "projection"),
    ("projection=IGNF:LAMB93", "projection"), ("projection=EPSG:3857&bbox=0,0,1,1", "width"),
    ("projection=EPSG:3857&width=10&height=10", "bbox"), ("format=png", "format"),
    ("start=now", "start"), ("time=2024-13-01", "time"), ("nodata=x", "nodata"), ("nodata=1e999", "nodata"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "parameter"), HOSTILE)
def test_a_wrong_parameter_is_named(
    client: Client, show: Show, tmp_path: Path, query: str, parameter: str
) -> None:
    if "EPSG:999999" in query:
        query += "&bbox=0,0,1,1&width=1&height=1"
    answer = client.get(f"{LAYERS}{show(write_raster(tmp_path / 'a.tif'))}/data/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, 20), answer.text
    assert parameter in answer.json()["detail"]


def test_a_window_of_more_pixels_than_the_setting_is_rejected(
    database_url: str, show: Show, tmp_path: Path
) -> None:
    uuid = show(write_raster(tmp_path / "a.tif"))
    with client_of(ApiConfig(database_url, data_pixels=99)) as client:
        assert client.get(f"{LAYERS}{uuid}/data/?width=9&height=11").status_code == 200
        answer = client.get(f"{LAYERS}{uuid}/data/?width=10&height=10")
    assert answer.status_code == 400
    assert answer.json()["detail"]["width"] == [
        "The window has more than 99 pixels; choose a smaller one."
    ]


@pytest.mark.parametrize("part", ["data", "timesteps"])
def test_a_layer_or_source_that_the_caller_may_not_read_is_404(
    client: Client, as_: As, owner: str, show: Show, register: Register, tmp_path: Path, part: str
) -> None:
    path = write_raster(tmp_path / "a.tif")
    private = show(path, modifier="Private")
    source = register(path, modifier="Private")
    public = add_layer(as_, owner, {"raster": [BLOCK, source]})
    for uuid in (private, public):
        for name, status in (("stranger", 404), ("user", 200), ("admin", 200)):
            assert as_(name).get(f"{LAYERS}{uuid}/{part}/").status_code == status, (uuid, name)
        assert client.get(f"{LAYERS}{uuid}/{part}/").status_code == 404


def test_a_layer_of_a_source_without_files_has_no_data(client: Client, as_: As, owner: str) -> None:
    body = {"name": "empty", "organisation": owner, "access_modifier": "Public"}
    source = as_("admin").post(SOURCES, json=body).json()["uuid"]
    uuid = add_layer(as_, owner, {"raster": [BLOCK, source]})
    assert client.get(f"{LAYERS}{uuid}/data/").status_code == 404
    assert client.get(f"{LAYERS}{uuid}/timesteps/").json()["steps"] == []
