"""The documentation site is built without warnings, has every page, and loads nothing from other machines."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Client

from pipeline.api.config import ApiConfig
from pipeline.definitions.definition import Definition, Limits
from pipeline.definitions.drop_folder import DropFolder
from pipeline.settings import Settings
from reference.__main__ import write_pages
from reference.parts import PART, PARTS, fill_parts
from tests.api.conftest import client_of
from tests.support.chromium import GetBrowser, assert_no_errors, needs_chromium, wait_for_script
from tests.support.commands import REPOSITORY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the pages; a warning fails."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(REPOSITORY / "docs", folder / "docs")
    shutil.copy(REPOSITORY / "zensical.toml", folder)
    write_pages(folder / "docs" / "reference")
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [zensical, "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def documented(site: Path, database_url: str) -> Iterator[Client]:
    """A server that shows the site."""
    with client_of(ApiConfig(database_url, documentation=site)) as client:
        yield client


def list_pages(menu: Any) -> Iterator[str]:
    """Yield the pages of a menu of zensical.toml."""
    if isinstance(menu, str):
        yield menu
    for below in (
        menu if isinstance(menu, list) else menu.values() if isinstance(menu, dict) else ()
    ):
        yield from list_pages(below)


def test_every_page_is_in_the_menu_once() -> None:
    menu = tomllib.loads((REPOSITORY / "zensical.toml").read_text())["project"]["nav"]
    listed = list(list_pages(menu))
    docs = REPOSITORY / "docs"
    written = [
        str(path.relative_to(docs)) for path in (*docs.glob("*.md"), *docs.glob("how-to/*.md"))
    ]
    made = ["reference/commands.md", "reference/endpoints.md", "reference/tables.md"]
    assert sorted(listed) == sorted([*written, *made])


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "mermaid" not in page.read_text()  # its program would come from another machine
        urls = re.findall(
            r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(https?:[^\" >]*)", page.read_text()
        )
        assert [url for url in urls if "canonical" not in url] == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import |url\()[\"']?https?:", style.read_text()) == [], style


def test_the_reference_names_what_the_program_has(site: Path) -> None:
    commands = (site / "reference" / "commands" / "index.html").read_text()
    assert "rastersources db migrate" in commands
    assert "--name-icontains" not in commands  # the help of search shows each filter once
    assert "--bbox" in commands
    tables = (site / "reference" / "tables" / "index.html").read_text()
    assert "The owners of raster sources" in tables
    assert "derive_sources" in tables
    endpoints = (site / "reference" / "endpoints" / "index.html").read_text()
    assert "/api/v4/rastersources/{uuid}/data/" in endpoints
    settings = (site / "settings" / "index.html").read_text()
    assert "RASTERSOURCES_PREFECT_PORT" in settings


def test_the_parts_of_pages_that_the_program_writes_are_up_to_date() -> None:
    pages = {path: path.read_text() for path in (REPOSITORY / "docs").glob("*.md")}
    assert [path.name for path, text in pages.items() if fill_parts(text) != text] == []
    made = [name for text in pages.values() for _, name, _ in PART.findall(text)]
    assert sorted(made) == sorted(PARTS)


def test_each_setting_and_key_is_in_the_reference() -> None:
    settings = (REPOSITORY / "docs" / "settings.md").read_text()
    names = {f"RASTERSOURCES_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert {name for name in names if f"| `{name}` | " not in settings} == set()
    assert "| `RASTERSOURCES_UPLOAD_BYTES` | " in settings
    assert "| 10 GiB |" in settings
    sources = (REPOSITORY / "docs" / "sources.md").read_text()
    keys = {*Definition.model_fields, *DropFolder.model_fields, *Limits.model_fields}
    assert {key for key in keys if f"| `{key}` | " not in sources} == set()


def test_it_is_served_with_the_hashes_of_its_own_scripts(documented: Client) -> None:
    assert documented.get("/docs").headers["location"].endswith("docs/")
    answer = documented.get("/docs/tutorial/")
    assert answer.status_code == 200
    assert "Ten minutes" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    for script in re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert documented.get("/docs/no-such-page/").status_code == 404
    assert documented.get("/docs/../../etc/passwd").status_code == 404


def test_without_a_site_its_pages_are_404(database_url: str) -> None:
    with client_of(ApiConfig(database_url)) as client:
        assert client.get("/docs/").status_code == 404


@needs_chromium
def test_a_browser_shows_it_without_errors(documented: Client, get_browser: GetBrowser) -> None:
    origin, browser = str(documented.base_url), get_browser(True)
    browser.get(f"{origin}/docs/")
    browser.find_element("link text", "tutorial").click()
    assert "Ten minutes" in browser.page_source
    browser.get(f"{origin}/docs/consistency/")
    width = "return document.querySelector('article img').naturalWidth"
    assert browser.execute_script(width) == 860
    size = {"width": 1300, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.find_element("css selector", ".md-search__button").click()
    wait_for_script(browser, f"return {SEARCH_RESULTS} !== undefined")
    browser.switch_to.active_element.send_keys("proxy_request_buffering")
    wait_for_script(browser, f"return {SEARCH_RESULTS}.includes('Behind nginx')")
    assert_no_errors(browser, origin)


SEARCH_RESULTS = "document.activeElement.shadowRoot?.querySelector('[role=listbox]')?.textContent"
"""The text of the search results, which are in a shadow tree of the dialog."""
