"""Layers, label types and scenarios: their raster sources, their fields, and deletions."""

from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.catalogue.layers import add_layer
from tests.api.conftest import SOURCES, Add, As, address_of, names

RASTERS, LABELS, SCENARIOS = "/api/v4/rasters/", "/api/v4/labeltypes/", "/api/v4/scenarios/"
BLOCK = "lizard_nxt.blocks.LizardRasterSource"

pytestmark = pytest.mark.usefixtures("empty", "people")


def graph(*uuids: object) -> dict[str, Any]:
    """Return a graph that adds raster sources, the last of them deeply nested."""
    blocks: dict[str, Any] = {f"r{number}": [BLOCK, str(uuid)] for number, uuid in enumerate(uuids)}
    if len(blocks) == 1:
        return {"graph": {"r0": blocks["r0"]}, "name": "r0"}
    last = blocks.popitem()[1]
    blocks["sum"] = ["dask_geomodeling.raster.elemwise.Add", "r0", {"deep": [last]}]
    return {"graph": blocks, "name": "sum"}


def test_a_layer_shows_the_times_and_bounds_of_its_source(
    as_: As, add_source: Add, owner: str
) -> None:
    row = add_source("a", interval="5 minutes", temporal=True)
    body = {"name": "l", "organisation": owner, "source": graph(row.uuid), "access_modifier": "Public",
            "observation_type": "WNS1400"}  # fmt: skip
    answer = as_("admin").post(RASTERS, json=body)
    layer = answer.json()
    assert answer.status_code == 201
    source = as_("admin").get(f"{SOURCES}{row.uuid}/").json()
    shared = ("temporal", "interval", "first_value_timestamp", "last_value_timestamp", "spatial_bounds", "projection",
            "origin_x", "upper_bound_y", "pixelsize_x", "dtype", "fill_value")  # fmt: skip
    assert {name: layer[name] for name in shared} == {name: source[name] for name in shared}
    assert layer["raster_sources"] == [source["url"]]
    assert source["layers"] == [layer["url"]]
    assert layer["source"] == graph(row.uuid)
    assert layer["observation_type"]["code"] == "WNS1400"
    assert layer["is_geoblock"] is False


def test_a_nested_graph_unites_its_sources(as_: As, add_source: Add, owner: str) -> None:
    west, east = (
        add_source("w", west=170.0, east=180.0),
        add_source("e", west=-180.0, east=-170.0, dtype="u1"),
    )
    body = {"name": "l", "organisation": owner, "source": graph(west.uuid, east.uuid)}
    layer = as_("admin").post(RASTERS, json=body).json()
    assert sorted(layer["raster_sources"]) == sorted(
        f"{address_of(as_('admin'))}{SOURCES}{row.uuid}/" for row in (west, east)
    )
    assert layer["spatial_bounds"] == {"west": 170.0, "east": -170.0, "north": 52.0, "south": 51.0}
    assert (layer["projection"], layer["dtype"], layer["is_geoblock"]) == ("EPSG:28992", None, True)


def test_a_layer_shows_only_values_that_all_its_sources_share(
    as_: As, add_source: Add, owner: str, engine: Engine
) -> None:
    first = add_source("a", interval="5 minutes", temporal=True)
    without = add_source("b", interval=None, projection=None, fill_value=None, temporal=True)
    with engine.begin() as connection:
        empty = connection.execute(
            text("INSERT INTO raster_sources (name, organisation_id) VALUES ('empty', :id) RETURNING uuid"),
            {"id": first.organisation_id},
        ).scalar_one()  # fmt: skip

    def read_layer(*uuids: object) -> tuple[Any, ...]:
        body = {"name": "l", "organisation": owner, "source": graph(*uuids)}
        layer = as_("admin").post(RASTERS, json=body).json()
        return tuple(
            layer[name] for name in ("interval", "projection", "fill_value", "dtype", "origin_x")
        )

    alone = read_layer(first.uuid)
    assert read_layer(first.uuid, empty) == alone
    interval = read_layer(without.uuid)[0]
    assert read_layer(first.uuid, without.uuid) == (interval, None, None, *alone[3:])


def test_a_layer_hides_unreadable_sources(
    as_: As, client: Client, add_source: Add, owner: str
) -> None:
    row = add_source("a", access_modifier=200)
    body = {
        "name": "l",
        "organisation": owner,
        "source": graph(row.uuid),
        "access_modifier": "Public",
    }
    url = as_("admin").post(RASTERS, json=body).json()["url"]
    assert as_("user").get(url).json()["spatial_bounds"] is not None
    assert client.get(url).json()["spatial_bounds"] is None
    assert client.get(url).json()["first_value_timestamp"] is None
    assert names(client.get(RASTERS, params={"in_bbox": "4,51,5,52"})) == []
    assert names(client.get(RASTERS, params={"first_value_timestamp__isnull": "false"})) == []
    assert names(as_("user").get(RASTERS, params={"in_bbox": "4,51,5,52"})) == ["l"]


@pytest.mark.parametrize("written", ["WNS1400", 7, {"code": "x", "unit": "m"}])
def test_an_observation_type_is_written_in_three_forms(as_: As, owner: str, written: Any) -> None:
    body = {"name": "l", "organisation": owner, "observation_type": written}
    assert isinstance(as_("admin").post(RASTERS, json=body).json()["observation_type"], dict)


@pytest.mark.parametrize("written", [True, 1.5, 2**60, [], ["WNS1400"]])
def test_an_invalid_observation_type_is_400(as_: As, owner: str, written: Any) -> None:
    body = {"name": "l", "organisation": owner, "observation_type": written}
    answer = as_("admin").post(RASTERS, json=body)
    assert (answer.status_code, list(answer.json()["detail"])) == (400, ["observation_type"])


@pytest.mark.parametrize(
    "form", ["{}", "http://h/api/v4/rastersources/{}/", "/x/{}", "{}/?format=json"]
)
def test_the_sources_of_a_scenario_are_written_as_uuids_or_hyperlinks(
    as_: As, add_source: Add, owner: str, form: str
) -> None:
    row = add_source("a")
    body = {"name": "s", "organisation": owner, "raster_sources": [form.format(row.uuid)]}
    scenario = as_("admin").post(SCENARIOS, json=body).json()
    assert scenario["raster_sources"] == [f"{address_of(as_('admin'))}{SOURCES}{row.uuid}/"]


@pytest.mark.parametrize("written", ["x", ["x"], [1], [f"x{'0' * 32}"], ["0" * 32]])
def test_a_scenario_can_name_only_existing_sources(as_: As, owner: str, written: Any) -> None:
    body = {"name": "s", "organisation": owner, "raster_sources": written}
    answer = as_("admin").post(SCENARIOS, json=body)
    assert (answer.status_code, list(answer.json()["detail"])) == (400, ["raster_sources"])


INVALID_GRAPHS: tuple[Any, ...] = (
    "x",
    [],
    {"graph": {}},
    {"graph": {"a": 1}, "name": {}},
    {"graph": {"a": 1}, "name": "b"},
    {"graph": {"a": [BLOCK, "0" * 32]}, "name": "a"},
)


@pytest.mark.parametrize("source", INVALID_GRAPHS)
def test_an_invalid_graph_or_missing_source_is_400(as_: As, owner: str, source: Any) -> None:
    answer = as_("admin").post(RASTERS, json={"name": "l", "organisation": owner, "source": source})
    assert (answer.status_code, list(answer.json()["detail"])) == (400, ["source"])


@pytest.mark.parametrize(("path", "field"), [(RASTERS, "layers"), (LABELS, "labeltypes")])
def test_a_source_in_use_is_deleted_by_force_only(
    as_: As, add_source: Add, owner: str, path: str, field: str
) -> None:
    admin = as_("admin")
    row = add_source("a")
    body = {"name": "l", "organisation": owner, "source": graph(row.uuid)}
    dependent = admin.post(path, json=body).json()
    source = admin.get(f"{SOURCES}{row.uuid}/").json()
    assert source[field] == [dependent["url"]]
    refused = admin.delete(source["url"])
    assert (refused.status_code, refused.json()["message"][-7:]) == (412, "#412.10")
    assert admin.request("DELETE", source["url"], json={"force": True}).status_code == 204
    broken = admin.get(dependent["url"]).json()
    assert broken["source"]["deleted_sources"] == [str(row.uuid)]
    assert admin.put(dependent["url"], json=broken).status_code == 200
    assert admin.delete(dependent["url"]).status_code == 204


def test_scenario_isnull_considers_readable_scenarios_only(
    as_: As, client: Client, add_source: Add, owner: str
) -> None:
    row, _ = add_source("used"), add_source("unused")
    body = {"name": "s", "organisation": owner, "raster_sources": [str(row.uuid)]}
    scenario = as_("admin").post(SCENARIOS, json=body).json()
    assert scenario["raster_sources"] == [f"{address_of(client)}{SOURCES}{row.uuid}/"]
    used = {"scenario__isnull": "false"}
    assert names(as_("user").get(SOURCES, params=used)) == ["used"]
    assert names(as_("user").get(SOURCES, params={"scenario__isnull": "true"})) == ["unused"]
    assert names(client.get(SOURCES, params=used)) == []
    as_("admin").patch(scenario["url"], json={"access_modifier": "Public"})
    assert names(client.get(SOURCES, params=used)) == ["used"]
    sent_back = as_("admin").put(scenario["url"], json=as_("admin").get(scenario["url"]).json())
    assert sent_back.json()["raster_sources"] == scenario["raster_sources"]


def test_writing_a_scenario_keeps_its_unreadable_sources(
    as_: As, client: Client, add_source: Add, owner: str
) -> None:
    admin, supplier = as_("admin"), as_("supplier")
    shown, hidden = add_source("shown").uuid, add_source("hidden", access_modifier=300).uuid
    link = {uuid: f"{address_of(client)}{SOURCES}{uuid}/" for uuid in (shown, hidden)}
    body = {"name": "s", "organisation": owner, "supplier": "supplier", "access_modifier": "Public"}
    both = sorted([str(shown), str(hidden)])
    scenario = admin.post(SCENARIOS, json={**body, "raster_sources": both}).json()
    url = scenario["url"]

    def read_sources(client: Client) -> list[str]:
        sources: list[str] = client.get(url).json()["raster_sources"]
        return sources

    assert read_sources(admin) == sorted(link.values())
    assert read_sources(supplier) == read_sources(client) == [link[shown]]
    for caller, count in ((client, 0), (supplier, 0), (admin, 1)):
        answer = caller.get(SCENARIOS, params={"raster_sources__uuid": str(hidden)})
        assert answer.json()["count"] == count
        assert names(caller.get(SCENARIOS, params={"raster_sources__uuid": shown.hex})) == ["s"]
    before = supplier.get(url).json()
    for written in (before, {"raster_sources": [str(shown)]}):
        assert supplier.patch(url, json=written).json() == before
    assert supplier.patch(url, json={"raster_sources": []}).json()["raster_sources"] == []
    assert read_sources(admin) == [link[hidden]]
    refused = supplier.patch(url, json={"raster_sources": [str(hidden)]})
    assert refused.json()["detail"] == {"raster_sources": [f"There is no raster source {hidden}."]}
    assert admin.patch(url, json={"raster_sources": []}).json()["raster_sources"] == []


def test_a_scenario_with_a_deleted_source_can_be_sent_back(
    as_: As, add_source: Add, owner: str
) -> None:
    admin, source = as_("admin"), add_source("a").uuid
    body = {"name": "s", "organisation": owner, "raster_sources": [str(source)]}
    scenario = admin.post(SCENARIOS, json=body).json()
    assert admin.delete(f"{SOURCES}{source}/").status_code == 204
    answer = admin.put(scenario["url"], json=scenario)
    assert (answer.status_code, answer.json()["raster_sources"]) == (200, [])


def test_layers_are_found_by_their_sources_and_sources_by_their_layers(
    as_: As, client: Client, engine: Engine, add_source: Add
) -> None:
    row, _ = add_source("a"), add_source("b")
    layer = add_layer(engine, "l", row.uuid)
    assert names(client.get(SOURCES, params={"layers__uuid": str(layer)})) == ["a"]
    assert names(client.get(RASTERS, params={"raster_sources__uuid": row.uuid.hex})) == ["l"]
    assert client.get(f"{RASTERS}{layer}/").json()["source"] == {
        "graph": {"raster": [BLOCK, str(row.uuid)]},
        "name": "raster",
    }


def test_a_layer_that_is_sent_back_still_follows_its_sources(
    as_: As, add_source: Add, owner: str
) -> None:
    admin, source = as_("admin"), add_source("a", temporal=False).uuid
    layer = admin.post(
        RASTERS, json={"name": "l", "organisation": owner, "source": graph(source)}
    ).json()
    for call in (admin.put, admin.patch):
        assert call(layer["url"], json=layer).json() == layer
    admin.patch(f"{SOURCES}{source}/", json={"temporal": True})
    assert admin.get(layer["url"]).json()["temporal"] is True
    assert admin.patch(layer["url"], json={"temporal": False}).json()["temporal"] is False
    assert admin.patch(layer["url"], json={"temporal": None}).json()["temporal"] is True


ALL_FIELDS: dict[str, dict[str, Any]] = {
    SOURCES: {"temporal": True, "interval": "PT5M", "description": "", "supplier_code": "x"},
    RASTERS: {"observation_type": "WNS1400", "options": {"styles": [1, 1.0, True]}, "temporal": True,
              "weight": 1, "colormap": {"a": None}, "wms_info": [], "shared_with": [{"uuid": "x"}]},
    LABELS: {"object_type": "buildings", "description": None},
    SCENARIOS: {"supplier": "user", "access_modifier": 100, "model_name": "3Di", "total_size": 10},
}  # fmt: skip


@pytest.mark.parametrize("path", ALL_FIELDS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("source", [False, True])
def test_sending_an_object_back_changes_nothing(
    as_: As, add_source: Add, owner: str, path: str, full: bool, source: bool
) -> None:
    admin, body = as_("admin"), {"name": "n", "organisation": owner}
    uuids = [str(add_source(name).uuid) for name in "ab"]
    used = {SOURCES: {}, SCENARIOS: {"raster_sources": uuids}}
    added = admin.post(
        path,
        json=body
        | (ALL_FIELDS[path] if full else {})
        | (used.get(path, {"source": graph(*uuids)}) if source else {}),
    ).json()
    for query in ({}, {"format": "json"}):
        before = admin.get(added["url"], params=query).json()
        for call in (admin.put, admin.patch):
            assert call(added["url"], json=before, params=query).json() == before
    assert admin.get(added["url"]).json() == added


def test_a_value_that_differs_only_in_type_is_written(as_: As, owner: str) -> None:
    body = {"name": "l", "organisation": owner, "options": {"a": 1}}
    url = as_("admin").post(RASTERS, json=body).json()["url"]
    changed = as_("admin").patch(url, json={"options": {"a": True}}).json()
    assert changed["options"]["a"] is True


def test_last_modified_of_a_scenario_moves_only_with_its_sources(
    as_: As, add_source: Add, owner: str
) -> None:
    admin = as_("admin")
    first, second = (str(add_source(name).uuid) for name in "ab")
    scenario = admin.post(SCENARIOS, json={"name": "s", "organisation": owner}).json()
    assert scenario["last_modified"] == scenario["created"]
    url, last = scenario["url"], scenario["last_modified"]
    for written, moves in (
        ([], False),
        ([first], True),
        ([first.upper(), first], False),
        ([f"{address_of(admin)}{SOURCES}{first}/"], False),
        ([second, first], True),
        ([first, second], False),
        ([second], True),
        ([], True),
    ):
        scenario = admin.patch(url, json={"raster_sources": written}).json()
        assert (scenario["last_modified"] > last) == moves, written
        assert len(scenario["raster_sources"]) == len({uuid.lower() for uuid in written})
        last = scenario["last_modified"]
    scenario = admin.post(
        SCENARIOS, json={"name": "s", "organisation": owner, "raster_sources": [first]}
    ).json()
    assert scenario["last_modified"] == scenario["created"]


@pytest.mark.parametrize("path", [RASTERS, LABELS])
def test_last_modified_moves_when_a_graph_changes(
    as_: As, add_source: Add, owner: str, path: str
) -> None:
    admin = as_("admin")
    first, second = (add_source(name).uuid for name in "ab")
    added = admin.post(path, json={"name": "n", "organisation": owner}).json()
    last = added["last_modified"]
    for written, moves in ((graph(first), True), (graph(first), False), (graph(first, second), True),
                           (None, True), (None, False)):  # fmt: skip
        changed = admin.patch(added["url"], json={"source": written}).json()
        assert (changed["last_modified"] > last) == moves, written
        last = changed["last_modified"]
