"""Callers log in and write raster sources."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.catalogue.users import create_key, revoke_key
from tests.api.conftest import SOURCES, Add, As

pytestmark = pytest.mark.usefixtures("empty")


def new_source(owner: str, **fields: Any) -> dict[str, Any]:
    return {"name": "new", "organisation": owner, **fields}


def test_a_new_source_is_empty_private_and_belongs_to_its_creator(as_: As, owner: str) -> None:
    answer = as_("supplier").post(SOURCES, json=new_source(owner.replace("-", "")))
    source = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == source["url"]
    assert (source["access_modifier"], source["supplier"], source["writable"]) == (
        "Private",
        "supplier",
        True,
    )
    derived = (
        "interval",
        "first_value_timestamp",
        "spatial_bounds",
        "projection",
        "size",
        "dtype",
        "fill_value",
    )
    assert [source[field] for field in derived] == [None] * 7
    assert as_("user").get(source["url"]).json()["writable"] is False
    assert as_("stranger").get(source["url"]).status_code == 404


@pytest.mark.parametrize(
    ("username", "status"),
    [("user", 403), ("supplier", 201), ("admin", 201), ("manager", 403), ("stranger", 403)],
)
def test_suppliers_and_administrators_may_add_sources(
    as_: As, owner: str, username: str, status: int
) -> None:
    assert as_(username).post(SOURCES, json=new_source(owner)).status_code == status


def test_a_write_without_login_is_401(client: Client, owner: str) -> None:
    answer = client.post(SOURCES, json=new_source(owner))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.json()["code"] == 10


@pytest.mark.parametrize("how", ["basic", "headers"])
def test_a_key_logs_in_by_basic_and_by_headers(
    client: Client, people: dict[str, str], how: str
) -> None:
    key = people["user"]
    headers = {
        "basic": {"Authorization": "Basic " + base64.b64encode(f"__key__:{key}".encode()).decode()},
        "headers": {"username": "__key__", "password": key},
    }[how]
    assert client.get(SOURCES, headers=headers).status_code == 200
    wrong = {name: value[:-3] + "xyz" for name, value in headers.items()}
    assert client.get(SOURCES, headers=wrong).status_code == 401


@pytest.mark.parametrize("scheme", ["Basic", "basic", "Bearer"])
@pytest.mark.parametrize("credentials", ["é", "ÿÿ==", "w6k=", "/w==", "Zm9v", "Zm9v=Zm9v", ""])
def test_an_invalid_basic_header_is_401_and_other_schemes_are_ignored(
    client: Client, scheme: str, credentials: str
) -> None:
    headers = {b"Authorization": f"{scheme} {credentials}".strip().encode("latin-1")}
    for path in (SOURCES, "/bootstrap/lizard/"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == (200 if scheme == "Bearer" else 401)
        assert "www-authenticate" in answer.headers or scheme == "Bearer"


@pytest.mark.parametrize("name", [b"username", b"password", b"Accept", b"Cookie", b"X-CSRFToken"])
def test_a_byte_above_127_in_a_header_causes_no_error(client: Client, name: bytes) -> None:
    headers = {b"username": b"__key__", b"password": b"a.b", name: b"\xe9\xff"}
    assert client.get(SOURCES, headers=headers).status_code == 401
    cookie = {b"Cookie": b"rastersources_session=\xe9", name: b"\xe9\xff"}
    assert client.post(SOURCES, json={}, headers=cookie).status_code == 401


def test_a_revoked_key_is_401(client: Client, engine: Engine, people: dict[str, str]) -> None:
    key = create_key(engine, "user")
    assert client.get(SOURCES, auth=("__key__", key)).status_code == 200
    revoke_key(engine, key.split(".")[0])
    assert client.get(SOURCES, auth=("__key__", key)).status_code == 401


def test_an_administrator_chooses_the_supplier_and_others_become_it(as_: As, owner: str) -> None:
    assert (
        as_("admin").post(SOURCES, json=new_source(owner, supplier="user")).json()["supplier"]
        == "user"
    )
    assert as_("admin").post(SOURCES, json=new_source(owner)).json()["supplier"] is None
    assert (
        as_("supplier").post(SOURCES, json=new_source(owner, supplier="user")).json()["supplier"]
        == "supplier"
    )


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": None}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"name": ["x"]}, "name"),
    ({"organisation": "nonsense"}, "organisation"),
    ({"organisation": "00000000-0000-0000-0000-000000000000"}, "organisation"),
    ({"organisation": None}, "organisation"),
    ({"access_modifier": "Secret"}, "access_modifier"),
    ({"access_modifier": 50}, "access_modifier"),
    ({"supplier": "nobody"}, "supplier"),
    ({"temporal": "maybe"}, "temporal"),
    ({"temporal": None}, "temporal"),
    ({"interval": "P1M"}, "interval"),
    ({"interval": -5}, "interval"),
    ({"interval": 10**13}, "interval"),
    ({"interval": "P"}, "interval"),
    ({"interval": "PT"}, "interval"),
    ({"interval": " "}, "interval"),
    ({"interval": "9" * 13}, "interval"),
    ({"interval": True}, "interval"),
    ({"description": {"a": 1}}, "description"),
]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (None, "This field may not be null."),
        (True, '"true" is not a valid choice.'),
        (50, '"50" is not a valid choice.'),
        ("Secret", '"Secret" is not a valid choice.'),
        ([None], "Must be a name or a number."),
    ],
)
def test_an_invalid_access_modifier_is_quoted_as_written(
    as_: As, owner: str, written: object, sentence: str
) -> None:
    answer = as_("admin").post(SOURCES, json=new_source(owner, access_modifier=written))
    assert answer.json()["detail"] == {"access_modifier": [sentence]}


@pytest.mark.parametrize(("fault", "field"), FAULTS, ids=str)
def test_an_invalid_field_is_400_and_named(
    as_: As, owner: str, fault: dict[str, Any], field: str
) -> None:
    answer = as_("admin").post(SOURCES, json=new_source(owner) | fault)
    assert (answer.status_code, answer.json()["code"]) == (400, 20)
    assert list(answer.json()["detail"]) == [field]


@pytest.mark.parametrize("depth", [100, 300, 1000])
def test_deeply_nested_json_is_accepted_or_rejected(as_: As, owner: str, depth: int) -> None:
    url, deep = (
        as_("admin").post(SOURCES, json=new_source(owner)).json()["url"],
        "[" * depth + "]" * depth,
    )
    headers = {"Content-Type": "application/json"}
    for body, statuses in (
        (f'{{"organisation": {{"uuid": "{owner}", "x": {deep}}}}}', (200, 400)),
        (f'{{"access_modifier": {deep}}}', (400,)),
    ):
        assert as_("admin").patch(url, content=body, headers=headers).status_code in statuses


def test_all_missing_fields_are_named_at_once(as_: As) -> None:
    assert as_("admin").post(SOURCES, json={}).json()["detail"] == {
        "name": ["This field is required."],
        "organisation": ["This field is required."],
    }


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        (b"--x\r\n\r\n--x--", "application/json", 400),
        (b"<a/>", "application/xml", 415),
        (b'{"a": "' + b"x" * 2**21 + b'"}', "application/json", 413),
        (b"[" * 100_000, "application/json", 400),
    ],
    ids=str,
)
def test_an_invalid_body_is_rejected_in_the_envelope(
    as_: As, body: bytes, kind: str, status: int
) -> None:
    answer = as_("admin").post(SOURCES, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert list(answer.json()) == ["status", "code", "message", "detail"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("00:05:00", "00:05:00"),
        ("PT5M", "00:05:00"),
        ("P1DT02H", "1 02:00:00"),
        (300, "00:05:00"),
        ("7 00:00:00", "7 00:00:00"),
        ("00:00:00.5", "00:00:00.500000"),
        ("300.5", "00:05:00.500000"),
        (0.1234567, "00:00:00.123457"),
        ("99999999 00:00:00", "99999999 00:00:00"),
        ("PT0S", None),
        ("", None),
        (0, None),
        (None, None),
    ],
)
def test_intervals_are_read_in_three_forms(
    as_: As, owner: str, written: object, read: object
) -> None:
    assert (
        as_("admin").post(SOURCES, json=new_source(owner, interval=written)).json()["interval"]
        == read
    )


def test_sending_a_source_back_changes_nothing(as_: As, add_source: Add, add_user: Add) -> None:
    row = add_source(
        "a", temporal=True, interval="5 minutes", declared_interval="5 minutes", description=""
    )
    before = as_("admin").get(f"{SOURCES}{row.uuid}/").json()
    for call in (as_("admin").put, as_("admin").patch):
        answer = call(f"{SOURCES}{row.uuid}/", json=before)
        assert answer.status_code == 200
        # the row has no files, so its derived fields become null
        kept = ("description", "interval", "temporal", "name", "organisation", "supplier")
        assert {name: answer.json()[name] for name in kept} == {name: before[name] for name in kept}
    again = as_("admin").get(f"{SOURCES}{row.uuid}/").json()
    assert as_("admin").patch(f"{SOURCES}{row.uuid}/", json=again).json() == again


def test_a_stored_text_with_blanks_stays_when_it_is_sent_back(
    as_: As, engine: Engine, owner: str
) -> None:
    url = as_("admin").post(SOURCES, json=new_source(owner)).json()["url"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE raster_sources SET name = ' tile '"))
    before = as_("admin").get(url).json()
    assert before["name"] == " tile "
    assert as_("admin").put(url, json=before).json() == before


@pytest.mark.parametrize(
    ("written", "declared"),
    [("1 00:00:00", None), ("PT24H", timedelta(1)), (86400, timedelta(1)), (None, None)],
)
def test_writing_a_derived_interval_in_another_form_declares_it(
    as_: As, engine: Engine, add_source: Add, written: object, declared: timedelta | None
) -> None:
    row = add_source("daily", temporal=True, interval="1 day")
    as_("admin").patch(f"{SOURCES}{row.uuid}/", json={"interval": written})
    with engine.connect() as connection:
        query = "SELECT declared_interval FROM raster_sources"
        assert connection.execute(text(query)).scalar_one() == declared


def test_a_change_moves_last_modified(as_: As, owner: str) -> None:
    before = as_("admin").post(SOURCES, json=new_source(owner)).json()
    after = as_("admin").patch(before["url"], json={"name": "other", "size": 5, "uuid": "x"}).json()
    assert after["last_modified"] > before["last_modified"]
    assert {name for name in after if after[name] != before[name]} == {"name", "last_modified"}


def test_a_write_is_403_for_readers_and_404_for_others(as_: As, owner: str) -> None:
    url = as_("admin").post(SOURCES, json=new_source(owner)).json()["url"]
    for username, status in (("user", 403), ("supplier", 403), ("stranger", 404), ("manager", 404)):
        assert as_(username).patch(url, json={"name": "mine"}).status_code == status
        assert as_(username).delete(url).status_code == status


def test_put_needs_the_required_fields(as_: As, owner: str) -> None:
    url = as_("admin").post(SOURCES, json=new_source(owner)).json()["url"]
    assert list(as_("admin").put(url, json={"description": "x"}).json()["detail"]) == [
        "name",
        "organisation",
    ]


@pytest.mark.parametrize("body", [None, "{}", '{"force": false}'])
def test_a_source_without_dependents_is_deleted(as_: As, owner: str, body: str | None) -> None:
    url = as_("admin").post(SOURCES, json=new_source(owner)).json()["url"]
    answer = as_("admin").request("DELETE", url, content=body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert as_("admin").get(url).status_code == 404


@pytest.mark.parametrize(
    "written", ["2024-01-31T01:00:00z", "1850-02-28", "2024-02-29T03:00+02", " 2024-01-01 ", ""]
)
def test_the_time_of_an_upload_has_the_formats_of_filters(
    as_: As, things: dict[str, str], written: str
) -> None:
    url = f"{SOURCES}{things['rastersources']}/data/"
    files = {"file": ("a.tif", b"")}
    sent = as_("admin").post(url, files=files, data={"timestamp": written})
    assert sent.status_code == 200, sent.text
    refused = as_("admin").post(url, files=files, data={"timestamp": f"{written}x"})
    assert list(refused.json()["detail"]) == ["timestamp"]
