"""The parameters of lists: what they find, ignore and reject. Attacks find nothing."""

from typing import Any
from urllib.parse import quote

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
        ({"geometry": "POLYGON ((170 -18, 190 -18, 190 -17, 170 -18))"}, ["fiji", "world"]),
        ({"geometry": "LINESTRING (-183 -18, -182 -17)"}, ["fiji", "world"]),
        ({"geometry": "LINESTRING (-500 51, 364.5 51.5)"}, ["holland", "world"]),
        ({"in_bbox": "POLYGON ((364 51, 365 51, 365 52, 364 51))"}, ["holland", "world"]),
        ({"geometry": "GEOMETRYCOLLECTION (" * 28 + "POINT (4.5 51.5)" + ")" * 28}, ["holland", "world"]),
        ({"geometry": '{"type": "GeometryCollection", "geometries": [' * 14
          + '{"type": "Point", "coordinates": [4.5, 51.5]}' + "]}" * 14}, ["holland", "world"]),
    ],
)  # fmt: skip
def test_a_point_or_geometry_finds_what_it_intersects(
    client: Client, add_source: Add, query: dict[str, str], expected: list[str]
) -> None:
    for name, bounds in BOXES.items():
        add_source(name, **bounds)
    assert sorted(find(client, **query)) == expected


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((180, 0), ["east", "west"]), ((-180, 0), ["east", "west"]), ((181, 0), ["west"]), ((-181, 0), ["east"]),
        ((540, 0), ["east", "west"]), ((-540, 0), ["east", "west"]), ((180.3, 0), ["exact", "west"]),
        ((364, 0), []), ((179.25, 0.5), ["east"]), ((180.1, -90), []), ((541, 0), 400), ((500, 95), 400),
        ((1e300, 1e300), 400), ((0, -90.5), 400),
    ],
)  # fmt: skip
def test_a_point_a_box_and_a_geometry_agree_at_the_edge_of_the_map(
    client: Client, add_source: Add, point: tuple[float, float], expected: list[str] | int
) -> None:
    for name, west, east in (
        ("east", 179, 180),
        ("west", -180, -179),
        ("exact", -179.9, -179.7),
    ):
        add_source(name, west=west, south=-1, east=east, north=1)
    x, y = point
    for parameter, value in (
        ("point", f"{x},{y}"),
        ("in_bbox", f"{x},{y},{x},{y}"),
        ("geometry", f"POINT ({x} {y})"),
        ("geometry", f'{{"type": "Point", "coordinates": [{x}, {y}]}}'),
    ):
        answer = client.get(SOURCES, params={parameter: value})
        outcome = sorted(names(answer)) if answer.status_code == 200 else answer.status_code
        assert outcome == expected, (parameter, value)


@pytest.mark.parametrize("depth", [33, 200, 400, 2000, 3000])
def test_a_deeply_nested_geometry_is_400(client: Client, depth: int) -> None:
    for opening, inside, closing in (
        ("GEOMETRYCOLLECTION(", "POINT(1 1)", ")"), ("(", "", ")"), ("GEOMETRYCOLLECTION(", "", ""),
        ('{"type":"GeometryCollection","geometries":[', '{"type":"Point","coordinates":[1,1]}', "]}"),
        ("[", "1", "]"), ('{"a":', "1", "}"),
    ):  # fmt: skip
        value = opening * depth + inside + closing * depth
        if opening == "[":
            value = (
                f'{{"type": "Feature", "geometry": {{"type": "Polygon", "coordinates": {value}}}}}'
            )
        if len(quote(value)) < 60_000:
            answer = client.get(SOURCES, params={"geometry": value})
            assert (answer.status_code, list(answer.json()["detail"])) == (400, ["geometry"])


def test_deep_properties_of_a_feature_are_ignored(client: Client, add_source: Add) -> None:
    add_source("a")
    deep = "[" * 100 + "]" * 100
    point = '{"type": "Point", "coordinates": [4.5, 51.5]}'
    feature = (
        f'{{"type": "Feature", "properties": {{"a": {deep}, "b": "(((("}}, "geometry": {point}}}'
    )
    assert find(client, geometry=feature) == ["a"]


FLAT = {
    "POINT": "(4.5 51.5)", "POINT Z": "(4.5 51.5 9)", "POINT M": "(4.5 51.5 9)", "POINT ZM": "(4.5 51.5 9 9)",
    "LINESTRING": "(4.5 51.5, 5 52)", "LINEARRING": "(4 51, 5 51, 5 52, 4 51)",
    "POLYGON": "((4 51, 5 51, 5 52, 4 51))", "MULTIPOINT": "(4.5 51.5, 5 52)",
    "MULTILINESTRING": "((4.5 51.5, 5 52))", "MULTIPOLYGON": "(((4 51, 5 51, 5 52, 4 51)))",
    "GEOMETRYCOLLECTION": "(POINT (4.5 51.5), LINESTRING (4.5 51.5, 5 52))",
}  # fmt: skip
CURVED = {
    "CIRCULARSTRING": "(0 0, 1 1, 2 0)", "COMPOUNDCURVE": "((0 0, 1 1), CIRCULARSTRING (1 1, 2 2, 3 1))",
    "CURVEPOLYGON": "(CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0))", "MULTICURVE": "((0 0, 1 1))",
    "MULTISURFACE": "(((0 0, 1 0, 1 1, 0 0)))", "POLYHEDRALSURFACE": "(((0 0, 1 0, 1 1, 0 0)))",
    "TIN": "(((0 0, 1 0, 1 1, 0 0)))", "TRIANGLE": "((0 0, 1 0, 1 1, 0 0))", "CURVE": "(0 0, 1 1)",
    "SURFACE": "((0 0, 1 0, 1 1, 0 0))", "CIRCLE": "(0 0, 1 1, 2 0)", "GEODESICSTRING": "(0 0, 1 1)",
    "ELLIPTICALCURVE": "(0 0, 1 1)", "NURBSCURVE": "(0 0, 1 1)", "CLOTHOID": "(0 0, 1 1)", "SPIRALCURVE": "(0 0, 1 1)",
    "BREPSOLID": "(((0 0, 1 0, 1 1, 0 0)))", "GEOMETRY": "(0 0)",
}  # fmt: skip
"""The geometry types of ISO 13249-3 beyond simple features."""


@pytest.mark.parametrize("kind", FLAT)
def test_every_flat_kind_of_wkt_is_accepted(client: Client, add_source: Add, kind: str) -> None:
    add_source("a")
    for value in (f"{kind} {FLAT[kind]}", f"{kind.lower()}{FLAT[kind]}"):
        assert find(client, geometry=value) == ["a"]


@pytest.mark.parametrize("kind", CURVED)
def test_every_other_kind_of_wkt_is_400(client: Client, kind: str) -> None:
    text = f"{kind} {CURVED[kind]}"
    for value in (text, text.lower(), f"{kind} EMPTY", f"{kind} Z {CURVED[kind]}",
                  f"GEOMETRYCOLLECTION ({text})", f"GEOMETRYCOLLECTION (POINT (1 1), {kind} EMPTY)",
                  f"GEOMETRYCOLLECTION (GEOMETRYCOLLECTION (POINT (1 1), {text}))"):  # fmt: skip
        answer = client.get(SOURCES, params={"geometry": value})
        assert (answer.status_code, list(answer.json()["detail"])) == (400, ["geometry"]), value


@pytest.mark.parametrize(
    "box",
    [
        "4,51,5,52",
        f"{'0' * 10_000}4.,51,5,52",
        " +4.0 , 51e0,5.,5.2E+1",
        ".4e1,510e-1,05,52.000",
        "-4,-51,5,52",
    ],
)
def test_numbers_are_read_with_signs_exponents_and_blanks(
    client: Client, add_source: Add, box: str
) -> None:
    add_source("a")
    assert find(client, in_bbox=box) == ["a"]


BAD = {
    "in_bbox": ["1,2,3", "a,b,c,d", "1,2,3,nan", "1,2,3,inf", "0,91,1,92", "0,5,1,4", "1,2,3,4,5", "999,0,1000,1",
                "4_0,51,5,52", "\u0664,51,5,52", "4,51,5,1e999", "4,51,5,5 2", "4,51,5,.", "4,51,,52", "0x4,51,5,52",
                "1" * 50_000 + "x,51,5,52"],
    "point": ["4.5", "4.5,91", "x,y", "4_4.5,51", "4.5,\uff15\uff11", "4.5,infinity", "4.5,e1"],
    "geometry": ["nonsense", "{}", '{"type": "Point"}', "POINT EMPTY", "POINT (nan 1)", "POINT (1e999 1)", "[" * 5000,
                 "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))", "POLYGON ((0 80, 1 80, 1 91, 0 80))",
                 "LINESTRING (0 0, 541 0)"],
    "uuid": ["nonsense", "61f5a464c35044c19bc7d4b42d7f58cb"],
    "organisation__uuid": ["61f5", "x"],
    "organisation": ["1"],
    "layers__uuid": ["x"],
    "created": ["yesterday", "2024-13-01", "2024-02-30T00:00:00Z", "99999-01-01", "2024-01-01T25:00:00Z",
                "2024-01-01 02", "2024-01-01Z", "2024-01-01T01:00:00 Z", "2024-01-01T01:00:00+", "2024-01-01T01",
                "2024-01-01T01:00   02", "2024-01-01t01:00:00Z", "0000-01-01", "0001-01-01T00:00:00+01:00",
                "9999-12-31T23:00:00-02:00", "2024-01-01T01:00+24:00", "2024-01-01T01:00:60Z", "2024-01-01T24:00",
                "2024-01-01T01:00+01:60", "2023-02-29",
                "\u0662\u0660\u0662\u0664-01-01"],
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


def test_each_invalid_regular_expression_is_named(client: Client) -> None:
    query = {"name__regex": "(", "supplier_code__iregex": "[a", "organisation__name__regex": "a+"}
    answer = client.get(SOURCES, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert list(answer.json()["detail"]) == ["name__regex", "supplier_code__iregex"]


@pytest.mark.parametrize("name", [*BAD, "unknown", "name__nonsense", "limit", "offset", "supplier"])
def test_an_empty_value_and_an_unknown_parameter_are_not_filters(
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
        ("2024-01-01T01:00:00z", ["a"]),
        ("2024-01-01T01:00z", ["a"]),
        ("2024-01-01T03:00+02", ["a"]),
        ("2024-01-01T03:00:00+02", ["a"]),
        ("2024-01-01 03:00:00+02:00", ["a"]),
        ("2024-01-01 03:00 +02", ["a"]),
        ("2023-12-31T23:00-02", ["a"]),
        ("2023-12-31T23:00:00,0-02:00", ["a"]),
        ("2024-01-01T01:00:00.000000000Z", ["a"]),
        ("2024-01-02", ["b"]),
    ],
)
def test_times_are_read_in_every_form_of_iso_8601(
    client: Client, add_source: Add, text: str, expected: list[str]
) -> None:
    for name, timestamp in (("a", "2024-01-01T01:00:00Z"), ("b", "2024-01-02T00:00:00Z")):
        add_source(name, first_value_timestamp=timestamp, last_value_timestamp=timestamp)
    assert find(client, first_value_timestamp=text) == expected
    # an unescaped + arrives as a space
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
    admin = as_("admin")
    organisation = admin.get(SOURCES, params={"name": "a"}).json()["results"][0]["organisation"]
    for query in (
        {"organisation__name": "Other"}, {"organisation__name__istartswith": "oth"}, {"supplier": "remo"},
        {"organisation__uuid": organisation["uuid"]}, {"organisation": organisation["uuid"].replace("-", "")},
        {"supplier__icontains": "REM"}, {"supplier__isnull": "false"}, {"supplier_code": "c"},
        {"access_modifier": "Common"}, {"access_modifier": "100"}, {"writable": "false"},
    ):  # fmt: skip
        assert find(admin, **query) == ["a"], query
    for query in ({"supplier__isnull": "true"}, {"supplier_code__isnull": "1"}, {"access_modifier": "0"},
                  {"writable": "true"}):  # fmt: skip
        assert find(admin, **query) == ["b"], query


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
def test_attacks_are_rejected_or_find_nothing(client: Client, add_source: Add, attack: str) -> None:
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


def test_an_invalid_host_is_not_in_hyperlinks(client: Client, add_source: Add) -> None:
    add_source("a")
    for host in ('x"><script>', "a b", "x/../y", "evil.example#", "user@evil.example"):
        answer = client.get(SOURCES, headers={"Host": host})
        if answer.status_code == 200:
            assert host not in answer.json()["results"][0]["url"]
