"""The page of the catalogue without scripts: its table, filters and pages."""

import re
from html import unescape

import pytest
from httpx import Client, Response

from pipeline.api.config import ApiConfig
from tests.api.conftest import SOURCES, Add, As, client_of
from tests.support.pages import BROWSER

pytestmark = pytest.mark.usefixtures("empty", "people")


def visit(client: Client, **query: str) -> Response:
    return client.get("/", params=query, headers=BROWSER)


def names_in(page: Response) -> list[str]:
    """Return the names in the table of a page."""
    return [
        unescape(name)
        for name in re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)<', page.text)
    ]


def test_a_browser_gets_the_page_and_a_program_the_api(client: Client) -> None:
    assert visit(client).status_code == 200
    for headers in ({}, {"Accept": "application/json"}):
        answer = client.get("/", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (302, answer.json()["api"])
    assert client.get("/", params={"format": "json"}, headers=BROWSER).status_code == 302
    assert client.post("/", headers=BROWSER).status_code == 405


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"name__icontains": "B"},
        {"temporal": "true"},
        {"in_bbox": "4.5,51,4.6,52"},
        {"ordering": "-name"},
        {"created__gt": "2000-01-01", "page": "2", "page_size": "2"},
        {"access_modifier": "Private"},
    ],
)
@pytest.mark.parametrize("caller", [None, "admin", "stranger"])
def test_the_table_shows_what_the_api_lists(
    client: Client, as_: As, add_source: Add, query: dict[str, str], caller: str | None
) -> None:
    for number, name in enumerate(("a", "b", "B & <b>", "ab")):
        add_source(
            name, access_modifier=(0, 0, 100, 200)[number], temporal=number == 1,
            west=4.0 + number / 4, east=4.1 + number / 4,
        )  # fmt: skip
    reader = as_(caller) if caller else client
    answer = reader.get(SOURCES, params={"page_size": "25", **query})
    page = visit(reader, **query)
    if answer.status_code != 200:
        assert (page.status_code, "Not found" in page.text) == (404, True)
        return
    listed = answer.json()
    assert names_in(page) == [row["name"] for row in listed["results"]]
    assert f"{listed['count']:,}" in page.text


def test_links_download_all_sources_that_the_filters_find(
    client: Client, as_: As, add_source: Add
) -> None:
    for number, name in enumerate(("a 1", "a 2", "a 3", "b")):
        add_source(name, access_modifier=(0, 0, 200, 0)[number])
    for reader, names in ((client, ["a 2", "a 1"]), (as_("user"), ["a 3", "a 2", "a 1"])):
        page = visit(reader, name__startswith="a", ordering="-name", page="2", page_size="1").text
        assert f"Download all {len(names)} as" in page
        links = [unescape(link) for link in re.findall(r'<a href="([^"]*)" download>', page)]
        assert [link.split("format=")[1] for link in links] == ["geojson", "csv", "geoparquet"]
        features = reader.get(links[0]).json()["features"]
        assert [feature["properties"]["name"] for feature in features] == names
    assert "download>" not in visit(client, name="none").text


def test_a_row_describes_a_source_and_links_its_page(client: Client, add_source: Add) -> None:
    row = add_source("Depth", "Water & Co", temporal=True, file_count=12, pixelsize_x=0.25,
                     first_value_timestamp="2020-01-02T00:00:00Z",
                     last_value_timestamp="2021-03-04T00:00:00Z")  # fmt: skip
    text = visit(client).text
    assert f"/sources/{row.uuid}/" in text
    for shown in (
        "Water &amp; Co",
        "series",
        "12 files",
        "0.25",
        "f4",
        "734 MB",
        "2020-01-02",
        "2021-03-04",
    ):
        assert shown in text


def test_the_filter_bar_keeps_all_filters_and_can_remove_each(
    client: Client, add_source: Add
) -> None:
    add_source("a")
    page = visit(client, name__icontains='a"<', name__startswith="x", ordering="-size", page="1")
    text = unescape(page.text)
    assert 'name="name__icontains" value="a"<"' in text
    assert '<input type="hidden" name="name__startswith" value="x">' in text
    assert '<input type="hidden" name="ordering" value="-size">' in text
    assert 'name="page"' not in text
    chips = re.findall(r'<li>([^<]*) <a href="([^"]*)"', page.text)
    assert [unescape(chip) for chip, _ in chips] == ['Name contains a"<', "Name startswith: x"]
    assert [unescape(link) for _, link in chips] == [
        "?name__startswith=x&ordering=-size",
        "?name__icontains=a%22%3C&ordering=-size",
    ]
    assert "Nothing matches these filters" in page.text


def test_a_wrong_filter_is_named_and_its_text_stays(client: Client, add_source: Add) -> None:
    add_source("a")
    page = visit(client, in_bbox="everywhere", created__gte="soon")
    assert page.status_code == 400
    assert "<code>in_bbox</code>: Must be 4 numbers" in page.text
    assert "<code>created__gte</code>" in page.text
    assert 'value="everywhere"' in page.text
    assert names_in(page) == []
    unknown = visit(client, nmae="a")
    assert unknown.status_code == 200
    assert "nmae" in unknown.text


def test_the_pages_of_the_table_keep_the_filters(client: Client, add_source: Add) -> None:
    for number in range(7):
        add_source(f"s{number}")
    seen: list[str] = []
    link = "?name__startswith=s&page_size=3&ordering=name"
    while link:
        page = client.get(f"/{link}", headers=BROWSER)
        seen += names_in(page)
        following = re.search(r'rel="next" href="([^"]*)"', page.text)
        link = unescape(following[1]) if following else ""
    assert seen == [f"s{number}" for number in range(7)]
    previous = re.search(r'rel="prev" href="([^"]*)"', page.text)
    assert previous
    assert names_in(client.get(f"/{unescape(previous[1])}", headers=BROWSER)) == ["s3", "s4", "s5"]


def test_an_empty_catalogue_says_what_to_do(client: Client) -> None:
    text = visit(client).text
    assert "rastersources register FOLDER" in text
    assert "Sign in</a> to see" in text


def test_every_page_has_a_title_its_json_and_a_strict_policy(
    client: Client, add_source: Add
) -> None:
    add_source("a")
    page = visit(client, name="a")
    assert "<title>Catalogue – rastersources</title>" in page.text
    link = unescape(page.text.split('<link rel="alternate" type="application/json" href="')[1])
    link = link.split('"')[0]
    assert [row["name"] for row in client.get(link).json()["results"]] == ["a"]
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data: blob:"
    assert policy["default-src"] == "'none'"
    assert " style=" not in page.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text)


def test_a_map_background_is_the_only_other_origin(database_url: str) -> None:

    tiles = "https://tiles.example:444/a/{z}/{x}/{y}.png"
    with client_of(ApiConfig(database_url, map_tiles=tiles, map_attribution="<b>Us</b>")) as client:
        page = visit(client)
    assert (
        "img-src 'self' data: blob: https://tiles.example:444;"
        in page.headers["content-security-policy"]
    )
    assert f'data-background="{tiles}"' in page.text
    assert 'data-attribution="&lt;b&gt;Us&lt;/b&gt;"' in page.text
