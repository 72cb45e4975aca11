"""Files of web servers: their URLs, the servers that may be read, and servers that misbehave."""

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CatalogueError, FileChanged, NotAllowed, RasterError, Rejection
from pipeline.raster.read import read
from pipeline.settings import split_paths
from pipeline.storage import (
    EVERYWHERE,
    RangeReader,
    StoredFile,
    find_registered_file,
    list_files,
    literal_location,
    parse_location,
)
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.documents import read_document, resolve_link
from pipeline.storage.uploads import open_upload_store
from pipeline.storage.web_files import web_url
from tests.support.factory import write_raster
from tests.support.web import Reply, Web, redirect, serve_folder


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    write_raster(tmp_path / "a b.tif")
    with serve_folder(tmp_path) as web:
        yield web


def list_file(web: Web, name: str = "a%20b.tif", *roots: str) -> StoredFile | Rejection:
    (file,) = list_files([literal_location(f"{web.url}/{name}")], roots or (web.url,))
    return file


def rejection_code(file: StoredFile | Rejection) -> str:
    assert isinstance(file, Rejection), file
    return file.code


def test_a_file_is_read_as_it_is_from_a_folder(web: Web, tmp_path: Path) -> None:
    file = list_file(web)
    assert isinstance(file, StoredFile)
    (local,) = list_files([literal_location(tmp_path / "a b.tif")], EVERYWHERE)
    assert isinstance(local, StoredFile)
    assert (file.uri, file.name, file.size) == (f"{web.url}/a%20b.tif", "a b.tif", local.size)
    local_record, web_record = read(local), read(file)
    assert web_record == replace(local_record, uri=file.uri, fingerprint=file.fingerprint)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTPS://Example.ORG:443", "https://example.org/"),
        ("http://example.org:80/a b.tif", "http://example.org/a%20b.tif"),
        ("http://example.org:8080/a%20b.tif#x", "http://example.org:8080/a%20b.tif"),
        ("http://[::1]:8080/a.tif", "http://[::1]:8080/a.tif"),
    ],
)
def test_a_file_has_one_url(text: str, url: str) -> None:
    assert web_url(text) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///a.tif",
        "https://user:secret@example.org/a.tif",
        "https://example.org/a.tif?sig=secret",
        "https://example.org/a.tif?",
        "https://example.org/data/../secret.tif",
        "https://example.org/data/%2e%2e/secret.tif",
        "https://example.org/data/%2e%2e%2fsecret.tif",
        "https://example.org/data/..%5Csecret.tif",
        "https://example.org/a%00.tif",
        "https://example.org:port/a.tif",
        "https://[::1/a.tif",
        "https://exa mple.org/a.tif",
        "https://user:secret@exa mple.org/a.tif?sig=secret",
        "ftp://example.org/a.tif",
        f"https://example.org/{'a' * 2000}.tif",
    ],
)
def test_a_url_that_could_mean_something_else_is_refused(url: str) -> None:
    with pytest.raises(CatalogueError) as raised:
        web_url(url)
    for secret in ("secret@", "sig=secret"):
        assert secret not in str(raised.value)


def test_a_web_server_is_read_only_if_a_root_names_it(web: Web) -> None:
    assert rejection_code(list_file(web, "a%20b.tif", *map(str, EVERYWHERE))) == "not_allowed"
    assert rejection_code(list_file(web, "a%20b.tif", f"{web.url}/other/")) == "not_allowed"
    assert rejection_code(list_file(web, "a%20b.tif", f"{web.url[:-1]}/")) == "not_allowed"
    assert (
        rejection_code(list_file(web, "a%20b.tif", web.url.replace("127.0.0.1", "localhost")))
        == "not_allowed"
    )
    assert web.requests == []
    assert isinstance(list_file(web, "a%20b.tif", f"{web.url}/a%20b.tif"), StoredFile)


def test_roots_are_split_at_colons_that_are_not_those_of_urls() -> None:
    text = "/data:s3://:s3://b/x:https://example.org:http://h:8080/maps:http://[::1]:80/:/more"
    assert split_paths(text) == (
        "/data", "s3://", "s3://b/x", "https://example.org", "http://h:8080/maps", "http://[::1]:80/", "/more",
    )  # fmt: skip
    for text in ("https://", "/data:http://", "https:///maps"):
        with pytest.raises(ValueError, match="name the web servers"):
            split_paths(text)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "not_found"),
        (410, "not_found"),
        (401, "permission_denied"),
        (403, "permission_denied"),
        (400, "unreachable"),
    ],
)
def test_an_answer_of_the_server_becomes_a_reason_at_once(web: Web, status: int, code: str) -> None:
    web.fault = lambda _: (status, {}, b"")
    assert rejection_code(list_file(web)) == code
    assert len(web.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(web: Web, status: int) -> None:
    attempts = count()
    web.fault = lambda _: (status, {"Retry-After": "0"}, b"") if next(attempts) < 1 else None
    assert isinstance(list_file(web), StoredFile)
    assert len(web.requests) == 2


def test_a_server_that_asks_for_a_long_pause_is_not_asked_again(web: Web) -> None:
    web.fault = lambda _: (429, {"Retry-After": "3600"}, b"")
    assert rejection_code(list_file(web)) == "unreachable"
    assert len(web.requests) == 1


def test_waiting_for_a_server_has_an_end(web: Web) -> None:
    file = list_file(web)
    assert isinstance(file, StoredFile)
    web.fault = lambda _: (503, {}, b"")
    began = time.monotonic()
    with pytest.raises(RasterError) as raised:
        RangeReader(2.0).first(file, file.name)
    assert raised.value.code == "unreachable"
    assert time.monotonic() - began < 2.5


def test_a_server_without_ranges_or_versions_is_not_read(web: Web) -> None:
    web.etags = False
    file = list_file(web)
    assert isinstance(file, StoredFile)
    assert "modified-" in file.fingerprint
    read(file)
    web.modified = False
    assert rejection_code(list_file(web)) == "unsuitable_server"
    web.etags, web.ranges = True, False
    assert rejection_code(list_file(web)) == "unsuitable_server"


@pytest.mark.parametrize(
    "answer",
    [
        (206, {"ETag": '"x"', "Content-Range": "bytes 0-0/*"}, b"I"),
        (206, {"ETag": '"x"', "Content-Range": "bytes 5-5/100"}, b"I"),
        (206, {"ETag": '"x"'}, b"I"),
        (206, {"ETag": '"x"', "Content-Range": "bytes 0-0/100"}, bytes(2**20)),
        (206, {"ETag": '"x"', "Content-Range": "bytes 0-0/100", "Content-Encoding": "gzip"}, b"I"),
        (
            206,
            {"ETag": '"x"', "Content-Range": "bytes 0-0/100", "Content-Encoding": "gzip, gzip"},
            b"I",
        ),
        (206, {"ETag": '"x"', "Content-Range": f"bytes 0-0/1{'0' * 30}"}, b"I"),
        (206, {"ETag": '"x"', "Content-Range": f"bytes 0-0/1{'0' * 5000}"}, b"I"),
        (204, {"ETag": '"x"'}, b""),
    ],
)
def test_an_answer_that_is_not_the_range_is_refused(web: Web, answer: Reply) -> None:
    web.fault = lambda _: answer
    assert rejection_code(list_file(web)) in ("unsuitable_server", "over_budget", "changing")


def test_a_modification_time_too_late_for_the_database_is_capped(web: Web) -> None:
    headers = {"Content-Range": "bytes 0-0/100", "Last-Modified": "Fri, 31 Dec 9999 23:59:59 GMT"}
    web.fault = lambda _: (206, headers, b"I")
    file = list_file(web)
    assert isinstance(file, StoredFile)
    assert file.modified_ns == 2**63 - 1


def test_a_url_that_the_client_cannot_send_is_rejected(web: Web) -> None:
    (file,) = list_files([literal_location("http://999.1.1.1/a.tif")], ["http://999.1.1.1/"])
    assert rejection_code(file) == "unreachable"


@pytest.mark.parametrize("slow", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_never_ends_its_headers_is_given_up(slow: bytes) -> None:
    def drip(listening: socket.socket) -> None:
        with suppress(OSError), listening.accept()[0] as connection:
            while True:
                connection.sendall(slow)
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.tif"
        began = time.monotonic()
        with pytest.raises(RasterError) as raised:
            RangeReader(0.5).get(url, 0, 1, None)
    assert raised.value.code == "unreachable"
    assert time.monotonic() - began < 1.5


def test_an_empty_file_is_empty(web: Web, tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    file = list_file(web, "empty.tif")
    assert isinstance(file, StoredFile)
    assert file.size == 0
    with pytest.raises(RasterError) as raised:
        read(file)
    assert raised.value.code == "empty_file"


def test_a_file_that_changes_is_noticed(web: Web, tmp_path: Path) -> None:
    file = list_file(web)
    assert isinstance(file, StoredFile)
    write_raster(tmp_path / "a b.tif", width=50)
    with pytest.raises(FileChanged):
        read(file)


def test_a_registered_file_is_found_without_a_request(web: Web) -> None:
    file = list_file(web)
    assert isinstance(file, StoredFile)
    web.requests.clear()
    registered = find_registered_file(file.uri, file.fingerprint, (web.url,))
    assert (registered.uri, registered.size, registered.real_path) == (
        file.uri,
        file.size,
        file.real_path,
    )
    assert web.requests == []
    with pytest.raises(NotAllowed):
        find_registered_file(file.uri, file.fingerprint, EVERYWHERE)


def test_a_redirect_within_the_roots_is_followed_as_a_link_is(web: Web) -> None:
    web.fault = lambda path: redirect("/a%20b.tif", 301) if path == "/old.tif" else None
    file = list_file(web, "old.tif")
    assert isinstance(file, StoredFile)
    assert file.uri == f"{web.url}/a%20b.tif"


@pytest.mark.parametrize(
    "target",
    ["http://localhost:{port}/a.tif", "http://127.0.0.1:1/a.tif", "/other/a.tif", "file:///etc/passwd",
     "http://169.254.169.254/latest/meta-data", "//localhost/a.tif", "/data/a.tif?key=1", "/data/../other/a.tif"],
)  # fmt: skip
def test_a_redirect_out_of_the_roots_is_refused(web: Web, target: str) -> None:
    location = target.format(port=web.port)
    web.fault = lambda path: redirect(location) if path.startswith("/data") else (200, {}, b"")
    assert rejection_code(list_file(web, "data/a.tif", f"{web.url}/data/")) == "not_allowed"
    assert [path for _, path, _ in web.requests] == ["/data/a.tif"]


@pytest.mark.parametrize(
    "target", ["https://h/a.tif?sig=secret", "https://me:secret@h/a.tif", "//["]
)
def test_a_refused_redirect_is_reported_without_secrets(web: Web, target: str) -> None:
    web.fault = lambda _: redirect(target)
    file = list_file(web)
    assert rejection_code(file) == "not_allowed"
    assert isinstance(file, Rejection)
    assert "secret" not in file.message


def test_redirects_in_a_loop_end(web: Web) -> None:
    web.fault = lambda path: redirect("/b.tif" if path == "/a.tif" else "/a.tif")
    assert rejection_code(list_file(web, "a.tif")) == "unreachable"


def test_a_file_that_redirects_after_it_was_listed_is_refused(web: Web) -> None:
    file = list_file(web)
    assert isinstance(file, StoredFile)
    web.fault = lambda path: redirect("/other.tif")
    with pytest.raises(NotAllowed) as raised:
        read(file)
    assert web.url not in str(raised.value)


def test_a_web_server_cannot_be_listed_or_written(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be listed"):
        parse_location("https://example.org/maps/*.tif", tmp_path)
    with pytest.raises(CatalogueError, match="has a query"):
        parse_location("https://example.org/map?.tif", tmp_path)
    with pytest.raises(CatalogueError, match="cannot store files"):
        open_upload_store("https://example.org/uploads")


@pytest.mark.parametrize(
    ("base", "link", "resolved"),
    [
        ("https://h/a/catalog.json", "./b/c.json", "https://h/a/b/c.json"),
        ("https://h/a/catalog.json?x=1", "?page=2", "https://h/a/catalog.json?page=2"),
        ("https://h/a/catalog.json", "/c.json", "https://h/c.json"),
        ("https://h/a/catalog.json", "http://g/c.json", "http://g/c.json"),
        ("s3://bucket/a/catalog.json", "../c.json", "s3://bucket/c.json"),
        ("s3://bucket/catalog.json", "https://h/c.json", "https://h/c.json"),
        ("file:///a/catalog.json", "b/c.json", "file:///a/b/c.json"),
        ("file:///a/catalog.json", "/etc/c.json", "file:///etc/c.json"),
        ("file:///a/catalog.json", "s3://bucket/c.json", "s3://bucket/c.json"),
        ("https://h/a/catalog.json", "HTTPS://h/c.json", "https://h/c.json"),
        ("https://h/a/catalog.json", "//[", "//["),
    ],
)
def test_links_are_relative_to_their_document(base: str, link: str, resolved: str) -> None:
    assert resolve_link(base, link) == resolved


def fetch_document(web: Web, path: str, max_bytes: int = 1000, **more: Any) -> bytes:
    return read_document(f"{web.url}/{path}", AllowedRoots([web.url]), max_bytes, **more)[1]


def test_documents_are_bounded(web: Web, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(1000))
    (tmp_path / "large").write_bytes(bytes(1001))
    assert fetch_document(web, "small") == bytes(1000)
    with pytest.raises(RasterError) as raised:
        fetch_document(web, "large")
    assert raised.value.code == "over_budget"
    roots = AllowedRoots([tmp_path])
    assert read_document((tmp_path / "small").as_uri(), roots, 1000)[1] == bytes(1000)
    for name, code in (("large", "over_budget"), ("", "not_a_file"), ("none", "not_found")):
        with pytest.raises(RasterError) as raised:
            read_document((tmp_path / name).as_uri(), roots, 1000)
        assert raised.value.code == code
    with pytest.raises(NotAllowed):
        read_document(Path("/etc/passwd").as_uri(), roots, 1000)


@pytest.mark.parametrize("name", ["//evil/c.json", "/tmp/a%00.json", "//["])
def test_a_link_that_is_not_a_path_on_this_machine_is_refused(tmp_path: Path, name: str) -> None:
    link = resolve_link((tmp_path / "catalog.json").as_uri(), name)
    with pytest.raises(NotAllowed):
        read_document(link, AllowedRoots(EVERYWHERE), 1000)


def test_a_document_may_be_compressed(web: Web) -> None:
    web.fault = lambda _: (200, {"Content-Encoding": "GZIP"}, gzip.compress(bytes(1000)))
    assert fetch_document(web, "small.json") == bytes(1000)


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("gzip", gzip.compress(bytes(5 * 10**7)), "over_budget"),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(10**8))), "unsuitable_server"),
        ("zstd", b"(", "unsuitable_server"),
        ("gzip", b"no gzip", "unsuitable_server"),
    ],
    ids=["bomb", "bomb in a bomb", "zstd", "broken"],
)
def test_a_compression_bomb_is_not_unpacked(
    web: Web, encoding: str, body: bytes, code: str
) -> None:
    web.fault = lambda _: (200, {"Content-Encoding": encoding}, body)
    tracemalloc.start()
    try:
        with pytest.raises(RasterError) as raised:
            fetch_document(web, "bomb.json", 10**6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert raised.value.code == code
    assert peak < 10**7
