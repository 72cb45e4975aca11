"""Existing clients work unchanged."""

from typing import Any

import pytest
from httpx import Client

from tests.api.conftest import Add

pytestmark = pytest.mark.usefixtures("empty", "people")


@pytest.fixture
def connector(client: Client, people: dict[str, str]) -> Any:
    """Return lizard-connector, which accepts http only with `localhost` in the URL."""
    lizard = pytest.importorskip("lizard_connector")
    address = f"http://localhost:{client.base_url.port}"
    return lizard.Client(
        base=address, username="__key__", password=people["admin"], version="4", parser="json"
    )


def test_lizard_connector_finds_the_lists(connector: Any) -> None:
    assert {"rastersources", "rasters", "organisations"} <= set(connector.endpoints)


@pytest.mark.parametrize("srid", [None, "SRID=4326", "EPSG:4326"])
def test_lizard_connector_finds_by_box(connector: Any, add_source: Add, srid: str | None) -> None:
    lizard = pytest.importorskip("lizard_connector")
    add_source("holland")
    add_source("fiji", west=177.0, south=-19.0, east=-178.0, north=-16.0)
    box = lizard.queries.in_bbox((51.5, 4.5), (51.6, 4.6), srid=srid)  # latitude first
    assert [row["name"] for row in connector.rastersources.get(**box)] == ["holland"]


def test_lizard_connector_lists_pages_details_and_creates(
    connector: Any, add_source: Add, owner: str
) -> None:
    for number in range(7):
        add_source(f"s{number}")
    assert [row["name"] for row in connector.rastersources.get(name__startswith="s")] == [
        f"s{n}" for n in range(7)
    ]
    pages = connector.rastersources.get_paginated(page_size=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert len(pages) == 7
    source = connector.rastersources.create(name="made", organisation=owner, access_modifier=100)
    assert (source["name"], source["access_modifier"]) == ("made", "Common")
    detail = connector.rastersources.detail(source["uuid"]).get()
    assert detail["name"] == "made"
