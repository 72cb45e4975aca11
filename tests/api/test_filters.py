"""The parameters of lists: what each finds, what is no filter, what is refused; attacks find nothing."""

from typing import Any

import pytest
from httpx import Client

from tests.api.conftest import SOURCES, Add, As, names

pytestmark = pytest.mark.usefixtures("empty", "people")


def find(client: Client, **query: str) -> list[str]:
    return names(client.get(SOURCES, params=query))


BOXES = {
    "holland": {"west": 4.0, "south": 51.0, "east": 5.0, "north": 52.0},
    "fiji": {"west": 177.0, "south": -19.0, "east": -178.0, "north": -16.0},
    "world": {"west": -180.0, "south": -90.0, "east": 180.0, "north": 90.0},
}


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("4.5,51.5,4.6,51.6", ["holland", "world"]),
        ("5,52,6,53", ["holland", "world"]),
        ("5.0000001,52,6,53", ["world"]),
        ("178,-18,179,-17", ["fiji", "world"]),
        ("-179,-18,-178.5,-17", ["fiji", "world"]),
        ("-177.9,-18,-177,-17", ["world"]),
        ("175,-18,-175,-17", ["fiji", "world"]),
        ("170,-18,4.5,60", ["fiji", "holland", "world"]),
        ("180,-18,180,-17", ["fiji", "world"]),
        ("-180,-90,180,90", ["fiji", "holland", "world"]),
        ("-200,50,-170,53", ["world"]),
        ("-183,-18,-182,-17", ["fiji", "world"]),
        ("100,-10,110,10", ["world"]),
    ],
)
@pytest.mark.parametrize("parameter", ["in_bbox", "bbox"])
def test_a_box_finds_what_it_intersects(
    client: Client, add_source: Add, parameter: str, box: str, expected: list[str]
) -> None:
    for name, bounds in BOXES.items():
        add_source(name, **bounds)
    assert sorted(find(client, **{parameter: box})) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"point": "4.5,51.5"}, ["holland", "world"]),
        ({"point": "179.5,-17"}, ["fiji", "world"]),
        ({"point": "-180,-17"}, ["fiji", "world"]),
        ({"geometry": "POINT (4.5 51.5)"}, ["holland", "world"]),
        ({"geometry": '{"type": "LineString", "coordinates": [[3, 51.5], [6, 51.5]]}'}, ["holland", "world"]),
        ({"geometry": '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [-179, -17]}}'},
         ["fiji", "world"]),
        ({"geometry": "POLYGON ((0 0, 1 0, 1 1, 0 0))"}, ["world"]),
    ],
)  # fmt: skip
def test_a_point_or_geometry_finds_what_it_intersects(
    client: Client, add_source: Add, query: dict[str, str], expected: list[str]
) -> None:
    for name, bounds in BOXES.items():
        add_source(name, **bounds)
    assert sorted(find(client, **query)) == expected


BAD = {
    "in_bbox": ["1,2,3", "a,b,c,d", "1,2,3,nan", "1,2,3,inf", "0,91,1,92", "0,5,1,4", "1,2,3,4,5", "999,0,1000,1"],
    "point": ["4.5", "4.5,91", "x,y"],
    "geometry": ["nonsense", "{}", '{"type": "Point"}', "POINT EMPTY", "POINT (nan 1)", "[" * 5000,
                 "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"],
    "uuid": ["nonsense", "61f5a464c35044c19bc7d4b42d7f58cb"],
    "organisation__uuid": ["61f5", "x"],
    "organisation": ["1"],
    "layers__uuid": ["x"],
    "created": ["yesterday", "2024-13-01", "2024-02-30T00:00:00Z", "99999-01-01", "2024-01-01T25:00:00Z"],
    "created__range": ["2024-01-01", "2024-01-01,2024-01-02,2024-01-03"],
    "first_value_timestamp__isnull": ["maybe"],
    "access_modifier": ["Secret", "50"],
    "temporal": ["maybe"],
    "writable": ["2"],
    "scenario__isnull": ["none"],
    "name__isnull": ["x"],
    "name__regex": ["(", "[a", "*"],
    "name": ["a\x00b"],
    "ordering": ["nonsense", "name,--size"],
    "page": ["0", "-1", "x"],
    "page_size": ["-1", "x", "1.5"],
    "format": ["xml"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_known_parameter_with_a_bad_value_is_400(client: Client, name: str, value: str) -> None:
    answer = client.get(SOURCES, params={name: value})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["status", "code", "message", "detail"]


def test_each_regular_expression_that_is_none_is_named(client: Client) -> None:
    query = {"name__regex": "(", "supplier_code__iregex": "[a", "organisation__name__regex": "a+"}
    answer = client.get(SOURCES, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert list(answer.json()["detail"]) == ["name__regex", "supplier_code__iregex"]


@pytest.mark.parametrize("name", [*BAD, "unknown", "name__nonsense", "limit", "offset", "supplier"])
def test_an_empty_value_and_an_unknown_parameter_are_no_filter(
    client: Client, add_source: Add, name: str
) -> None:
    add_source("a")
    assert find(client, **{name: ""}) == ["a"]
    assert find(client, unknown="x") == ["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01T01:00:00Z", ["a"]),
        ("2024-01-01T02:00:00+01:00", ["a"]),
        ("2024-01-01T02:00:00+0100", ["a"]),
        ("2024-01-01T01:00:00", ["a"]),
        ("2024-01-01T01:00:00.000000Z", ["a"]),
        ("2024-01-02", ["b"]),
    ],
)
def test_times_are_read_in_every_form_of_iso_8601(
    client: Client, add_source: Add, text: str, expected: list[str]
) -> None:
    for name, moment in (("a", "2024-01-01T01:00:00Z"), ("b", "2024-01-02T00:00:00Z")):
        add_source(name, first_value_timestamp=moment, last_value_timestamp=moment)
    assert find(client, first_value_timestamp=text) == expected
    # a + that nobody escaped arrives as a space
    answer = client.get(f"{SOURCES}?first_value_timestamp={text}")
    assert names(answer) == expected


def test_filters_of_related_objects_find_their_rows(
    client: Client, as_: As, add_source: Add, add_user: Any
) -> None:
    add_source(
        "a",
        organisation="Other",
        supplier_id=add_user("remo"),
        supplier_code="c",
        access_modifier=100,
    )
    add_source("b")
    user = as_("admin")
    organisation = user.get(SOURCES, params={"name": "a"}).json()["results"][0]["organisation"]
    for query in (
        {"organisation__name": "Other"}, {"organisation__name__istartswith": "oth"}, {"supplier": "remo"},
        {"organisation__uuid": organisation["uuid"]}, {"organisation": organisation["uuid"].replace("-", "")},
        {"supplier__icontains": "REM"}, {"supplier__isnull": "false"}, {"supplier_code": "c"},
        {"access_modifier": "Common"}, {"access_modifier": "100"}, {"writable": "false"},
    ):  # fmt: skip
        assert find(user, **query) == ["a"], query
    for query in ({"supplier__isnull": "true"}, {"supplier_code__isnull": "1"}, {"access_modifier": "0"},
                  {"writable": "true"}):  # fmt: skip
        assert find(user, **query) == ["b"], query


ATTACKS = (
    "'; DROP TABLE raster_sources; --", "1 OR 1=1", '" OR ""="', "%' OR '1'='1", "$$; SELECT pg_sleep(9); $$",
    "../../etc/passwd", "%2e%2e%2f", "\\'; --", "{{7*7}}", "${jndi:ldap://x}", "\r\nX-Injected: 1",
    "a" * 20_000, "\ud7ff\U0010ffff", "%s %(x)s :x", "\u202e",
)  # fmt: skip
PARAMETERS = (
    "name", "name__icontains", "name__regex", "uuid", "organisation__name", "created", "ordering", "in_bbox", "point",
    "geometry", "page", "page_size", "limit", "offset", "format", "access_modifier", "supplier", "writable",
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_in_parameters_paths_and_headers_are_refused_or_find_nothing(
    client: Client, add_source: Add, attack: str
) -> None:
    add_source("a")
    for parameter in PARAMETERS:
        answer = client.get(SOURCES, params={parameter: attack})
        assert answer.status_code in (200, 400), (parameter, answer.text)
        if answer.status_code == 200:
            assert answer.json()["count"] == 0, parameter
        assert "syntax" not in answer.text or parameter == "name__regex"
    safe = attack.encode("ascii", "ignore").replace(b"\r\n", b"").decode().strip() or "x"
    for headers in ({"username": safe, "password": safe}, {"Authorization": f"Basic {safe}"}, {"Host": safe or "x"},
                    {"Accept": safe}):  # fmt: skip
        assert client.get(SOURCES, headers=headers).status_code in (200, 400, 401)
    assert client.get(f"{SOURCES}{attack.encode().hex()}/").status_code == 404
    assert find(client) == ["a"]


def test_a_host_that_is_none_gets_into_no_hyperlink(client: Client, add_source: Add) -> None:
    add_source("a")
    for host in ('x"><script>', "a b", "x/../y", "evil.example#", "user@evil.example"):
        answer = client.get(SOURCES, headers={"Host": host})
        if answer.status_code == 200:
            assert host not in answer.json()["results"][0]["url"]
