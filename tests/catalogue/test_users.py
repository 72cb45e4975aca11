"""Users with their roles, keys and passwords."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import Engine, text

from pipeline.api.config import ApiConfig
from pipeline.catalogue.owners import add_organisation
from pipeline.catalogue.users import (
    KEY,
    QUERIES,
    SignedInUser,
    add_user,
    caller_from_row,
    create_key,
    grant_role,
    hash_password,
    open_session,
    password_matches,
    revoke_key,
    revoke_role,
)
from pipeline.errors import CatalogueError
from tests.api.conftest import client_of
from tests.support.commands import RASTERSOURCES, run


@pytest.fixture(scope="module")
def organisation(engine: Engine) -> str:
    """The uuid of the organisation Owner; the user `member` exists too."""
    add_user(engine, "member")
    return str(add_organisation(engine, "Owner"))


def read_roles(engine: Engine, username: str) -> list[str]:
    query = "SELECT role FROM roles JOIN users ON users.id = user_id WHERE username = :name ORDER BY role"
    with engine.connect() as connection:
        return list(connection.execute(text(query), {"name": username}).scalars())


def test_a_role_is_granted_by_name_or_uuid_once_and_taken_away(
    engine: Engine, organisation: str
) -> None:
    grant_role(engine, "member", "Owner", "user")
    grant_role(engine, "member", organisation, "admin")
    grant_role(engine, "member", "Owner", "admin")
    assert read_roles(engine, "member") == ["admin", "user"]
    revoke_role(engine, "member", organisation, "admin")
    assert read_roles(engine, "member") == ["user"]


WRONG: dict[str, Callable[[Engine], object]] = {
    "already": lambda engine: add_user(engine, "member"),
    "no colon": lambda engine: add_user(engine, "a:b"),
    "1 to 150": lambda engine: add_user(engine, " "),
    'no user "nobody"': lambda engine: create_key(engine, "nobody"),
    'no organisation "Nowhere"': lambda engine: grant_role(engine, "member", "Nowhere", "user"),
    "one of user, supplier, admin, manager": lambda engine: grant_role(
        engine, "member", "Owner", "king"
    ),
    "no valid key": lambda engine: revoke_key(engine, "AAAAAAAA"),
    "does not have the role manager": lambda engine: revoke_role(
        engine, "member", "Owner", "manager"
    ),
}


@pytest.mark.usefixtures("organisation")
@pytest.mark.parametrize("sentence", WRONG)
def test_each_mistake_has_a_sentence(engine: Engine, sentence: str) -> None:
    with pytest.raises(CatalogueError, match=sentence):
        WRONG[sentence](engine)


@pytest.mark.usefixtures("organisation")
def test_a_key_is_prefix_and_secret_and_only_its_hash_is_stored(engine: Engine) -> None:
    key = create_key(engine, "member")
    match = KEY.fullmatch(key)
    assert match
    with engine.connect() as connection:
        row = connection.execute(QUERIES["find_caller_by_key"], {"prefix": match[1]}).one()
        stored = connection.execute(text("SELECT api_keys::text FROM api_keys")).scalars().all()
    assert caller_from_row(row).username == "member"
    assert match[2] not in " ".join(stored)
    revoke_key(engine, key)
    with engine.connect() as connection:
        assert connection.execute(QUERIES["find_caller_by_key"], {"prefix": match[1]}).all() == []


@pytest.mark.usefixtures("organisation")
def test_the_keys_of_a_deactivated_user_do_not_work(engine: Engine) -> None:
    add_user(engine, "gone")
    prefix = create_key(engine, "gone").split(".")[0]
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET active = false WHERE username = 'gone'"))
        assert connection.execute(QUERIES["find_caller_by_key"], {"prefix": prefix}).all() == []


def test_a_password_is_salted_and_matches_only_itself() -> None:
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first != second
    assert password_matches("correct horse", first)
    assert not password_matches("battery staple", first)
    assert not password_matches("", None)


def test_a_deactivated_user_is_locked_out_until_activated_again(
    database_url: str, engine: Engine
) -> None:
    user_id = add_user(engine, "leaver", password="a long password")
    add_organisation(engine, "Theirs")
    grant_role(engine, "leaver", "Theirs", "supplier")
    key, revoked = create_key(engine, "leaver"), create_key(engine, "leaver")
    revoke_key(engine, revoked)

    def command(*words: str) -> str:
        return run([*RASTERSOURCES, *words], RASTERSOURCES_DATABASE_URL=database_url).stdout

    def status(client: Client, **options: Any) -> int:
        return client.get("/api/v4/rastersources/", **options).status_code

    with (
        client_of(ApiConfig(database_url)) as client,
        client_of(ApiConfig(database_url)) as browser,
    ):
        with engine.begin() as connection:
            connection.execute(open_session(SignedInUser(user_id, None), "a cookie", 1))
        browser.cookies.set("rastersources_session", "a cookie")
        profile_url = "/bootstrap/lizard/"
        assert browser.get(profile_url).json()["user"]["authenticated"]
        assert status(client, auth=("__key__", key)) == 200
        assert command("user", "deactivate", "leaver") == ""
        assert status(client, auth=("__key__", key)) == 401
        assert not browser.get(profile_url).json()["user"]["authenticated"]
        users = [json.loads(line) for line in command("user", "list", "--json").splitlines()]
        (leaver,) = [user for user in users if user["username"] == "leaver"]
        assert (leaver["active"], leaver["valid_keys"], leaver["roles"]) == (
            False,
            1,
            ["supplier of Theirs"],
        )
        command("user", "activate", "leaver")
        assert status(client, auth=("__key__", key)) == 200
        assert status(client, auth=("__key__", revoked)) == 401
        assert not browser.get(profile_url).json()["user"]["authenticated"]  # sign in again


def test_lists_of_users_and_keys_show_no_secrets(database_url: str, engine: Engine) -> None:
    add_user(engine, "lister", password="another long password")
    key = create_key(engine, "lister")
    with engine.connect() as connection:
        secrets = connection.execute(
            text("SELECT encode(secret_hash, 'hex'), encode(secret_hash, 'base64') FROM api_keys")
        ).all()
        passwords = connection.execute(
            text("SELECT password_hash FROM users WHERE password_hash IS NOT NULL")
        ).scalars()
        hidden = {key.partition(".")[2], *passwords, *(secret for row in secrets for secret in row)}
    for words in (
        ["user", "list"],
        ["user", "list", "--json"],
        ["key", "list"],
        ["key", "list", "lister", "--json"],
    ):
        printed = run([*RASTERSOURCES, *words], RASTERSOURCES_DATABASE_URL=database_url).stdout
        assert "lister" in printed
        assert [secret for secret in hidden if secret in printed] == []
    assert (
        f"lister\t{key.partition('.')[0]}\t"
        in run([*RASTERSOURCES, "key", "list"], RASTERSOURCES_DATABASE_URL=database_url).stdout
    )
