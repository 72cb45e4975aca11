"""Forms of pages: a deletion asks first, a rejected form keeps its text, and every path has a page."""

import json
import re
from html import unescape
from typing import Any

import pytest
from httpx import Client, Response
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.layers import add_layer
from tests.api.conftest import SOURCES, Add, As, address_of, client_of
from tests.api.resources.test_layers import graph
from tests.support.chromium import click_button, needs_chromium, sign_in, wait_for_text
from tests.support.database import execute
from tests.support.pages import BROWSER, post_sign_in, text_of, token_of

pytestmark = pytest.mark.usefixtures("empty", "people")


def submit(visitor: Client, url: str, method: str, content: str = "", **fields: str) -> Response:
    """Send a form of a page."""
    form = {
        "_method": method,
        "_content": content,
        "csrfmiddlewaretoken": token_of(visitor.get("/api/v4/rasters/")),
    }
    return visitor.post(url, data={**form, **fields})


def forms(page: Response) -> dict[str, str]:
    """Return the content of the form of each method."""
    form = (
        r'name="_method" value="(\w+)">\s*<label>Content, as JSON\s*<textarea[^>]*>(.*?)</textarea>'
    )
    return {method: unescape(content) for method, content in re.findall(form, page.text, re.DOTALL)}


def confirm(visitor: Client, url: str, page: Response) -> Response:
    """Confirm a deletion by the form on its page."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
    fields = [(name, unescape(value)) for name, value in fields]
    return visitor.post(url, data=dict(fields))


@pytest.fixture
def used(as_: As, add_source: Add, owner: str, engine: Engine, add_organisation: Any) -> Any:
    """Add a raster source that a layer, a label type and scenarios use, some of them of another owner."""
    row = add_source("Rain & snow")
    execute(engine, UPLOADED, source=row.id)
    body = {"organisation": owner, "access_modifier": "Private"}
    admin = as_("admin")
    admin.post("/api/v4/rasters/", json={**body, "name": "My <layer>", "source": graph(row.uuid)})
    admin.post("/api/v4/labeltypes/", json={**body, "name": "My labels", "source": graph(row.uuid)})
    admin.post(
        "/api/v4/scenarios/",
        json={**body, "name": "My scenario", "raster_sources": [str(row.uuid)]},
    )
    layer = add_layer(engine, "Their secret layer", row.uuid)
    other = add_organisation("Others")
    execute(
        engine,
        "UPDATE layers SET organisation_id = :n, access_modifier = 200 WHERE uuid = :uuid",
        n=other,
        uuid=layer,
    )
    execute(engine, THEIR_SCENARIO, organisation=other, source=row.uuid)
    return row, layer


UPLOADED = """
    INSERT INTO uploads (source_id, filename, state, uri, size)
    VALUES (:source, 'waits.tif', 'received', 'file:///w', 5)
"""
THEIR_SCENARIO = """
    WITH made AS (
        INSERT INTO scenarios (name, organisation_id, access_modifier) VALUES ('Their scenario', :organisation, 200)
        RETURNING id
    )
    INSERT INTO scenario_sources (scenario_id, source_uuid) SELECT id, :source FROM made
"""


def test_a_deletion_asks_first_and_names_the_dependents(visitor: Client, used: Any) -> None:
    source, theirs = used
    url = f"{SOURCES}{source.uuid}/"
    page = submit(visitor, url, "DELETE", "{}")
    assert page.status_code == 200
    words = text_of(page)
    assert 'The raster source "Rain & snow" will be deleted.' in words
    assert "Used by 2 layers and 1 label type: deleting it breaks them." in words
    assert "1 waiting upload will be cancelled." in words
    for name in (
        "layer My <layer>",
        "label type My labels",
        "scenario My scenario",
        f"layer {theirs}",
    ):
        assert name in words
    assert "Their" not in words
    assert visitor.get(url).status_code == 200
    deleted = confirm(visitor, url, page)
    assert "HTTP 204 No Content" in deleted.text
    assert visitor.get(url).status_code == 404


def test_an_unused_source_is_deleted_without_force(visitor: Client, add_source: Add) -> None:
    url = f"{SOURCES}{add_source('a').uuid}/"
    page = submit(visitor, url, "DELETE")
    assert "Used by" not in page.text
    assert "force" not in page.text
    assert "HTTP 204 No Content" in confirm(visitor, url, page).text


def test_a_deletion_that_would_fail_is_rejected_at_once(visitor: Client, add_source: Add) -> None:
    mine, theirs = add_source("a"), add_source("b", organisation="Others")
    assert submit(visitor, f"{SOURCES}{theirs.uuid}/", "DELETE").status_code == 403
    broken = submit(visitor, f"{SOURCES}{mine.uuid}/", "DELETE", '{"force": "perhaps"}')
    assert (broken.status_code, forms(broken)["DELETE"]) == (400, '{"force": "perhaps"}')


@pytest.mark.parametrize("path", ["rasters", "labeltypes", "scenarios"])
def test_the_deletion_of_a_dependent_asks_first_too(
    visitor: Client, as_: As, owner: str, path: str
) -> None:
    url = (
        as_("admin")
        .post(f"/api/v4/{path}/", json={"name": "mine", "organisation": owner})
        .json()["url"]
    )
    page = submit(visitor, url, "DELETE")
    assert '"mine" will be deleted. Nothing depends on it.' in text_of(page)
    assert visitor.get(url).status_code == 200
    assert "HTTP 204 No Content" in confirm(visitor, url, page).text


def test_a_deletion_needs_the_token_of_the_session(visitor: Client, add_source: Add) -> None:
    url = f"{SOURCES}{add_source('a').uuid}/"
    assert submit(visitor, url, "DELETE", csrfmiddlewaretoken="0").status_code == 403
    assert (
        submit(visitor, url, "DELETE", csrfmiddlewaretoken="0", _confirmed="yes").status_code == 403
    )


def test_programs_delete_without_a_question(as_: As, visitor: Client, add_source: Add) -> None:
    first, second = (f"{SOURCES}{add_source(name).uuid}/" for name in "ab")
    assert as_("admin").delete(first).status_code == 204
    token = token_of(visitor.get(SOURCES))
    form = {"_method": "DELETE", "csrfmiddlewaretoken": token}
    answer = visitor.post(second, data=form, headers={"Accept": "application/json"})
    assert answer.status_code == 204


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"name": "half', "JSON parse error"),
        ('{"name": "",\n "description": "kept", "organisation": "x"}', "This field may not be blank."),
        ("[1]", "Expected a dictionary"),
    ],
)  # fmt: skip
def test_a_rejected_form_keeps_the_typed_text(
    visitor: Client, add_source: Add, method: str, content: str, error: str
) -> None:
    url = f"{SOURCES}{add_source('stored', description='there').uuid}/"
    page = submit(visitor, url, method, content)
    assert page.status_code == 400
    assert error in unescape(page.text)
    texts = forms(page)
    assert texts.pop(method) == content.strip()
    if method == "PATCH":
        stored = json.loads(texts["PUT"])
        assert (stored["name"], stored["description"]) == ("stored", "there")
    assert texts.keys() == {"PUT", "PATCH", "DELETE"} - {method}


@pytest.mark.parametrize("how", ["OPTIONS", "PATCH"])
def test_the_form_of_put_starts_with_the_stored_values(
    visitor: Client, add_source: Add, how: str
) -> None:
    url = f"{SOURCES}{add_source('stored').uuid}/"
    page = submit(visitor, url, how, '{"description": "new"}')
    assert page.status_code == 200
    written = json.loads(forms(page)["PUT"])
    assert written["name"] == "stored"
    assert written["description"] == ("new" if how == "PATCH" else None)


def test_a_form_without_permission_to_write_is_not_read(
    client: Client, people: dict[str, str], add_source: Add
) -> None:
    url = f"{SOURCES}{add_source('a').uuid}/"
    with Client(base_url=client.base_url, headers=BROWSER, timeout=60) as user:
        post_sign_in(user, "user", people["user"])
        page = submit(user, url, "PATCH", '{"name": "long work"}')
    assert (page.status_code, forms(page)) == (403, {})


def test_a_form_keeps_the_typed_text_when_the_database_is_too_slow(
    database_url: str, people: dict[str, str], add_source: Add, engine: Engine
) -> None:
    row = add_source("a")
    config = ApiConfig(database_url, statement_timeout_seconds=1)
    with client_of(config) as client:
        client.headers.update(BROWSER)
        post_sign_in(client, "admin", people["admin"])
        with engine.begin() as connection:
            connection.execute(
                text("SELECT FROM raster_sources WHERE id = :id FOR UPDATE"), {"id": row.id}
            )
            page = submit(client, f"{SOURCES}{row.uuid}/", "PATCH", '{"name": "long work"}')
    assert (page.status_code, forms(page)["PATCH"]) == (503, '{"name": "long work"}')


def test_a_rejected_upload_keeps_its_other_fields(visitor: Client, add_source: Add) -> None:
    url = f"{SOURCES}{add_source('a').uuid}/data/"
    token = token_of(visitor.get(url))
    fields = [("csrfmiddlewaretoken", (None, token)), ("timestamp", (None, 'yester"day'))]
    page = visitor.post(url, files=[*fields, ("file", ("a.tif", b"x"))])
    assert page.status_code == 400
    assert 'name="timestamp" value="yester&#34;day"' in page.text


def test_a_failed_sign_in_keeps_the_name_and_not_the_password(client: Client) -> None:
    with Client(base_url=client.base_url, headers=BROWSER, timeout=60) as browser:
        page = post_sign_in(browser, 'some"one', "wrong secret")
    assert page.status_code == 400
    assert (
        'name="username" autocomplete="username" required autofocus value="some&#34;one"'
        in page.text
    )
    assert "wrong secret" not in page.text


ERRORS = {
    "an unknown path": ("GET", "/nothing/", 404),
    "an unknown path of the API": ("GET", "/api/v4/rastersource/", 404),
    "an unknown path that is written": ("POST", "/api/v4/nothing/", 404),
    "a static file": ("GET", "/static/nothing.css", 404),
    "another method": ("PUT", "/api/v4/docs/", 405),
    "another method of a list": ("PUT", SOURCES, 405),
    "another method of a static file": ("POST", "/static/pages.css", 405),
    "another method of a sign-in": ("DELETE", "/accounts/login/", 405),
    "a wrong value": ("GET", f"{SOURCES}?page=x", 400),
    "too long a query": ("GET", f"{SOURCES}?name={'x' * 62_000}", 414),
    "a write without login": ("POST", SOURCES, 401),
}


@pytest.mark.parametrize("what", ERRORS)
def test_every_problem_is_a_page_for_people_and_the_envelope_for_programs(
    client: Client, what: str
) -> None:
    method, path, status = ERRORS[what]
    page = client.request(method, path, headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "<h1>" in page.text
    assert f"#{status}." in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for headers in ({"Accept": "application/json"}, {"Accept": "*/*"}):
        answer = client.request(method, path, headers=headers)
        assert answer.headers["content-type"] == "application/json"
        assert list(answer.json()) == ["status", "code", "message", "detail"]
        assert answer.headers.get("allow") == page.headers.get("allow")


def test_a_page_of_an_unknown_path_escapes_it_and_links_the_api(visitor: Client) -> None:
    page = visitor.get('/"><script>alert(1)</script>/')
    assert "<script" not in page.text
    assert f'href="{address_of(visitor)}/api/v4/?format=api"' in page.text
    assert "Sign out" in page.text


def test_a_page_of_an_unknown_path_needs_no_database() -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    with client_of(ApiConfig(nowhere)) as client:
        client.cookies.set("rastersources_session", "x")
        page = client.get("/nothing/", headers=BROWSER)
        assert (page.status_code, "<h1>Not Found</h1>" in page.text) == (404, True)
        assert client.get(SOURCES, headers=BROWSER).status_code == 503


def test_an_unforeseen_error_is_a_page_for_people(database_url: str, engine: Engine) -> None:
    with client_of(ApiConfig(database_url)) as client:
        execute(engine, "ALTER TABLE raster_sources RENAME TO away")
        try:
            page, answer = (client.get(SOURCES, headers=headers) for headers in (BROWSER, {}))
        finally:
            execute(engine, "ALTER TABLE away RENAME TO raster_sources")
    assert (page.status_code, "<h1>Internal Server Error</h1>" in page.text) == (500, True)
    assert "away" not in page.text + answer.text
    assert answer.json()["message"] == "Internal error. #500.10"


@needs_chromium
@pytest.mark.parametrize("path", [SOURCES, "/api/v4/docs/", "/nothing/"])
def test_the_button_to_sign_out_is_visible_on_a_narrow_screen(
    browser: Any, client: Client, engine: Engine, people: dict[str, str], path: str
) -> None:
    execute(engine, "UPDATE users SET username = :name WHERE username = 'admin'", name=LONG_NAME)
    size = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    try:
        browser.get(f"{address_of(client)}{SOURCES}")
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        sign_in(browser, LONG_NAME, people["admin"])
        browser.get(f"{address_of(client)}{path}")
        button = browser.find_element("xpath", "//button[.='Sign out']")
        assert button.rect["x"] >= 0
        assert button.rect["x"] + button.rect["width"] <= 380
        assert browser.find_element("tag name", "body").rect["width"] <= 380
        click_button(browser, "Sign out")
        wait_for_text(browser, "Password or API key")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        execute(
            engine, "UPDATE users SET username = 'admin' WHERE username = :name", name=LONG_NAME
        )


LONG_NAME = "remo.van.tilburg.of.the.department.of.water.and.rain@example.org"
