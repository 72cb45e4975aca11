import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import rasterio

from pipeline.errors import (
    FileChanged,
    NotAFile,
    NotFound,
    PermissionDenied,
    RasterError,
    Rejection,
    UnsupportedCRS,
)
from pipeline.raster import RasterFile, ReadOptions
from pipeline.raster.read import read
from pipeline.storage import StoredFile, file_uri, find_file
from tests.support.factory import ascii_tag, read_path, write_raster, write_tagged
from tests.support.reading import read_all
from tests.support.unprivileged import unprivileged, unprivileged_folder


@contextmanager
def record_requests() -> Iterator[tuple[str, list[str]]]:
    """Run a web server on this machine; yield its URL and the list of requested paths."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    # Not 127.0.0.1: other tests that wait for a server there may send requests to the port of this one.
    server = HTTPServer(("127.0.0.2", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.2:{server.server_port}", requested
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


VRT = """<VRTDataset rasterXSize="10" rasterYSize="10"><SRS>EPSG:28992</SRS>
<GeoTransform>155000, 10, 0, 463000, 0, -10</GeoTransform><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename>/vsicurl/{url}/x.tif</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


def read_in_process(path: Path) -> RasterFile | Rejection:
    """Read in another process, because GDAL blocks the threads of Python while it waits."""
    (outcome,) = read_all([find_file(path, [path.parent])], ReadOptions())
    return outcome


def test_a_vrt_named_tif_is_not_a_geotiff_and_fetches_nothing(tmp_path: Path) -> None:
    with record_requests() as (url, requested):
        (tmp_path / "a.tif").write_text(VRT.format(url=url))
        outcome = read_in_process(tmp_path / "a.tif")
        assert isinstance(outcome, Rejection)
        assert outcome.code == "not_a_geotiff"
    assert requested == []


def test_a_sidecar_that_names_an_address_is_not_followed(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    unrestricted = "import rasterio, sys; rasterio.open(sys.argv[1]).overviews(1)"
    with record_requests() as (url, requested):
        (tmp_path / "a.tif.aux.xml").write_text(
            '<PAMDataset><Metadata domain="OVERVIEWS">'
            f'<MDI key="OVERVIEW_FILE">/vsicurl/{url}/x.ovr</MDI></Metadata></PAMDataset>'
        )
        raster = read_in_process(path)
        assert requested == []
        subprocess.run([sys.executable, "-c", unrestricted, path], check=True, timeout=60)
        assert requested != []
    assert isinstance(raster, RasterFile)
    assert raster.layout.overviews == ()


@pytest.mark.parametrize(
    "name",
    ["GTIFF_RAW:a.tif", "vrt:", "MEM:::a.tif", "http:", "a.tif,1", "zip+file:a.tif", "%41.tif",
     "a.tif?x=1#y", "GTIFF_DIR:1:a.tif", "é\n'\".tif", "-a.tif", "a b.zip!c.tif"],
)  # fmt: skip
def test_names_are_never_interpreted(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "vsicurl" / "http:"
    folder.mkdir(parents=True)
    write_raster(tmp_path / "plain.tif").rename(folder / name)
    assert read_path(folder / name).width == 10


@pytest.mark.parametrize("name", ["/vsicurl/http://127.0.0.1/x.tif", "/vsimem/x.tif"])
def test_virtual_paths_of_gdal_are_ordinary_paths(name: str) -> None:
    with rasterio.MemoryFile(filename="x.tif"), pytest.raises(NotFound):
        read(StoredFile(file_uri(name), name, 1, "1.1", 1))


def test_a_file_with_a_name_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tif"))
    write_raster(tmp_path / "plain.tif").rename(path)
    assert read_path(path).uri.endswith("/caf%E9.tif")


def test_a_file_deleted_after_the_listing_is_not_found(tmp_path: Path) -> None:
    file = find_file(write_raster(tmp_path / "a.tif"), [tmp_path])
    file.path.unlink()
    with pytest.raises(NotFound):
        read(file)


def test_a_file_that_grew_after_the_listing_is_changing(tmp_path: Path) -> None:
    file = find_file(write_raster(tmp_path / "a.tif"), [tmp_path])
    with file.path.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(FileChanged):
        read(file)


class TouchingOptions:
    """Options that touch a file while it is read, when the reader uses them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def crs_policy(self) -> str:
        os.utime(self._path, ns=(1, 1))
        return "lizard"

    def __getattr__(self, name: str) -> object:
        return getattr(ReadOptions(), name)


@pytest.mark.parametrize("changed", ["a.tif", "a.tfw"])
def test_a_file_that_changes_while_it_is_read_is_changing(tmp_path: Path, changed: str) -> None:
    write_raster(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    file = find_file(tmp_path / "a.tif", [tmp_path])
    with pytest.raises(FileChanged):
        read(file, TouchingOptions(tmp_path / changed))  # type: ignore[arg-type]


def test_a_file_that_became_a_link_or_a_pipe_is_not_followed(tmp_path: Path) -> None:
    file = find_file(write_raster(tmp_path / "a.tif"), [tmp_path])
    file.path.rename(tmp_path / "b.tif")
    file.path.symlink_to(tmp_path / "b.tif")
    with pytest.raises(RasterError):
        read(file)
    file.path.unlink()
    os.mkfifo(file.path)
    with pytest.raises(NotAFile):
        read(file)


def test_a_file_without_read_permission_is_denied() -> None:
    with unprivileged_folder() as folder:
        path = write_raster(folder / "a.tif")
        path.chmod(0)
        with unprivileged(), pytest.raises(PermissionDenied):
            read_path(path)


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("name='author'", "gdal_warning"),
        ("name='D' sample='0' role='description'", "undecodable_descriptions"),
    ],
)
def test_metadata_that_are_not_utf_8_give_a_warning(tmp_path: Path, item: str, code: str) -> None:
    xml = f"<GDALMetadata><Item {item}>Caf@</Item></GDALMetadata>"
    path = write_tagged(tmp_path / "a.tif", "u1", ascii_tag(42112, xml))
    path.write_bytes(path.read_bytes().replace(b"Caf@", b"Caf\xe9"))
    raster = read_path(path)
    assert [warning.code for warning in raster.warnings] == [code]


def test_an_unreadable_crs_is_rejected(tmp_path: Path) -> None:
    name = "M\xe9tres|".encode("latin-1")
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, 32767, 3073, 34737, len(name), 0)
    path = tmp_path / "a.tif"
    tags = [(34737, "s", len(name) + 1, name + b"\0", True)]
    write_tagged(path, "u1", *tags, keys=keys)
    with pytest.raises(UnsupportedCRS):
        read_path(path)


def test_warnings_of_gdal_stay_with_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_raster(tmp_path / "a.tif")
    raw = path.read_bytes()
    (first,) = struct.unpack_from("<I", raw, 4)
    start, middle, end = first + 2, first + 14, first + 26  # its first two tags, of 12 bytes each
    path.write_bytes(raw[:start] + raw[middle:end] + raw[start:middle] + raw[end:])
    raster = read_path(path)
    assert any("ascending" in warning.message for warning in raster.warnings)
    assert not caplog.records
