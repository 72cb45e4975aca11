"""People send files from a page: who may, by a plain form, and by dropping files in a real browser."""

from base64 import b64encode
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from httpx import Client
from sqlalchemy import Engine

from tests.api.conftest import As, address_of
from tests.api.views.source_data.conftest import Process, Source
from tests.support.chromium import GetBrowser, click_button, needs_chromium, sign_in, wait_for_text
from tests.support.database import rows
from tests.support.factory import write_raster
from tests.support.pages import BROWSER

DROP = """
    const transfer = new DataTransfer();
    for (const [name, text] of arguments[0]) {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {type: "image/tiff"}));
    }
    const drop = document.querySelector(".drop");
    for (const kind of ["dragenter", "dragover", "drop"])
        drop.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


def page_of(url: str) -> str:
    return f"/sources/{url.rstrip('/').rpartition('/')[2]}/upload/"


def test_only_callers_who_may_write_a_source_see_its_form(
    client: Client, as_: As, source: Source
) -> None:
    public, private = page_of(source()), page_of(source(access_modifier="Private"))
    statuses = {
        name: [
            (as_(name) if name else client).get(path, headers=BROWSER).status_code
            for path in (public, private, f"/sources/{uuid4()}/upload/", "/sources/x/upload/")
        ]
        for name in (None, "stranger", "manager", "user", "admin")
    }
    assert statuses == {
        None: [403, 404, 404, 404],
        "stranger": [403, 404, 404, 404],
        "manager": [403, 404, 404, 404],
        "user": [403, 403, 404, 404],
        "admin": [200, 200, 404, 404],
    }


@needs_chromium
def test_a_plain_form_sends_a_file_and_the_page_shows_the_outcome(
    browser: Any,
    client: Client,
    people: dict[str, str],
    source: Source,
    process: Process,
    tmp_path: Path,
) -> None:
    """With scripts, the page sends a chosen file at once."""
    address, path = address_of(client), page_of(source())
    browser.get(f"{address}/?format=api")
    browser.get(f"{address}{path}")
    sign_in(browser, "admin", people["admin"])
    browser.get(f"{address}{path}")
    browser.find_element("name", "file").send_keys(str(write_raster(tmp_path / "depth.tif")))
    if browser.find_elements("xpath", "//button[.='Send' and not(@hidden)]"):
        click_button(browser, "Send")
        wait_for_text(browser, "task_id")
    else:
        wait_for_text(browser, "being read")
    process()
    browser.get(f"{address}{path}")
    wait_for_text(browser, ">registered</span>")
    assert "depth.tif" in browser.page_source
    click_button(browser, "Sign out")


@needs_chromium
@pytest.mark.usefixtures("working")
def test_dropped_files_are_sent_with_progress_and_their_outcome(
    get_browser: GetBrowser, client: Client, people: dict[str, str], source: Source,
    tmp_path: Path, engine: Engine,
) -> None:  # fmt: skip
    browser = get_browser(True)
    address, path = address_of(client), page_of(source())
    browser.get(f"{address}{path}")
    sign_in(browser, "admin", people["admin"])
    browser.get(f"{address}{path}")
    browser.get_log("browser")  # the page was 403 before the sign-in
    good = write_raster(tmp_path / "good.tif", width=33).read_bytes()
    nowhere = write_raster(tmp_path / "nowhere.tif", crs=None).read_bytes()
    files = [("good.tif", good), ("nowhere.tif", nowhere), ("large.tif", b"x" * 200_000)]
    browser.execute_script(DROP, [(name, b64encode(data).decode()) for name, data in files])
    for words in ("registered", "missing_crs: ", "A file may be at most 100000 bytes long."):
        wait_for_text(browser, words)
    outcomes = {
        row.find_element("tag name", "strong").text: row.find_element("class name", "badge").text
        for row in browser.find_elements("css selector", "#sent li")
    }
    assert outcomes == {
        "good.tif": "registered",
        "nowhere.tif": "rejected",
        "large.tif": "not sent",
    }
    assert rows(engine, "SELECT count(*) FROM raster_files WHERE size = :size", size=len(good)) == [
        (1,)
    ]
    click_button(browser, "Sign out")
    errors = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in errors if "413" not in message] == []


def test_the_page_of_a_source_has_the_form_for_callers_who_may_write_it(
    client: Client, as_: As, source: Source
) -> None:
    path = page_of(source()).removesuffix("upload/")
    for name, expected in ((None, False), ("user", False), ("admin", True)):
        answer = (as_(name) if name else client).get(path, headers=BROWSER)
        assert answer.status_code == 200
        assert ("Send files" in answer.text) == ("upload.js" in answer.text) == expected


def test_a_page_loads_nothing_from_other_hosts(client: Client, as_: As, source: Source) -> None:
    answer = as_("admin").get(page_of(source()), headers=BROWSER)
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "http" not in answer.text.replace(address_of(client), "")
