"""The page of a raster source without scripts: what it shows to which callers, and its forms."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from httpx import Client, Response
from sqlalchemy import Engine, text

from pipeline.api.site.time_bar import divide_time, make_time_bar
from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from tests.api.conftest import SOURCES, Add, As
from tests.support.factory import RD_TRANSFORM, write_raster
from tests.support.ingestion import definition_files, register_files
from tests.support.pages import BROWSER, post_sign_in, text_of, token_of

pytestmark = pytest.mark.usefixtures("empty", "people")


def visit(client: Client, uuid: Any, part: str = "", **query: str) -> Response:
    return client.get(f"/sources/{uuid}/{part}", params=query, headers=BROWSER)


@pytest.fixture
def tiles(engine: Engine, pool: ProcessReader[FileRow], tmp_path: Path) -> str:
    """Register two of four tiles in a row, at three of four hours; return the uuid."""
    paths = []
    for column, hour in ((0, 0), (3, 1), (0, 3)):
        transform = RD_TRANSFORM @ RD_TRANSFORM.translation(column * 10, 0)
        path = tmp_path / f"tile{column}_20240101T0{hour}0000Z.tif"
        paths.append(
            write_raster(path, values=np.ones((1, 10, 10), "float32"), transform=transform)
        )
    item = definition_files(paths, id="tiles", name="Tiles", group="all", access_modifier="Public", temporal=True,
                            interval="PT1H", pattern=r"_(?P<time>\d{8}T\d{6}Z)\.tif$")  # fmt: skip
    register_files(engine, pool.read, item)
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT uuid FROM raster_sources")).scalar_one())


@pytest.mark.parametrize("caller", [None, "user", "supplier", "admin", "manager", "stranger"])
@pytest.mark.parametrize("access", [0, 100, 200, 300])
@pytest.mark.parametrize("part", ["", "gaps/", "edit/", "delete/"])
def test_callers_who_may_read_a_source_see_its_page(
    client: Client, as_: As, add_source: Add, caller: str | None, access: int, part: str
) -> None:
    row = add_source("a", access_modifier=access)
    reader = as_(caller) if caller else client
    detail = reader.get(f"{SOURCES}{row.uuid}/")
    page = visit(reader, row.uuid, part)
    if detail.status_code == 404:
        assert (page.status_code, "Not found" in page.text) == (404, True)
    elif part in ("edit/", "delete/") and not detail.json()["writable"]:
        assert page.status_code == (403 if caller else 401)
    else:
        assert part == "gaps/" or page.status_code == 200
    assert visit(reader, "nothing", part).status_code == 404


def test_the_page_shows_grid_bounds_files_and_history(client: Client, as_: As, tiles: str) -> None:
    shown = client.get(f"{SOURCES}{tiles}/").json()
    words = text_of(visit(client, tiles))
    bounds = shown["spatial_bounds"]
    for part in (
        "Tiles", "EPSG:28992", "Amersfoort / RD New", "40 × 10 pixels", "10 × 10", "155,000 – 155,400",
        "462,900 – 463,000", f"{bounds['west']:.6f} – {bounds['east']:.6f}", "in 3 files", "created",
        "tile0_20240101T000000Z.tif", "times pattern of the file name", "3 steps",
    ):  # fmt: skip
        assert part in words, part
    assert "No layer, label type or scenario uses it" in words
    assert "<title>Tiles – rastersources</title>" in visit(client, tiles).text


def test_only_writers_see_the_folder_of_the_files(
    client: Client, as_: As, tiles: str, tmp_path: Path
) -> None:
    assert str(tmp_path) not in visit(client, tiles).text
    assert str(tmp_path) not in visit(as_("user"), tiles).text
    assert str(tmp_path) in visit(as_("admin"), tiles).text


def test_the_gaps_are_those_of_the_command(client: Client, tiles: str) -> None:
    """By hand: the middle two of 4 x 1 tiles are missing, which are 20 x 10 pixels, and hour 2 of 0 to 3 is missing."""
    words = text_of(visit(client, tiles, "gaps/"))
    assert "1 part of the extent, 200 pixels, has no file" in words
    assert "1 of 4 steps are missing; there is one every 01:00:00" in words
    assert "2024-01-01 02:00 2024-01-01 02:00 1" in words
    gaps = visit(client, tiles, "gaps/", format="json").json()
    assert (gaps["holes"]["pixels"], gaps["series"]["missing_steps"]) == (200, 1)


def test_each_page_links_to_its_json_and_forms_ask_to_sign_in(
    client: Client, as_: As, tiles: str
) -> None:
    admin, own = as_("admin"), f"/sources/{tiles}/"
    forms = (f"{own}edit/", f"{own}delete/", "/sources/new/")
    for path in (own, f"{own}gaps/", *forms):
        page = admin.get(path, headers=BROWSER).text
        link = re.search('<a href="([^"]+)"[^>]*>This page as JSON', page)
        assert link, path
        assert admin.get(link[1]).json(), path
    for path in forms:
        assert ">sign in</a>" in client.get(path, headers=BROWSER).text


def test_a_page_without_scripts_shows_the_requested_step(client: Client, tiles: str) -> None:
    for time, step in (("", "03"), ("2024-01-01T01:30Z", "01"), ("2023-01-01", "00")):
        page = visit(client, tiles, time=time)
        assert f'<strong id="step">2024-01-01T{step}:00:00Z</strong>' in page.text
    wrong = visit(client, tiles, time="soon")
    assert (wrong.status_code, "<code>time</code>" in wrong.text) == (400, True)


def test_the_time_bar_has_a_bar_for_each_interval_with_steps() -> None:
    first = datetime(2024, 1, 1, tzinfo=UTC)
    division = divide_time(first, first + timedelta(hours=3), timedelta(hours=1))
    assert (division.parts, division.until) == (4, first + timedelta(hours=4))
    counts = [SimpleNamespace(part=1, steps=4), SimpleNamespace(part=4, steps=2)]
    bar = make_time_bar(division, first + timedelta(hours=3), counts)
    assert bar.steps == 6
    assert [(part.x, part.width) for part in bar.parts] == [(0, 178.5), (540, 178.5)]
    assert [(part.y, part.height) for part in bar.parts] == [(0, 40), (16, 24)]


def test_a_long_series_is_divided_into_120_parts() -> None:
    first, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    for interval in (timedelta(minutes=5), None):
        division = divide_time(first, last, interval)
        assert (division.parts, division.until > last) == (120, True)


def read_form(page: Response) -> dict[str, str]:
    """Return the fields of the form in the middle of a page, as a browser sends them."""
    form = page.text[page.text.index('<form method="post" class="card">') :]
    fields = dict(re.findall(r'<input [^>]*name="([^"]*)" value="([^"]*)"', form))
    fields |= dict(re.findall(r'<textarea name="(\w+)"[^>]*>([^<]*)</textarea>', form))
    for name, options in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options) or re.search(
            r'value="([^"]*)"', options
        )
        fields[name] = chosen[1] if chosen else ""
    return {name: unescape(value) for name, value in fields.items()}


def test_a_form_that_is_sent_back_changes_nothing(visitor: Client, as_: As, owner: str) -> None:
    body = {
        "name": 'a"<b>',
        "organisation": owner,
        "description": "first\nsecond",
        "interval": "P2D",
    }
    before = as_("admin").post(SOURCES, json=body).json()
    form = read_form(visit(visitor, before["uuid"], "edit/"))
    form["description"] = form["description"].replace("\n", "\r\n")  # browsers send CRLF
    answer = visitor.post(f"/sources/{before['uuid']}/edit/", data=form)
    assert answer.status_code == 303
    assert answer.headers["location"].endswith(f"/sources/{before['uuid']}/")
    assert as_("admin").get(f"{SOURCES}{before['uuid']}/").json() == before


def test_a_form_stores_each_field_that_was_changed(
    visitor: Client, as_: As, add_source: Add
) -> None:
    row = add_source("a", description="old", supplier_code="x")
    form = read_form(visit(visitor, row.uuid, "edit/"))
    changes = {"name": "new", "description": "", "access_modifier": "Hidden", "temporal": "true", "interval": "PT1H",
               "supplier": "supplier", "supplier_code": ""}  # fmt: skip
    assert visitor.post(f"/sources/{row.uuid}/edit/", data={**form, **changes}).status_code == 303
    shown = as_("admin").get(f"{SOURCES}{row.uuid}/").json()
    assert {name: shown[name] for name in changes} == {
        **changes, "description": None, "temporal": True, "interval": "01:00:00", "supplier_code": None,
    }  # fmt: skip


def test_a_form_needs_its_token_and_the_right_to_write(
    client: Client, visitor: Client, as_: As, people: dict[str, str], add_source: Add
) -> None:
    row = add_source("a")
    form = read_form(visit(visitor, row.uuid, "edit/"))
    for part in ("edit/", "delete/"):
        path = f"/sources/{row.uuid}/{part}"
        for token in ("", "0" * 64):
            data = {**form, "csrfmiddlewaretoken": token}
            assert visitor.post(path, data=data).status_code == 403
        assert client.post(path, data=form, headers=BROWSER).status_code == 401
        with Client(base_url=client.base_url, headers=BROWSER) as user:
            post_sign_in(user, "user", people["user"])
            token = token_of(user.get("/"))
            data = {**form, "name": "stolen", "csrfmiddlewaretoken": token}
            assert user.post(path, data=data).status_code == 403
        # A caller with a key has no session, so the token belongs to no session.
        assert as_("admin").post(path, data=form, headers=BROWSER).status_code == 403
    assert as_("admin").get(f"{SOURCES}{row.uuid}/").json()["name"] == "a"


def test_an_invalid_form_is_shown_again_with_the_typed_text(
    visitor: Client, add_source: Add, owner: str
) -> None:
    row = add_source("a")
    for path in (f"/sources/{row.uuid}/edit/", "/sources/new/"):
        form = read_form(visitor.get(path))
        wrong = {
            **form,
            "name": " ",
            "interval": "<soon>",
            "supplier": "nobody",
            "organisation": owner,
        }
        page = visitor.post(path, data=wrong)
        assert page.status_code == 400
        assert "<code>name</code>" in page.text
        assert "<code>interval</code>" in page.text
        assert {**read_form(page), "csrfmiddlewaretoken": ""} == {
            **wrong,
            "csrfmiddlewaretoken": "",
        }
        page = visitor.post(path, data={**wrong, "name": "b", "interval": ""})
        assert "There is no user &#34;nobody&#34;" in page.text


def test_the_page_of_a_deletion_deletes_the_source(
    visitor: Client, as_: As, add_source: Add
) -> None:
    row = add_source("Rain & <snow>")
    page = visit(visitor, row.uuid, "delete/")
    assert 'The raster source "Rain & <snow>" will be deleted.' in text_of(
        page
    ) or "Rain &" in text_of(page)
    assert as_("admin").get(f"{SOURCES}{row.uuid}/").status_code == 200
    done = visitor.post(f"/sources/{row.uuid}/delete/", data=read_form(page))
    assert done.status_code == 303
    assert as_("admin").get(f"{SOURCES}{row.uuid}/").status_code == 404
    catalogue = visitor.get(done.headers["Location"]).text
    assert "The raster source was deleted." in catalogue
    assert "deleted=" not in catalogue  # filters and pages do not repeat the notice


def test_everything_on_the_page_is_escaped(visitor: Client, add_source: Add) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    row = add_source(attack, attack, description=attack, supplier_code=attack)
    for page in (
        visit(visitor, row.uuid),
        visit(visitor, row.uuid, "edit/"),
        visitor.get("/", params={"name": attack}),
    ):
        assert "<script>" not in page.text
        assert "<img" not in page.text
