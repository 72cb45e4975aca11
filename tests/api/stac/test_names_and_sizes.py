"""Searches by names and sizes of files use an index, and find the same as a comparison in Python."""

import operator
import re
from random import Random
from typing import Any

import psycopg
import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.stac.search import parse_search
from pipeline.api.stac.statements import StatementForm, page_query
from tests.api.stac.conftest import Uuids

SEARCH = "/stac/search"
NAMES = ("Straße_100%25%20a.tif", "a%2Fb_RAIN.tif", "100%.tif", "x", "plain_name-2024.TIF")
"""The last parts of URIs: some are percent-encoded, one has a slash, and one cannot be decoded."""
UPLOAD_NAMES = ("folder/Ünï_code 100%.tif", "rain.tif", "back\\slash_x.tif")
"""Names that clients have given to uploads."""


@pytest.fixture(scope="module")
def titles(engine: Engine, client: Client, uuids: Uuids) -> dict[str, str]:
    """Copy a file under many names, some of them of uploads; return the titles of all shown items by id."""
    with engine.begin() as connection:
        columns = ", ".join(
            connection.execute(
                text(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = 'raster_files' "
                    "AND column_name NOT IN ('id', 'uri', 'definition')"
                )
            ).scalars()
        )
        insert_file = text(
            f"INSERT INTO raster_files (uri, {columns}) SELECT 's3://b/%20/' || :name, {columns} "
            "FROM raster_files WHERE source_id = (SELECT id FROM raster_sources WHERE name = 'polar') LIMIT 1"
        )
        for name in (*NAMES, *(f"upload-{number}.tif" for number in range(len(UPLOAD_NAMES)))):
            connection.execute(insert_file, {"name": name})
        insert_upload = text(
            "INSERT INTO uploads (source_id, filename, uri) "
            "SELECT id, :filename, :uri FROM raster_sources WHERE name = 'polar'"
        )
        for number, filename in enumerate(UPLOAD_NAMES):
            uri = f"s3://b/%20/upload-{number}.tif"
            connection.execute(insert_upload, {"filename": filename, "uri": uri})
        connection.execute(insert_upload, {"filename": "waits_rain.tif", "uri": None})
    features = client.get(SEARCH, params={"limit": 100}).json()["features"]
    shown = {item["id"]: item["properties"]["title"] for item in features}
    assert {"Ünï_code 100%.tif", "b_RAIN.tif", "Straße_100% a.tif", "100%.tif"} <= set(
        shown.values()
    )
    return shown


def find(client: Client, search: dict[str, Any]) -> set[str]:
    """Return the ids of the items of a search."""
    page = client.post(SEARCH, json={"limit": 100, **search}).json()
    assert page["numberMatched"] == len(page["features"])
    return {item["id"] for item in page["features"]}


def parts_of_titles(titles: dict[str, str]) -> list[str]:
    """Return parts of titles, and texts that are in no title."""
    rng, parts = Random(7), ["%", "_", "\\", "upload-1", "no such name", "ROTTERDAM"]
    for title in titles.values():
        start = rng.randrange(len(title))
        parts.append(title[start : start + rng.randint(1, 6)].strip(" ,"))
    return [part for part in parts if part]


def test_a_pattern_for_titles_finds_the_same_as_python(
    client: Client, titles: dict[str, str]
) -> None:
    for part in parts_of_titles(titles):
        pattern = "%" + re.sub(r"([%_\\])", r"\\\1", part) + "%"
        like = {"op": "like", "args": [{"property": "title"}, pattern]}
        expected = {id for id, title in titles.items() if part in title}
        assert find(client, {"filter": like}) == expected, part
        others = {"op": "not", "args": [like]}
        assert find(client, {"filter": others}) == set(titles) - expected, part


@pytest.mark.parametrize("count", [1, 3, 12])  # the index serves fewer than 12 words
def test_words_find_the_same_as_python(
    client: Client, titles: dict[str, str], uuids: Uuids, count: int
) -> None:
    features = client.get(SEARCH, params={"limit": 100}).json()["features"]
    names = {uuid: name for name, uuid in uuids.items()}
    texts = {item["id"]: (titles[item["id"]], names[item["collection"]]) for item in features}
    rng = Random(count)
    for _ in range(8):
        words = rng.sample(parts_of_titles(titles), count)
        expected = {
            id
            for id, each in texts.items()
            if any(word.lower() in name.lower() for name in each for word in words)
        }
        assert find(client, {"q": words}) == expected, words


def test_the_view_has_the_same_titles(engine: Engine, titles: dict[str, str]) -> None:
    with engine.connect() as connection:
        items = connection.execute(text("SELECT id, title, properties ->> 'title' FROM stac_items"))
        assert {str(id): title for id, title, _ in items} == titles


SIZE = "rastersources:size"


def sizes_of(client: Client) -> dict[str, int]:
    """Return the sizes of all items by id."""
    features = client.get(SEARCH, params={"limit": 100}).json()["features"]
    return {item["id"]: item["properties"][SIZE] for item in features}


def test_a_filter_by_size_finds_the_same_as_python(
    engine: Engine, client: Client, titles: dict[str, str]
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE raster_files SET size = 9007199254740993 WHERE id % 5 = 1"))
        connection.execute(text("UPDATE raster_files SET size = 100 * (id % 4) WHERE id % 5 > 2"))
    sizes = sizes_of(client)
    tests = {
        "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "<>": operator.ne,
    }  # fmt: skip
    for limit in {-1, 0.5, 10**18, *sizes.values()}:
        for name, test in tests.items():
            comparison = {"op": name, "args": [{"property": SIZE}, limit]}
            expected = {id for id, size in sizes.items() if test(float(size), float(limit))}
            assert find(client, {"filter": comparison}) == expected, (name, limit)


@pytest.mark.parametrize("order", [SIZE, f"-{SIZE}"])
def test_items_are_ordered_by_size(client: Client, titles: dict[str, str], order: str) -> None:
    sizes = sizes_of(client)
    sign = -1 if order[0] == "-" else 1
    expected = sorted(sizes, key=lambda id: (sign * float(sizes[id]), int(id)))
    ids: list[str] = []
    path = f"{SEARCH}?limit=3&sortby={order}"
    while path:
        page = client.get(path).json()
        ids += [item["id"] for item in page["features"]]
        path = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    assert ids == expected


def explain(database_url: str, parameters: dict[str, Any], options: str, *without: str) -> str:
    """Return the plan of a search without these methods, which are quicker in a table this small."""
    search = parse_search(parameters, StatementForm("item", logged_in=False), strict=True)
    query = page_query(search.form)
    values = {"root": "", "api": "", "limit": 10, "offset": 0, **search.values}
    with psycopg.connect(database_url) as connection:
        for method in without:
            connection.execute(f"SET enable_{method} = off")
        cursor = psycopg.RawCursor(connection)
        cursor.execute(f"EXPLAIN ({options}) {query.text}", [values[name] for name in query.names])
        return "\n".join(line for (line,) in cursor)


@pytest.mark.parametrize(
    ("parameters", "index"),
    [
        ({"q": ["rain", "x"]}, "raster_files_name_trigram"),
        ({"filter": "title LIKE '%rain%'"}, "raster_files_name_trigram"),
        ({"filter": f'"{SIZE}" < 5'}, "raster_files_size"),
    ],
)
def test_an_index_serves_searches_for_names_and_sizes(
    database_url: str, uuids: Uuids, parameters: dict[str, Any], index: str
) -> None:
    plan = explain(
        database_url, parameters, "COSTS OFF", "seqscan", "indexscan", "indexonlyscan", "nestloop"
    )
    assert index in plan


def test_the_functions_that_write_an_item_are_inlined(database_url: str, uuids: Uuids) -> None:
    """PostgreSQL parses and plans a function that is not inlined in each statement."""
    called = set(re.findall(r"stac_\w+(?=\()", explain(database_url, {}, "VERBOSE")))
    # these are in subqueries, which few files need
    assert called == {"stac_many_bands", "stac_provenance", "stac_warnings"}
