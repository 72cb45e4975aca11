"""The SQL function file_name: the name of the file at the end of a URI, percent-decoded."""

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text


def call_file_name(engine: Engine, uri: str) -> str:
    with engine.connect() as connection:
        name_in_sql: str = connection.execute(
            text("SELECT file_name(:uri)"), {"uri": uri}
        ).scalar_one()
        return name_in_sql


def decode(name: bytes) -> str | None:
    """Return a name as text; None if PostgreSQL cannot store it."""
    try:
        decoded_name = name.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in decoded_name else decoded_name


NAMES = st.text(st.characters(exclude_characters="/", codec="utf-8"), max_size=20).map(str.encode)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES | st.binary(max_size=8).filter(lambda name: b"/" not in name))
def test_a_name_is_percent_decoded_if_it_is_valid_utf8(engine: Engine, name: bytes) -> None:
    quoted = quote_from_bytes(name)
    expected = decode(name)
    name_in_sql = call_file_name(engine, f"s3://bucket/a%20b/{quoted}")
    assert name_in_sql == (quoted if expected is None else expected)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///data/my%20%C3%A9%20%2541.tif", "my é %41.tif"),
        ("file:///data/100%.tif", "100%.tif"),
        ("file:///a%2Fb/%e9.tif", "%e9.tif"),
        ("file:///%zz%41%4", "%zzA%4"),
        ("file:///é%20.tif", "é .tif"),
        ("s3://bucket/", ""),
    ],
)
def test_characters_that_are_not_encoded_stay(engine: Engine, uri: str, name: str) -> None:
    assert call_file_name(engine, uri) == name
