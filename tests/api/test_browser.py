"""The pages in a real browser: no console error, no request to another host, and no need for scripts."""

from typing import Any

import pytest
from httpx import Client

from tests.api.conftest import SOURCES, Add, address_of
from tests.support.chromium import (
    assert_no_errors,
    click_button,
    fill,
    needs_chromium,
    sign_in,
    wait_for_text,
)

pytestmark = [needs_chromium, pytest.mark.usefixtures("empty", "people")]


def test_a_person_finds_signs_in_adds_changes_and_deletes(
    browser: Any, client: Client, people: dict[str, str], owner: str, add_source: Add
) -> None:
    for number in range(12):
        add_source(f"s{number}", description="<script>document.title = 'broken'</script>")
    address = address_of(client)
    browser.get(f"{address}/api/v4/")
    browser.find_element("link text", f"{address}{SOURCES}").click()
    assert "Raster Source List" in browser.title
    browser.find_element("link text", "Next").click()
    wait_for_text(browser, "s11")
    browser.find_element("xpath", "//summary[.='Filter']").click()
    fill(browser, "name__icontains", "S7")
    click_button(browser, "Filter")
    wait_for_text(browser, "1 in total")
    click_button(browser, "OPTIONS")
    wait_for_text(browser, "display_name")

    browser.get(f"{address}{SOURCES}")
    sign_in(browser, "admin", people["admin"])
    wait_for_text(browser, "_content")
    assert "Raster Source List" in browser.title
    fill(browser, "_content", f'{{"name": "by hand", "organisation": "{owner}"}}')
    click_button(browser, "POST")
    wait_for_text(browser, "HTTP 201 Created")
    url = client.get(SOURCES, params={"name": "by hand"}, auth=("__key__", people["admin"])).json()[
        "results"
    ][0]["url"]
    browser.get(f"{url}?format=api")
    browser.find_elements("name", "_content")[1].clear()
    browser.find_elements("name", "_content")[1].send_keys('{"name": "changed"}')
    click_button(browser, "PATCH")
    wait_for_text(browser, '"changed"')
    click_button(browser, "DELETE")
    wait_for_text(browser, 'The raster source "changed" will be deleted.')
    click_button(browser, "Delete")
    wait_for_text(browser, "HTTP 204 No Content")
    click_button(browser, "Sign out")
    wait_for_text(browser, "Password or API key")
    browser.get(f"{address}/api/v4/docs/")
    wait_for_text(browser, "name__icontains")

    assert f"{address}/static/pages.css" in assert_no_errors(browser, address)
