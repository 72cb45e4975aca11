"""Addresses and paths that a file names are not opened, whatever way they reach GDAL.

A web server records requests; the kernel records which files were opened.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Rejection, TransientError
from pipeline.raster import ProcessReader, RasterFile, ReadOptions
from pipeline.raster.workers.threads import ThreadReader
from pipeline.storage import EVERYWHERE, StoredFile, find_file, list_files, literal_location
from tests.raster.test_file_access import record_requests
from tests.support.factory import ascii_tag, write_raster, write_tagged
from tests.support.reading import keep_raster, read_all
from tests.support.s3 import Bucket
from tests.support.watch import OpenedFiles, opened_files

pytestmark = pytest.mark.usefixtures("new_children")

GDAL_METADATA = 42112
SIZE = 64
WMS = '<GDAL_WMS><Service name="TMS"><ServerUrl>{url}</ServerUrl></Service></GDAL_WMS>'
WCS = "<WCS_GDAL><ServiceURL>{url}?</ServiceURL><CoverageName>x</CoverageName></WCS_GDAL>"
WMTS = "<GDAL_WMTS><GetCapabilitiesUrl>{url}</GetCapabilitiesUrl></GDAL_WMTS>"
VRT = """<VRTDataset rasterXSize="32" rasterYSize="32"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
TARGETS = (
    *("{path}", "../canaries/canary.tif", ":::BASE:::../canaries/canary.tif", "{fifo}", "file://{path}"),
    *("{url}/x.tif", "/vsicurl/{url}/x.tif", "/vsicurl_streaming/{url}/x.tif", "/vsicurl?url={url}/x.tif"),
    *("STACTA:{url}/x.json", 'STACTA:"/vsicurl/{url}/x.json"', 'ZARR:"/vsicurl/{url}/x.zarr"'),
    *("WMS:{url}/x?", "WMTS:{url}/x", "WCS:{url}/x", WMS, WCS, WMTS, VRT, "vrt://{path}"),
    *("GTIFF_DIR:1:{path}", "GTIFF_DIR:1:/vsicurl/{url}/x.tif", "GTIFF_RAW:{path}"),
    *("/vsizip/{zip}/canary.tif", "/vsigzip/{path}", "/vsitar/{zip}/x.tif", "/vsisubfile/0_9999,{path}"),
    *("/vsicached?file={path}", "/vsisparse/{path}", "/vsistdin/", "/vsihdfs/{url}/x", "/vsiwebhdfs/{url}/x"),
    *('NETCDF:"{path}":x', 'HDF5:"{path}"://x', "COG:{path}", "/vsimem/x.tif", "/dev/fd/0", "/proc/self/environ"),
)  # fmt: skip
"""Values of OVERVIEW_FILE."""


@dataclass(frozen=True)
class Trap:
    """A folder of hostile files, and the targets that they name."""

    folder: Path
    names: dict[str, str]
    requests: list[str]
    canaries: OpenedFiles
    opened: OpenedFiles

    def text(self, template: str) -> str:
        """Return the template with the addresses and paths of the canaries."""
        for name, value in self.names.items():
            template = template.replace("{" + name + "}", value)
        return template

    def overview_tag(
        self, target: str, name: str = "OVERVIEW_FILE", domain: str = "OVERVIEWS"
    ) -> Any:
        """Return GDAL_METADATA with an OVERVIEW_FILE."""
        return ascii_tag(
            GDAL_METADATA, f"<GDALMetadata>{self.item(target, name, domain)}</GDALMetadata>"
        )

    def item(self, target: str, name: str = "OVERVIEW_FILE", domain: str = "OVERVIEWS") -> str:
        """Return one item of GDAL_METADATA."""
        escaped = (
            self.text(target).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        )
        return f'<Item name="{name}" domain="{domain}">{escaped}</Item>'

    def pam(self, target: str) -> str:
        """Return an .aux.xml with an OVERVIEW_FILE."""
        item = self.item(target).replace("<Item name", "<MDI key").replace("</Item>", "</MDI>")
        return f'<PAMDataset><Metadata domain="OVERVIEWS">{item}</Metadata></PAMDataset>'

    def raster(self, name: str, *tags: Any, size: int = SIZE, **options: Any) -> Path:
        """Write a GeoTIFF in this folder."""
        return write_tagged(self.folder / name, "u1", *tags, size=size, **options)

    def write(self, name: str, text: str) -> None:
        """Write a sidecar of text."""
        (self.folder / name).write_text(self.text(text))

    def files(self) -> list[StoredFile]:
        """List the rasters of this folder."""
        items = list_files([literal_location(self.folder)], [self.folder])
        return [item for item in items if isinstance(item, StoredFile)]

    def arm(self) -> None:
        """Forget the files that the test itself opened so far."""
        self.canaries.names()
        self.opened.names()

    def assert_untouched(self) -> None:
        """Assert that there was no request, and that only the files and their listed sidecars were opened."""
        assert self.requests == []
        assert self.canaries.names() == set()
        opened = self.opened.names()
        assert opened <= {name for file in self.files() for name in (file.name, *file.sidecars)}


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    folder, canaries = tmp_path / "files", tmp_path / "canaries"
    folder.mkdir()
    canaries.mkdir()
    canary = write_raster(canaries / "canary.tif", dtype="uint8", nodata=None, width=32, height=32)
    os.mkfifo(canaries / "fifo")
    shutil.make_archive(str(canaries / "canary"), "zip", canaries, "canary.tif")
    names = {"path": canary, "fifo": canaries / "fifo", "zip": canaries / "canary.zip"}
    with ExitStack() as stack:
        url, requests = stack.enter_context(record_requests())
        watches = [stack.enter_context(opened_files(watched)) for watched in (canaries, folder)]
        texts = {"url": url, **{name: str(path) for name, path in names.items()}}
        trap = Trap(folder, texts, requests, *watches)
        yield trap
        trap.assert_untouched()


def read_in_workers(trap: Trap) -> list[RasterFile]:
    """Read header, overview and all pixels of each file, as the program does."""
    trap.arm()
    rasters: list[RasterFile] = []
    for statistics in (None, "overview", "exact"):
        for outcome in read_all(trap.files(), ReadOptions(statistics=statistics)):
            assert isinstance(outcome, RasterFile), outcome
            rasters.append(outcome)
    assert rasters, "nothing was read"
    return rasters


def warning_codes(raster: RasterFile) -> set[str]:
    return {warning.code for warning in raster.warnings}


def test_an_overview_file_in_the_metadata_is_not_opened(trap: Trap) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif", trap.overview_tag(target))
    for raster in read_in_workers(trap):
        assert "overviews_elsewhere" in warning_codes(raster)
        assert raster.georeference.projection == "EPSG:28992"
        assert raster.layout.overviews == ()


def test_an_overview_file_in_an_aux_xml_is_not_opened(trap: Trap) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif")
        (trap.folder / f"{index}.tif.aux.xml").write_text(trap.pam(target))
    for raster in read_in_workers(trap):
        assert "overviews_elsewhere" in warning_codes(raster)
        assert raster.sidecars == (f"{raster.uri.rpartition('/')[2]}.aux.xml",)


def test_no_spelling_of_overview_file_is_followed(trap: Trap) -> None:
    trap.raster("lower.tif", trap.overview_tag("{path}", "overview_file", "overviews"))
    trap.raster(
        "reference.tif", trap.overview_tag("{path}", "&#79;VERVIEW&#x5f;FILE", "OVERVIEW&#83;")
    )
    text = f"<GDALMetadata>{trap.item('{path}')}</GDALMetadata>"
    trap.raster("unfinished.tif", ascii_tag(GDAL_METADATA, text.partition("</GDAL")[0]))
    wide = (*text.encode(), 0)
    trap.raster("shorts.tif", (GDAL_METADATA, "H", len(wide), wide, True))
    odd = text.replace("canary.tif", "caf\udce9.tif").encode(errors="surrogateescape") + b"\0"
    trap.raster("latin.tif", (GDAL_METADATA, "s", len(odd), odd, True))
    shutil.copy(trap.names["path"], Path(trap.names["path"]).with_name("caf\udce9.tif"))
    for raster in read_in_workers(trap):
        assert raster.layout.overviews == ()


@pytest.mark.parametrize("suffix", [".ovr", ".msk"])
def test_a_sidecar_that_is_not_a_tiff_is_not_read(trap: Trap, suffix: str) -> None:
    for index, text in enumerate((WMS, WCS, WMTS, VRT, "{path}", "{url}")):
        trap.raster(f"{index}.tif")
        trap.write(f"{index}.tif{suffix}", text)
    for raster in read_in_workers(trap):
        assert warning_codes(raster) & {"broken_overviews", "sidecar_unreadable"}
        assert raster.layout.overviews == ()
        assert raster.layout.mask is None


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".msk.ovr", ".ovr.msk"])
def test_overview_files_named_in_sidecar_tiffs_are_not_opened(trap: Trap, suffix: str) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif")
        if suffix != ".ovr":
            trap.raster(f"{index}.tif.msk")
        if suffix != ".msk":
            trap.raster(f"{index}.tif.ovr", size=SIZE // 2)
        size = SIZE if suffix == ".msk" else SIZE // 2
        trap.raster(f"{index}.tif{suffix}", trap.overview_tag(target), size=size)
    read_in_workers(trap)


@pytest.mark.parametrize("suffix", [".ovr", ".msk"])
def test_sidecars_of_sidecars_are_not_opened(trap: Trap, suffix: str) -> None:
    trap.raster("a.tif")
    trap.raster(f"a.tif{suffix}", size=SIZE if suffix == ".msk" else SIZE // 2)
    (trap.folder / f"a.tif{suffix}.aux.xml").write_text(trap.pam("{url}/x"))
    trap.raster(f"a.tif{suffix}{suffix}")
    os.mkfifo(trap.folder / f"a.tif{suffix}.ovr.ovr")
    os.mkfifo(trap.folder / f"a{suffix}")
    read_in_workers(trap)


def test_files_named_in_vendor_metadata_are_not_opened(trap: Trap) -> None:
    for index, suffix in enumerate(
        (".xml", ".imd", ".rpb", "_rpc.txt", "_metadata.txt", ".tab", ".wld")
    ):
        trap.raster(f"{index}.tif")
        entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "{url}"><!ENTITY f SYSTEM "file://{path}">]>'
        trap.write(
            f"{index}{suffix}", f"{entity}<isd><IMD>&e;&f;</IMD><RPB><x>{{path}}</x></RPB></isd>"
        )
    for outcome in read_in_workers(trap):
        assert outcome.width == SIZE


def test_environment_variables_of_the_user_have_no_effect(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    (options := trap.folder.parent / "gdalrc").write_text("[configoptions]\nGDAL_SKIP=GTiff\n")
    for name, value in {
        "GDAL_CONFIG_FILE": options, "GDAL_DRIVER_PATH": trap.folder.parent, "PROJ_NETWORK": "ON",
        "GDAL_PAM_PROXY_DIR": Path(trap.names["path"]).parent, "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
        "CPL_VSIL_CURL_ALLOWED_FILENAME": "x", "GDAL_SKIP": "GTiff", "USE_RRD": "YES",
        "PROJ_NETWORK_ENDPOINT": trap.names["url"], "GDAL_HTTP_PROXY": trap.names["url"],
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    for index, target in enumerate(("{path}", "/vsicurl/{url}/x.tif")):
        trap.raster(f"{index}.tif", trap.overview_tag(target))
    assert len(read_in_workers(trap)) == 6


def test_threads_open_nothing_else(trap: Trap) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif", trap.overview_tag(target))
    trap.arm()
    with ThreadReader(2, keep_raster) as threads:
        outcomes = list(threads.read(trap.files(), ReadOptions(statistics="overview")))
    assert all(isinstance(outcome, RasterFile) for outcome in outcomes)


def test_inspect_with_statistics_opens_nothing_else(trap: Trap) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif", trap.overview_tag(target))
        trap.raster(f"{index}.tif.ovr", trap.overview_tag(target), size=SIZE // 2)
    trap.arm()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "inspect", "--json", "--stats", trap.folder],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == len(TARGETS)
    assert all(record["statistics"]["bands"][0]["valid_count"] for record in records)


def test_reading_objects_opens_nothing_else(trap: Trap, bucket: Bucket) -> None:
    for index, target in enumerate(TARGETS):
        trap.raster(f"{index}.tif", trap.overview_tag(target))
        trap.raster(f"{index}.tif.ovr", trap.overview_tag(target), size=SIZE // 2)
        (trap.folder / f"{index}.tif.aux.xml").write_text(trap.pam(target))
    for path in trap.folder.iterdir():
        bucket.put(path.name, path)
    files = [
        file
        for file in list_files([literal_location(f"s3://{bucket.name}")], EVERYWHERE)
        if isinstance(file, StoredFile)
    ]
    trap.arm()
    outcomes = list(read_all(files, ReadOptions()))
    assert all(isinstance(outcome, RasterFile) for outcome in outcomes)
    assert len(outcomes) == len(TARGETS)


@pytest.mark.parametrize("replacement", ["a pipe", "a link to a canary"])
@pytest.mark.parametrize("name", ["a.tif", "a.tif.aux.xml", "a.tif.ovr", "a.tif.msk"])
def test_a_file_that_replaces_a_listed_one_is_not_read(
    trap: Trap, name: str, replacement: str
) -> None:
    trap.raster("a.tif")
    for sidecar in ("a.tif.ovr", "a.tif.msk"):
        trap.raster(sidecar, size=SIZE)
    (trap.folder / "a.tif.aux.xml").write_text("<PAMDataset/>")
    file = find_file(trap.folder / "a.tif", [trap.folder])
    (trap.folder / name).unlink()
    if replacement == "a pipe":
        os.mkfifo(trap.folder / name)
    else:
        (trap.folder / name).symlink_to(trap.names["path"])
    trap.arm()
    (outcome,) = read_all([file], ReadOptions(statistics="overview"))
    assert isinstance(outcome, Rejection)
    assert outcome.code in ("changing", "not_a_file", "not_found")
    # The reader may open it, to compare it with the listing, but may not read it.
    assert trap.canaries.read() == set()
    assert name not in trap.opened.read()
    (trap.folder / name).unlink()


@pytest.mark.parametrize("name", ["a.tif", "a.tif.aux.xml", "a.tfw", "a.tif.ovr"])
def test_a_listed_pipe_is_rejected(trap: Trap, name: str) -> None:
    trap.raster("a.tif")
    (trap.folder / name).unlink(missing_ok=True)
    os.mkfifo(trap.folder / name)
    trap.arm()
    (outcome,) = read_all(list_files([literal_location(trap.folder)], [trap.folder]), ReadOptions())
    assert isinstance(outcome, Rejection)
    assert outcome.code == "not_a_file"
    (trap.folder / name).unlink()


def test_a_process_that_cannot_remove_drivers_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A library without GDAL's functions stands for a GDAL that lacks the necessary ones.
    (tmp_path / "sitecustomize.py").write_text(
        "import rasterio._env, rasterio._version; rasterio._env.__file__ = 'libc.so.6'"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("pipeline.raster.workers.pool.MAX_FAILED_STARTS", 0)
    file = find_file(write_raster(tmp_path / "a.tif"), [tmp_path])
    with (
        ProcessReader(1, keep_raster) as pool,
        pytest.raises(TransientError, match="cannot be restricted to local GeoTIFF"),
    ):
        list(pool.read([file], ReadOptions()))
