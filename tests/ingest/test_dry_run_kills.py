"""The file of a dry run is gone as soon as either side dies, because it never had a name."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.factory import write_raster
from tests.support.serving import HEAD, Serving, serving_for
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def serving(
    database_url: str, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    home = tmp_path_factory.mktemp("home")
    (home / "uploads").mkdir()
    with serving_for(engine, database_url, home) as serving:
        yield serving


def list_open_files(pid: int, folder: Path) -> list[str]:
    """Return what a process has open below a folder, files without a name included."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            links.append(str(link.readlink()))
    return [link for link in links if link.startswith(f"{folder}/")]


@pytest.mark.parametrize("end", ["the client goes away", "the server is killed"])
def test_a_dry_run_leaves_nothing_when_either_side_dies(serving: Serving, end: str) -> None:
    folder = serving.home.resolve() / "uploads"
    path = serving.add_source().partition(str(serving.port))[2] + "data/?dry-run"
    with socket.create_connection(("127.0.0.1", serving.port)) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nusername: __key__\r\npassword: {serving.key}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n"
        )
        connection.sendall(head.encode() + HEAD + bytes(4_000_000))
        wait_until(
            lambda: "(deleted)" in str(list_open_files(serving.process.pid, folder)), seconds=300
        )
        assert [path.name for path in folder.rglob("*")] == [".catalogue"]
        if end == "the server is killed":
            serving.kill()
    if end == "the server is killed":
        serving.start()
    wait_until(lambda: list_open_files(serving.process.pid, folder) == [], seconds=300)
    assert [path.name for path in folder.rglob("*")] == [".catalogue"]


def test_a_server_answers_a_dry_run(serving: Serving, tmp_path: Path) -> None:
    url = serving.add_source()
    with write_raster(tmp_path / "a.tif").open("rb") as file:
        fields = {"timestamp": "2024-01-01"}
        answer = serving.client.post(f"{url}data/?dry-run", files={"file": file}, data=fields)
    expected = {"status": "SUCCESS", "result": url, "detail": "Files replaced: 0."}
    assert (answer.status_code, answer.json()) == (200, expected)
    assert serving.client.get(f"{url}uploads/").json()["count"] == 0
