"""Every URL has a page. Pages let people sign in and write by forms, and escape all values."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from html import unescape

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.api.config import ApiConfig
from pipeline.catalogue.users import create_key, revoke_key, set_password
from tests.api.conftest import SOURCES, Add, address_of, serve
from tests.support.pages import BROWSER, post_sign_in, token_of

pytestmark = pytest.mark.usefixtures("empty", "people")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def browser(client: Client, engine: Engine) -> Iterator[Client]:
    """A client that sends the headers of a browser and keeps cookies. Earlier failed sign-ins are deleted."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM sign_in_failures")
    with Client(base_url=client.base_url, headers=BROWSER, timeout=60) as browser:
        yield browser


@pytest.mark.parametrize("how", ["format", "accept"])
def test_a_page_shows_title_request_answer_and_links(
    client: Client, add_source: Add, how: str
) -> None:
    add_source("first")
    query, headers = ({"format": "api"}, {}) if how == "format" else ({}, BROWSER)
    page = client.get(SOURCES, params=query, headers=headers)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    text = unescape(page.text)
    assert "<h1>Raster Source List</h1>" in text
    assert "HTTP 200 OK" in text
    assert "Content-Type:</b> application/json" in text
    suffix = "?format=api" if how == "format" else ""
    assert f'"url": "<a href="{address_of(client)}{SOURCES}' in text
    assert f'/{suffix}" rel' in text
    assert "1 in total" in text


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/html;q=0.5", "image/png", "q=;"]
)
def test_clients_that_do_not_prefer_html_get_json(client: Client, accept: str) -> None:
    assert (
        client.get(SOURCES, headers={"Accept": accept}).headers["content-type"]
        == "application/json"
    )


def test_format_json_beats_the_accept_header_of_a_browser(client: Client) -> None:
    answer = client.get(SOURCES, params={"format": "json"}, headers=BROWSER)
    assert answer.headers["content-type"] == "application/json"
    assert client.get(SOURCES, params={"format": "xml"}).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/api/v4/", SOURCES, "/api/v4/rasters/", "/api/v4/organisations/", "/bootstrap/lizard/"],
)
def test_every_url_has_a_page(client: Client, path: str) -> None:
    assert "<h1>" in client.get(path, params={"format": "api"}).text


def test_everything_in_a_page_is_escaped(client: Client, add_source: Add) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    row = add_source(
        attack, description='http://x/" onmouseover="alert(1)', supplier_code="javascript:alert(1)"
    )
    for path, query in ((SOURCES, {"name": attack}), (f"{SOURCES}{row.uuid}/", {"x": attack})):
        page = client.get(path, params={**query, "format": "api"}).text
        assert "<script" not in page
        assert "<img" not in page
        assert not re.search(r"<[^>]*onmouseover", page)
        assert 'href="javascript' not in page


def test_a_page_loads_nothing_from_other_hosts_and_runs_no_scripts(client: Client) -> None:
    page = client.get(SOURCES, params={"format": "api"})
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert client.get("/static/pages.css").status_code == 200
    assert client.get("/static/../config.py").status_code == 404
    assert client.get("/static/%2e%2e/config.py").status_code == 404


def test_problems_are_pages_for_browsers(client: Client) -> None:
    page = client.get(f"{SOURCES}nothing/", headers=BROWSER)
    assert (page.status_code, "HTTP 404 Not Found" in page.text) == (404, True)
    refused = client.get(SOURCES, params={"created": "yesterday"}, headers=BROWSER)
    assert (refused.status_code, "HTTP 400" in refused.text) == (400, True)


def test_a_person_signs_in_with_a_password_or_a_key_and_out_again(
    browser: Client, engine: Engine, people: dict[str, str]
) -> None:
    set_password(engine, "admin", "correct horse")
    for secret in ("correct horse", people["admin"]):
        answer = post_sign_in(browser, "admin", secret, SOURCES)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            f"{str(browser.base_url).rstrip('/')}{SOURCES}",
        )
        page = browser.get(SOURCES)
        assert "admin" in page.text
        data = {"csrfmiddlewaretoken": token_of(page)}
        assert browser.post("/accounts/logout/", data=data).status_code == 303
        assert "Sign in" in browser.get(SOURCES).text


def test_a_session_ends_with_its_key_or_a_new_password(
    browser: Client, engine: Engine, people: dict[str, str]
) -> None:
    def open_session(secret: str) -> Client:
        another = stack.enter_context(Client(base_url=browser.base_url, headers=BROWSER))
        assert post_sign_in(another, "user", secret).status_code == 303
        return another

    def is_signed_in(client: Client) -> bool:
        headers = {"Accept": "application/json"}
        answer: bool = client.get("/bootstrap/lizard/", headers=headers).json()["user"][
            "authenticated"
        ]
        return answer

    set_password(engine, "user", "correct horse")
    first, second = create_key(engine, "user"), create_key(engine, "user")
    with ExitStack() as stack:
        sessions = [open_session(secret) for secret in (first, first, second, "correct horse")]
        assert [is_signed_in(session) for session in sessions] == [True, True, True, True]
        revoke_key(engine, first.partition(".")[0])
        assert [is_signed_in(session) for session in sessions] == [False, False, True, True]
        assert post_sign_in(browser, "user", first).status_code == 400
        set_password(engine, "user", "battery staple")
        assert [is_signed_in(session) for session in sessions] == [False, False, False, False]
        assert is_signed_in(open_session(second))


def test_a_sign_out_with_an_old_token_gets_a_page_with_a_new_one(
    browser: Client, people: dict[str, str]
) -> None:
    post_sign_in(browser, "user", people["user"])
    old_form = {"csrfmiddlewaretoken": token_of(browser.get(SOURCES))}
    post_sign_in(browser, "admin", people["admin"])
    refused = browser.post("/accounts/logout/", data=old_form)
    assert refused.status_code == 403
    assert "CSRF Failed" in refused.text
    assert 'name="password"' not in refused.text
    assert 'action="' + address_of(browser) + '/accounts/logout/"' in refused.text
    assert "admin" in browser.get(SOURCES).text
    new_form = {"csrfmiddlewaretoken": token_of(refused)}
    assert browser.post("/accounts/logout/", data=new_form).status_code == 303
    assert "Sign in" in browser.get(SOURCES).text


@pytest.mark.parametrize(("public", "path"), [(None, "/"), ("http://maps.example/a/b/", "/a/b")])
def test_cookies_are_for_the_path_of_the_base_url_only(
    database_url: str, people: dict[str, str], public: str | None, path: str
) -> None:
    with (
        serve(ApiConfig(database_url, base_url=public)) as address,
        Client(base_url=address + path, headers=BROWSER, timeout=60) as browser,
    ):
        post_sign_in(browser, "admin", people["admin"])
        assert {cookie.path for cookie in browser.cookies.jar} == {path}
        page = browser.get(SOURCES)
        assert "admin" in page.text
        browser.post("/accounts/logout/", data={"csrfmiddlewaretoken": token_of(page)})
        assert [cookie.name for cookie in browser.cookies.jar] == ["rastersources_visit"]


def test_signing_in_redirects_to_our_own_pages_only(
    browser: Client, people: dict[str, str]
) -> None:
    for following in (
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
    ):
        answer = post_sign_in(browser, "admin", people["admin"], following)
        assert answer.headers["location"].endswith("/api/v4/?format=api")


def test_successful_sign_ins_do_not_count_as_failures(
    browser: Client, people: dict[str, str]
) -> None:
    assert {post_sign_in(browser, "admin", people["admin"]).status_code for _ in range(30)} == {303}


def test_a_form_writes_only_with_the_token(
    browser: Client, people: dict[str, str], owner: str
) -> None:
    post_sign_in(browser, "admin", people["admin"])
    token = token_of(browser.get(SOURCES))
    form = {"_method": "POST", "_content": f'{{"name": "by form", "organisation": "{owner}"}}'}
    assert browser.post(SOURCES, data=form).status_code == 403
    assert browser.post(SOURCES, data={**form, "csrfmiddlewaretoken": "0" * 64}).status_code == 403
    page = browser.post(SOURCES, data={**form, "csrfmiddlewaretoken": token})
    assert (page.status_code, "HTTP 201 Created" in page.text) == (201, True)
    url = page.headers["location"]
    changed = browser.post(
        url, data={"_method": "PATCH", "_content": '{"name": "x"}', "csrfmiddlewaretoken": token}
    )
    assert (changed.status_code, "&#34;x&#34;" in changed.text) == (200, True)
    broken = browser.post(
        url, data={"_method": "PATCH", "_content": "{", "csrfmiddlewaretoken": token}
    )
    assert broken.status_code == 400
    form = {"_method": "DELETE", "_content": "", "csrfmiddlewaretoken": token}
    question = browser.post(url, data=form)
    assert (question.status_code, "<h1>Delete?</h1>" in question.text) == (200, True)
    assert browser.get(url).status_code == 200
    deleted = browser.post(url, data={**form, "_confirmed": "yes"})
    assert "HTTP 204 No Content" in deleted.text
    assert browser.get(url).status_code == 404


@pytest.mark.parametrize("path", ["rastersources", "rasters", "labeltypes", "scenarios"])
def test_the_form_of_post_is_valid_with_name_and_organisation(
    browser: Client, people: dict[str, str], owner: str, path: str
) -> None:
    url = f"/api/v4/{path}/"
    post_sign_in(browser, "admin", people["admin"])
    page = browser.get(url)
    match = re.search(r"<textarea[^>]*>\s*(\{.*?\})\s*</textarea>", unescape(page.text), re.DOTALL)
    assert match
    prefilled = json.loads(match[1])
    assert (prefilled["name"], prefilled["organisation"]) == ("", "")
    headers = {"Accept": "application/json", "X-CSRFToken": token_of(page)}
    body = {"name": "n", "organisation": owner}
    answers = [browser.post(url, json=sent, headers=headers) for sent in (prefilled | body, body)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    own = ("id", "uuid", "url", "created", "last_modified")
    first, second = (
        {name: value for name, value in answer.json().items() if name not in own}
        for answer in answers
    )
    assert first == second


def test_a_rejected_form_is_shown_again(
    browser: Client, people: dict[str, str], owner: str
) -> None:
    post_sign_in(browser, "admin", people["admin"])
    form = {
        "_method": "POST",
        "_content": '{"name": "half',
        "csrfmiddlewaretoken": token_of(browser.get(SOURCES)),
    }
    page = browser.post(SOURCES, data=form)
    assert page.status_code == 400
    assert '{"name": "half</textarea>' in unescape(page.text)


@pytest.mark.parametrize(
    ("username", "expected"),
    [("admin", True), ("supplier", False), ("user", False), ("stranger", False), (None, False)],
)
def test_only_callers_who_may_write_see_forms(
    browser: Client, people: dict[str, str], add_source: Add, username: str | None, expected: bool
) -> None:
    url = f"{SOURCES}{add_source('a').uuid}/"
    if username:
        post_sign_in(browser, username, people[username])
    for path in (url, f"{url}data/"):
        assert ('class="raw"' in browser.get(path).text) == expected
    may_add = username in ("admin", "supplier")
    assert ('class="raw"' in browser.get(SOURCES).text) == may_add


def test_a_page_links_its_subpaths(client: Client, add_source: Add) -> None:
    url = f"{address_of(client)}{SOURCES}{add_source('a').uuid}/"
    page = client.get(url, params={"format": "api"}).text
    for part in ("data/", "uploads/", "files/"):
        assert f'<a href="{url}{part}?format=api">{part}</a>' in page


def test_a_url_without_get_has_a_page_that_shows_its_options(
    client: Client, add_source: Add
) -> None:
    url = f"{SOURCES}{add_source('a').uuid}/data/"
    page = client.get(url, headers=BROWSER)
    assert (page.status_code, f"OPTIONS {url}" in page.text) == (200, True)
    assert client.get(url).status_code == 405
    assert client.get(f"{SOURCES}{'0' * 32}/data/", headers=BROWSER).status_code == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v4/docs/", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/accounts/login/", "GET, HEAD, POST"),
        ("/accounts/logout", "GET, HEAD, POST"),
        ("/static/pages.css", "GET, HEAD"),
    ],
)
def test_pages_beside_the_api_allow_no_other_methods(
    client: Client, path: str, allowed: str
) -> None:
    for method in ("GET", "HEAD"):
        assert client.request(method, path).status_code == 200
    for method in ("PUT", "PATCH", "DELETE", "TRACE"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json()["message"] == "Request method not available. #405.10"
        assert answer.json()["detail"] == f'Method "{method}" not allowed.'


@pytest.mark.parametrize(
    "wanted", ["bytes=x", "bytes=9999999-", "bytes=5-1", "pages=1", "bytes=0-3"]
)
def test_a_static_file_is_sent_as_a_whole(client: Client, wanted: str) -> None:
    whole = client.get("/static/pages.css")
    answer = client.get("/static/pages.css", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, whole.content)
    etag = {"Range": wanted, "If-None-Match": whole.headers["etag"]}
    assert client.get("/static/pages.css", headers=etag).status_code == 304


def test_only_scripts_of_our_own_origin_write(
    browser: Client, people: dict[str, str], owner: str
) -> None:
    post_sign_in(browser, "admin", people["admin"])
    body, address = {"name": "n", "organisation": owner}, address_of(browser)
    for headers, status in (
        ({"Origin": address}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": address}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ):
        sent = {**headers, "Accept": "application/json"}
        assert browser.post(SOURCES, json=body, headers=sent).status_code == status, headers


def test_the_button_for_options_needs_no_sign_in(browser: Client) -> None:
    page = browser.get(SOURCES, params={"_method": "OPTIONS"})
    assert "display_name" in page.text


def test_options_describes_the_fields(client: Client) -> None:
    options = client.options(SOURCES).json()
    assert list(options) == ["name", "description", "renders", "parses", "actions"]
    name = options["actions"]["POST"]["name"]
    assert name == {"type": "string", "required": True, "read_only": False, "label": "Name",
                    "help_text": "Name; need not be unique.", "max_length": 255}  # fmt: skip
    access = options["actions"]["POST"]["access_modifier"]
    assert [choice["value"] for choice in access["choices"]] == [
        "Public",
        "Common",
        "Private",
        "Hidden",
    ]
    assert options["actions"]["POST"]["size"]["read_only"] is True
    assert client.options(f"{SOURCES}nothing/").status_code == 404


def test_options_explains_the_query_string(client: Client) -> None:
    text = client.options(SOURCES).json()["description"]
    for line in (
        "name: Text filter on the name.",
        "ordering: by name, supplier_code, size",
        "page_size: Rows on a page",
        "?name__icontains=",
    ):
        assert f"\n{line}" in text
    assert '{"force": true}' in text
