"""Help with the query string: pages explain parameters, and answers name unknown ones."""

import re
from html import unescape

import pytest
from httpx import Client
from sqlalchemy import Engine

from pipeline.api.app import new_api
from pipeline.api.config import ApiConfig
from pipeline.api.routes import endpoints
from pipeline.api.shared_memory import SharedMemory
from tests.api.conftest import SOURCES, Add, As, address_of, client_of
from tests.support.chromium import GetBrowser, needs_chromium, wait_for_text
from tests.support.commands import REPOSITORY
from tests.support.pages import BROWSER

pytestmark = pytest.mark.usefixtures("empty", "people")
V4 = "/api/v4"
LISTS = [
    f"{V4}/{name}/"
    for name in ("rastersources", "rasters", "labeltypes", "scenarios", "organisations", "contracts", "rejectedfiles")
]  # fmt: skip
QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
WARNINGS = re.compile(rf"299 - {QUOTED}(?:, 299 - {QUOTED})*")
"""The header according to RFC 7234 (5.5) and RFC 7230 (3.2.6), without obs-text."""


@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_parameter_is_ignored_and_named_with_the_nearest_known_one(
    as_: As, path: str
) -> None:
    answer = as_("admin").get(path, params={"pgae_size": "1"})
    assert answer.status_code == 200
    assert answer.headers["warning"] == (
        '299 - "The parameter pgae_size is unknown and was ignored; the nearest known one is page_size."'
    )
    assert answer.json() == as_("admin").get(path).json()


@pytest.mark.parametrize(
    ("parameter", "nearest"),
    [
        ("name__icontain", "name__icontains"),
        ("Organisation", "organisation"),
        ("first_value_timestamp_gte", "first_value_timestamp__gte"),
        ("order", "ordering"),
        ("in_box", "in_bbox"),
        ("fromat", "format"),
    ],
)
def test_a_misspelt_parameter_has_the_right_nearest_one(
    client: Client, parameter: str, nearest: str
) -> None:
    sentence = client.get(SOURCES, params={parameter: "x"}).headers["warning"]
    assert sentence.endswith(f'the nearest known one is {nearest}."')


def test_no_list_warns_of_a_parameter_that_its_document_names(
    as_: As, things: dict[str, str]
) -> None:
    paths = as_("admin").get(f"{V4}/openapi.json").json()["paths"]
    ids = {**things, "downloads": things["tasks"]}
    requests = 0
    for path, item in paths.items():
        names = [each["name"] for each in item.get("get", {}).get("parameters", ())]
        if not names:
            continue
        url = re.sub(r"{\w+}", lambda _: str(ids[path.split("/")[3]]), path)  # noqa: B023 - it is called here
        answer = as_("admin").get(url, params={**dict.fromkeys(names, ""), "dry-run": ""})
        assert "warning" not in answer.headers, (path, answer.headers["warning"])
        requests += 1
    assert requests > 10


def test_every_endpoint_names_unknown_parameters(client: Client, database_url: str) -> None:
    for path, _ in endpoints(new_api(ApiConfig(database_url), SharedMemory())):
        url = path.replace("{uuid}", "0" * 32).replace("{id}", "1")
        assert "nobody_knows" in client.get(url, params={"nobody_knows": ""}).headers["warning"], (
            path
        )


HOSTILE = {
    "a quote": '"',
    "a backslash": "\\",
    "another header": "x\r\nSet-Cookie: a=b",
    "a second warning": 'x", 299 - "y',
    "beyond ASCII": "na\u00efve \u6c34",
    "no text": "\x00\x1f\x7f\x85",
    "a percent sign": "100%",
    "markup": "<script>alert(1)</script>",
    "nothing": "",
    "a comma": "a,b",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_stays_inside_its_quotes(client: Client, name: str) -> None:
    answer = client.get(SOURCES, params={name: "x"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert WARNINGS.fullmatch(answer.headers["warning"])
    assert answer.headers["warning"].count('299 - "') == 1
    page = client.get(SOURCES, params={name: "x", "format": "api"})
    assert "<script" not in page.text
    assert "is unknown and was ignored" in page.text


def test_raw_bytes_of_a_query_stay_inside_their_quotes(client: Client) -> None:
    answer = client.get(f"{SOURCES}?%ff%fe=1&%ed%a0%80=2")
    assert WARNINGS.fullmatch(answer.headers["warning"])


def test_many_and_long_names_make_a_short_header(client: Client) -> None:
    names = {f"{number:03}{'x' * 200}": "" for number in range(200)}
    warning = client.get(SOURCES, params=names).headers["warning"]
    assert WARNINGS.fullmatch(warning)
    assert len(warning) < 1500
    assert warning.endswith('"195 more parameters are unknown."')


def test_a_problem_names_unknown_parameters(client: Client) -> None:
    answer = client.get(SOURCES, params={"page": "x", "nmae": "y"})
    assert (answer.status_code, "nmae" in answer.headers["warning"]) == (400, True)


def test_a_write_names_unknown_parameters(as_: As, owner: str) -> None:
    answer = as_("admin").post(f"{SOURCES}?dyr-run", json={"name": "a", "organisation": owner})
    assert answer.headers["warning"].endswith('the nearest known one is dry-run."')


def test_scripts_of_other_origins_may_read_the_warning(database_url: str) -> None:
    with client_of(ApiConfig(database_url, cors_origins=("https://maps.example",))) as client:
        answer = client.get(SOURCES, headers={"Origin": "https://maps.example"})
    assert "warning" in answer.headers["access-control-expose-headers"].lower()


SEED = (REPOSITORY / "tests/data/seed_examples.txt").read_text().split()


def test_the_list_shows_all_examples_of_the_original_and_each_works(
    client: Client, engine: Engine, add_source: Add
) -> None:
    add_source("Elevation")
    page = unescape(client.get(SOURCES, params={"format": "api"}).text)
    shown = re.findall(r'<li><a href="\?([^"]+)&format=api">', page)
    assert shown[: len(SEED)] == SEED
    assert len(SEED) == 15
    for example in shown:
        for form in ("", "&format=api"):
            answer = client.get(f"{SOURCES}?{example}{form}")
            assert (answer.status_code, "warning" in answer.headers) == (200, False), example
    assert client.get(f"{SOURCES}?{SEED[0]}").json()["count"] == 1


NAMED = ("name", "uuid", "organisation", "first_value_timestamp", "last_value_timestamp", "layers__uuid",
         "scenario__isnull", "ordering", "access_modifier", "created", "last_modified")  # fmt: skip
"""The parameters that the original service explains."""


@needs_chromium
@pytest.mark.parametrize("path", [SOURCES, f"{SOURCES}?format=api"])
def test_the_page_of_the_list_has_the_original_headings_and_all_parameters(
    client: Client, get_browser: GetBrowser, path: str
) -> None:
    browser = get_browser(False)
    browser.get(f"{address_of(client)}{path}")
    wait_for_text(browser, "Raster Source List")
    headings = [element.text for element in browser.find_elements("css selector", "h2")]
    assert [text for text in headings if text in ("Deletion", "Query parameters", "Examples")] == [
        "Deletion", "Query parameters", "Examples"]  # fmt: skip
    terms = [element.text for element in browser.find_elements("css selector", "dt")]
    meanings = [element.text for element in browser.find_elements("css selector", "dd")]
    explained = dict(zip(terms, meanings, strict=True))
    assert set(NAMED) <= explained.keys()
    assert all(explained.values())
    for word in ("startswith", "endswith", "icontains"):
        assert word in explained["name"]
    for name in ("created", "last_modified"):
        assert "exact (the default), lt, lte, gt, gte" in explained[name]
        assert "YYYY-MM-DDThh:mm:ssZ" in explained[name]
    assert "8-4-4-4-12" in explained["uuid"]
    for name in ("name", "supplier_code", "size", "last_modified"):
        assert name in explained["ordering"]
    for name in ("Public", "Private", "Common", "Hidden"):
        assert name in explained["access_modifier"]


def test_a_page_names_what_it_ignored(client: Client) -> None:
    page = client.get(SOURCES, params={"nmae": "x"}, headers=BROWSER)
    assert (
        "The parameter nmae is unknown and was ignored; the nearest known one is name." in page.text
    )
    assert "nmae" in page.headers["warning"]
