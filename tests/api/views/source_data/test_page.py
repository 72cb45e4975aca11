"""The page of a source's data: people send and remove files by forms, and other sites cannot."""

from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from pipeline.storage.uploads import FolderUploadStore
from tests.api.conftest import As, address_of
from tests.api.views.source_data.conftest import (
    NOON,
    ONE,
    TWO,
    Process,
    Source,
    stored_uris,
    upload_file,
)
from tests.support.chromium import (
    assert_no_errors,
    click_button,
    fill,
    needs_chromium,
    sign_in,
    wait_for_text,
)
from tests.support.factory import write_raster
from tests.support.pages import token_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty", "people")


@needs_chromium
@pytest.mark.usefixtures("working")
def test_a_person_sends_a_geotiff_follows_its_task_and_removes_the_data(
    browser: Any, client: Client, people: dict[str, str], source: Source, tif: Path
) -> None:
    url, address = source(temporal=True), address_of(client)
    browser.get(url)
    sign_in(browser, "admin", people["admin"])
    browser.find_element("link text", "data/").click()
    wait_for_text(browser, "Raster Source Data")
    write_raster(tif, crs=None, nodata=None)
    browser.find_element("name", "file").send_keys(str(tif))
    fill(browser, "timestamp", NOON)
    fill(browser, "crs", "EPSG:28992")
    fill(browser, "nodata", "-9999")
    click_button(browser, "POST")
    wait_for_text(browser, "task_id")
    browser.find_element("partial link text", "/tasks/").click()

    def has_ended() -> bool:
        browser.refresh()
        return '"SUCCESS"' in browser.page_source

    wait_until(has_ended, seconds=120)
    shown = client.get(url).json()
    assert (shown["first_value_timestamp"], shown["size"]) == (NOON, tif.stat().st_size)
    assert (shown["projection"], shown["fill_value"]) == ("EPSG:28992", "-9999.0")
    browser.get(f"{url}uploads/")
    wait_for_text(browser, "a.tif")
    browser.get(f"{url}data/")
    click_button(browser, "DELETE")
    wait_for_text(browser, "1 raster file will be removed.")
    assert client.get(url).json()["size"] == tif.stat().st_size
    click_button(browser, "Delete")
    wait_for_text(browser, "Files removed: 1.")
    assert client.get(url).json()["size"] is None
    click_button(browser, "Sign out")
    assert_no_errors(browser, address)


def test_the_deletion_of_a_source_names_the_number_of_its_files(
    visitor: Client, as_: As, source: Source, tif: Path, process: Process
) -> None:
    url = source(temporal=True)
    for time in (NOON, ONE):
        upload_file(as_("admin"), url, tif, time=time)
    process()
    upload_file(as_("admin"), url, tif, time=TWO)
    token = token_of(visitor.get(url))
    page = visitor.post(url, data={"_method": "DELETE", "csrfmiddlewaretoken": token})
    for sentence in (
        f"2 raster files ({2 * tif.stat().st_size:,} bytes) will leave the catalogue.",
        "2 uploaded files will be deleted from the storage.",
        "1 waiting upload will be cancelled.",
    ):
        assert sentence in page.text
    assert count_files_and_uploads(as_("admin"), url) == (2, 3)


def count_files_and_uploads(client: Client, url: str) -> tuple[int, int]:
    """Return the numbers of files and uploads that a client sees."""
    files, uploads = (client.get(f"{url}{part}/").json()["count"] for part in ("files", "uploads"))
    return files, uploads


Parts = list[tuple[str, tuple[str | None, bytes]]]
FILE = ("file", ("a.tif", b"x"))


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([("csrfmiddlewaretoken", (None, b"TOKEN")), FILE], 200),
        ([FILE], 403),
        ([("csrfmiddlewaretoken", (None, b"0" * 64)), FILE], 403),
        ([("csrfmiddlewaretoken", (None, b"")), FILE], 403),
        ([FILE, ("csrfmiddlewaretoken", (None, b"TOKEN"))], 403),
        ([("csrfmiddlewaretoken", ("token", b"TOKEN")), FILE], 403),
    ],
    ids=["valid", "missing", "wrong", "empty", "after the file", "as a file"],
)
def test_a_file_by_session_needs_a_token_before_the_file(
    visitor: Client, source: Source, store: FolderUploadStore, parts: Parts, status: int
) -> None:
    url = source()
    token = token_of(visitor.get(f"{url}data/")).encode()
    sent = [(name, (kind, content.replace(b"TOKEN", token))) for name, (kind, content) in parts]
    answer = visitor.post(f"{url}data/", files=sent)
    assert (answer.status_code, len(stored_uris(store))) == (status, int(status == 200))
    assert f"HTTP {status} " in answer.text


def test_data_is_not_removed_by_a_form_without_the_token(visitor: Client, source: Source) -> None:
    url = source()
    for content, kind in ((b"", "multipart/form-data; boundary=b"), (b"{}", "text/plain")):
        headers = {"Content-Type": kind}
        answer = visitor.request("DELETE", f"{url}data/", content=content, headers=headers)
        assert answer.status_code == 403
    for data in ({"_method": "DELETE"}, {"_method": "DELETE", "csrfmiddlewaretoken": "0"}):
        assert visitor.post(f"{url}data/", data=data).status_code == 403


def test_a_file_from_another_site_is_rejected(
    visitor: Client, source: Source, store: FolderUploadStore
) -> None:
    url = source()
    token = token_of(visitor.get(f"{url}data/"))
    answer = visitor.post(
        f"{url}data/",
        data={"csrfmiddlewaretoken": token},
        files={"file": ("a.tif", b"x")},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert (answer.status_code, stored_uris(store)) == (403, [])
