"""Formats that published clients read: tasks, wms_info, contracts, scenarios, and orders of rasters."""

import json
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine

from tests.api.conftest import SOURCES, Add, As, address_of, names
from tests.support.database import execute

pytestmark = pytest.mark.usefixtures("empty", "people")
RASTERS, SCENARIOS = "/api/v4/rasters/", "/api/v4/scenarios/"
UUID = "7a9ed96e-3a44-4501-ad41-a440f59df105"
EMPTY = {"endpoint": "", "layer": ""}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({}, EMPTY),
        ({"wms_info": None}, EMPTY),
        ({"wms_info": []}, EMPTY),
        ({"wms_info": "text"}, EMPTY),
        ({"wms_info": {"endpoint": None, "layer": 3}}, EMPTY),
        ({"wms_info": {"endpoint": "https://x/wms"}}, {"endpoint": "https://x/wms", "layer": ""}),
        (
            {"wms_info": {"endpoint": "https://x/wms", "layer": "a:b", "more": 1}},
            {"endpoint": "https://x/wms", "layer": "a:b", "more": 1},
        ),
    ],
)
def test_wms_info_is_an_object_with_two_texts_whatever_is_stored(
    as_: As, owner: str, written: dict[str, Any], shown: dict[str, Any]
) -> None:
    admin = as_("admin")
    added = admin.post(RASTERS, json={"name": "l", "organisation": owner, **written})
    assert (added.status_code, added.json()["wms_info"]) == (201, shown)
    layer = admin.get(added.json()["url"]).json()
    assert layer["wms_info"] == shown
    assert admin.put(layer["url"], json=layer).json() == layer
    assert admin.get(RASTERS).json()["results"][0]["wms_info"] == shown


@pytest.mark.parametrize("query", ["", "?format=json"])
def test_the_result_of_a_task_can_be_fetched(
    client: Client, engine: Engine, add_source: Add, query: str
) -> None:
    source = add_source("a")
    execute(
        engine,
        "INSERT INTO tasks (uuid, status, result, detail) VALUES (:uuid, 'SUCCESS', :result, 'Files replaced: 2.') "
        "ON CONFLICT (uuid) DO UPDATE SET result = excluded.result",
        uuid=UUID, result=f"rastersources/{source.uuid}",
    )  # fmt: skip
    task = client.get(f"/api/v4/tasks/{UUID}/{query}").json()
    assert task["result"] == f"{address_of(client)}{SOURCES}{source.uuid}/{query}"
    assert client.get(task["result"]).json()["uuid"] == str(source.uuid)
    assert task["detail"] == "Files replaced: 2."


def test_only_organisations_with_a_quota_have_a_contract(
    as_: As, client: Client, engine: Engine, owner: str
) -> None:
    url = "/api/v4/contracts/"
    execute(engine, "UPDATE organisations SET raster_storage_capacity = NULL")
    assert as_("user").get(url).json()["count"] == 0
    try:
        for capacity in (0, 1000):
            execute(engine, "UPDATE organisations SET raster_storage_capacity = :n", n=capacity)
            (contract,) = as_("user").get(url).json()["results"]
            assert contract["organisation"]["uuid"] == owner
            assert contract["raster_storage_capacity"] == capacity
            assert as_("stranger").get(url).json()["count"] == client.get(url).json()["count"] == 0
    finally:
        execute(engine, "UPDATE organisations SET raster_storage_capacity = NULL")


def add(as_: As, path: str, owner: str, **fields: Any) -> dict[str, Any]:
    """Add a row to a list, and return it."""
    answer = as_("admin").post(
        path, json={"organisation": owner, "access_modifier": "Public", **fields}
    )
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


def names_in_order(client: Client, path: str, order: str) -> list[str]:
    return names(client.get(path, params={"ordering": order}))


def test_rasters_are_ordered_by_supplier_temporal_and_name_of_the_organisation(
    as_: As, client: Client, owner: str, add_organisation: Any, engine: Engine
) -> None:
    add(as_, RASTERS, owner, name="a", supplier="supplier", temporal=False)
    add(as_, RASTERS, owner, name="b", supplier=None, temporal=True)
    add(as_, RASTERS, owner, name="c", supplier="admin", temporal=False)
    assert names_in_order(client, RASTERS, "supplier") == ["c", "a", "b"]
    assert names_in_order(client, RASTERS, "-supplier") == ["a", "c", "b"]
    assert names_in_order(client, RASTERS, "temporal") == ["a", "c", "b"]
    assert names_in_order(client, RASTERS, "-temporal,-supplier") == ["b", "a", "c"]
    organisation_id = add_organisation("Another")
    execute(engine, "UPDATE layers SET organisation_id = :id WHERE name = 'b'", id=organisation_id)
    assert names_in_order(client, RASTERS, "organisation__name") == ["b", "a", "c"]
    assert names_in_order(client, RASTERS, "-organisation__name") == ["a", "c", "b"]


def test_rasters_are_ordered_by_temporal_as_the_caller_sees_it(
    as_: As, client: Client, owner: str, add_source: Add
) -> None:
    for name, access in (("hidden", 300), ("shown", 0), ("static", 0)):
        source = add_source(name, access_modifier=access, temporal=name != "static").uuid
        block = ["lizard_nxt.blocks.LizardRasterSource", str(source)]
        add(as_, RASTERS, owner, name=name, source={"graph": {"r": block}, "name": "r"})
    assert names_in_order(client, RASTERS, "-temporal") == ["shown", "hidden", "static"]
    assert names_in_order(as_("admin"), RASTERS, "-temporal") == ["hidden", "shown", "static"]
    shown = as_("admin").get(RASTERS, params={"ordering": "temporal"}).json()["results"]
    assert [row["temporal"] for row in shown] == [False, True, True]


@pytest.fixture
def three_scenarios(empty: None, as_: As, owner: str) -> None:
    """Add scenarios with different values, and one without values."""
    add(as_, SCENARIOS, owner, name="a", model_name="Rotterdam", total_size=10, supplier="supplier")
    add(as_, SCENARIOS, owner, name="b")
    add(
        as_,
        SCENARIOS,
        owner,
        name="c",
        model_name="amsterdam",
        total_size="2000000000000",
        supplier="admin",
    )


@pytest.mark.usefixtures("three_scenarios")
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("total_size", "acb"), ("-total_size", "cab"), ("supplier", "cab"), ("-supplier", "acb"),
    ],
)  # fmt: skip
def test_scenarios_are_ordered_by_their_fields(client: Client, order: str, expected: str) -> None:
    assert names_in_order(client, SCENARIOS, order) == list(expected)


@pytest.mark.usefixtures("three_scenarios")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("model_name=Rotterdam", "a"), ("model_name__icontains=AMSTER", "c"), ("model_name__isnull=true", "b"),
        ("supplier=admin", "c"), ("supplier__isnull=true", "b"), ("total_size=10", "a"), ("total_size__gt=10", "c"),
        ("total_size__lte=10", "a"), ("total_size__gte=10", "ac"), ("total_size__lt=999999999999999999", "ac"),
        ("total_size__isnull=true", "b"), ("total_size=", "abc"), ("total_size__exact=2000000000000", "c"),
    ],
)  # fmt: skip
def test_scenarios_are_filtered_by_their_fields(client: Client, query: str, expected: str) -> None:
    assert names(client.get(f"{SCENARIOS}?{query}")) == list(expected)


@pytest.mark.usefixtures("three_scenarios")
def test_a_scenario_without_a_size_shows_null_and_usage_ignores_it(as_: As, owner: str) -> None:
    shown = as_("admin").get(SCENARIOS).json()["results"]
    fields = [(row["model_name"], row["supplier"], row["total_size"]) for row in shown]
    assert fields == [
        ("Rotterdam", "supplier", 10),
        (None, None, None),
        ("amsterdam", "admin", 2 * 10**12),
    ]
    usage = as_("admin").get(f"/api/v4/organisations/{owner}/usage/").json()
    assert usage["scenario_total_size"] == 2 * 10**12 + 10
    for row in shown:
        assert as_("admin").put(row["url"], json=row).json() == row


@pytest.mark.parametrize("value", [-1, 1.5, True, "x", "1" * 16, [], 2**53 + 1, 1e300])
def test_an_invalid_size_is_rejected(as_: As, owner: str, value: object) -> None:
    body = {"name": "n", "organisation": owner, "total_size": value}
    answer = as_("admin").post(SCENARIOS, content=json.dumps(body))
    assert (answer.status_code, list(answer.json()["detail"])) == (400, ["total_size"])


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1" * 19, "\u0661"])
def test_a_filter_by_an_invalid_size_is_rejected(client: Client, value: str) -> None:
    answer = client.get(SCENARIOS, params={"total_size__gt": value})
    assert (answer.status_code, list(answer.json()["detail"])) == (400, ["total_size__gt"])
