"""Creates users with their roles, keys and sessions, and finds the caller of a request."""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Row,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from pipeline.catalogue.access import Caller, make_caller
from pipeline.database.engine import begin, execute
from pipeline.database.people_tables import (
    api_keys,
    organisations,
    roles,
    sessions,
    users,
)
from pipeline.database.queries import number_parameters, queries
from pipeline.errors import CatalogueError

QUERIES = queries("users")
ROLES = ("user", "supplier", "admin", "manager")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX_LENGTH = 8
KEY = re.compile(r"([0-9A-Za-z]{8})\.([0-9A-Za-z_-]{43})")
"""A key: `prefix.secret`, where the secret is 256 random bits in base64url."""
SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26, "dklen": 32}
"""Parameters of scrypt that OWASP recommends; hashing one password takes 32 MiB and about 0.1 s."""


def add_user(engine: Engine, username: str, *, password: str | None = None, first_name: str = "",
             last_name: str = "", email: str = "") -> int:  # fmt: skip
    """Add a user and return the id; without a password the user can log in only with keys.

    Raises CatalogueError when the name is taken or invalid.
    """
    if not username.strip() or len(username) > 150 or ":" in username or "\x00" in username:
        raise CatalogueError("a username must have 1 to 150 characters and no colon")
    values = {
        "username": username,
        "password_hash": None if password is None else hash_password(password),
        "first_name": first_name,
        "last_name": last_name,
        "email": email,
    }
    statement = upsert(users).values(values).on_conflict_do_nothing().returning(users.c.id)
    rows = execute(engine, statement)
    if not rows:
        raise CatalogueError(f'the user "{username}" already exists')
    return int(rows[0].id)


def set_password(engine: Engine, username: str, password: str) -> None:
    """Set the password for the sign-in page and end the user's sessions."""
    _change_user(engine, username, end_sessions=True, password_hash=hash_password(password))


def set_active(engine: Engine, username: str, *, active: bool) -> None:
    """Activate or deactivate a user.

    A deactivated user has no sessions and cannot use their keys. The raster sources that they supply stay.
    """
    _change_user(engine, username, end_sessions=not active, active=active)


def _change_user(engine: Engine, username: str, *, end_sessions: bool, **values: Any) -> None:
    with begin(engine) as connection:
        user_id = find_user(connection, username)
        connection.execute(update(users).where(users.c.id == user_id).values(values))
        if end_sessions:
            connection.execute(delete(sessions).where(sessions.c.user_id == user_id))


def list_users(engine: Engine) -> Sequence[Row[Any]]:
    """Return all users by name, with their roles as `role of organisation` and the number of valid keys."""
    return execute(engine, QUERIES["list_users"])


def list_keys(engine: Engine, username: str | None = None) -> Sequence[Row[Any]]:
    """Return all keys, or those of one user, by user and age: prefix, times, and whether the key is valid."""
    with begin(engine) as connection:
        user_id = None if username is None else find_user(connection, username)
        return connection.execute(QUERIES["list_keys"], {"user_id": user_id}).all()


def grant_role(engine: Engine, username: str, organisation: str, role: str) -> None:
    """Give a user a role in an organisation (name or uuid), unless they have it already."""
    with begin(engine) as connection:
        values = role_values(connection, username, organisation, role)
        connection.execute(upsert(roles).values(values).on_conflict_do_nothing())


def revoke_role(engine: Engine, username: str, organisation: str, role: str) -> None:
    """Remove a role; raise CatalogueError when the user does not have it."""
    with begin(engine) as connection:
        values = role_values(connection, username, organisation, role)
        deleted = connection.execute(delete(roles).filter_by(**values).returning(roles.c.user_id))
        if deleted.first() is None:
            raise CatalogueError(
                f'"{username}" does not have the role {role} in "{organisation}"; '
                "list roles with: rastersources user list"
            )


def role_values(
    connection: Connection, username: str, organisation: str, role: str
) -> dict[str, Any]:
    """Return the row of a role; raise CatalogueError for an unknown role, user or organisation."""
    if role not in ROLES:
        raise CatalogueError(f"a role must be one of {', '.join(ROLES)}")
    return {
        "user_id": find_user(connection, username),
        "organisation_id": find_organisation(connection, organisation),
        "role": role,
    }


def find_user(connection: Connection, username: str) -> int:
    """Return the id of a user; raise CatalogueError when there is no user with that name."""
    user_id = connection.scalar(select(users.c.id).where(users.c.username == username))
    if user_id is None:
        raise CatalogueError(
            f'there is no user "{username}"; add one with: rastersources user add {username}'
        )
    return int(user_id)


def find_organisation(connection: Connection, organisation: str) -> int:
    """Return the id of an organisation by its name or uuid; raise CatalogueError when it does not exist."""
    matches = organisations.c.name == organisation
    with contextlib.suppress(ValueError):  # it is a name
        matches |= organisations.c.uuid == UUID(organisation)
    organisation_id = connection.scalar(select(organisations.c.id).where(matches))
    if organisation_id is None:
        raise CatalogueError(
            f'there is no organisation "{organisation}"; '
            f'add it with: rastersources organisation add "{organisation}"'
        )
    return int(organisation_id)


def create_key(engine: Engine, username: str) -> str:
    """Create a key and return it as `prefix.secret`. It cannot be shown again, because only its hash is stored."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    secret = secrets.token_urlsafe(32)
    with begin(engine) as connection:
        user_id = find_user(connection, username)
        values = {"user_id": user_id, "prefix": prefix, "secret_hash": hash_secret(secret)}
        connection.execute(insert(api_keys).values(values))
    return f"{prefix}.{secret}"


def revoke_key(engine: Engine, prefix: str) -> None:
    """Revoke a key, given as a whole or by its prefix, and end its sessions.

    Raises CatalogueError when no valid key has the prefix.
    """
    valid = (api_keys.c.prefix == prefix.split(".")[0]) & api_keys.c.revoked.is_(None)
    statement = update(api_keys).where(valid).values(revoked=func.now()).returning(api_keys.c.id)
    if not execute(engine, statement):
        raise CatalogueError(
            f'no valid key begins with "{prefix}"; list keys with: rastersources key list'
        )


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 of a secret with 256 random bits. Passwords need a slow hash, such secrets do not."""
    return hashlib.sha256(secret.encode()).digest()


def hash_password(password: str) -> str:
    """Return `salt$hash`; the hash is computed by scrypt."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **SCRYPT).hex()}"


def password_matches(password: str, hashed: str | None) -> bool:
    """Return whether the password matches.

    It takes as long for a user without a password, so that the time does not show which users have one.
    """
    salt, _, expected = (hashed or f"{'00' * 16}$").partition("$")
    actual = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **SCRYPT).hex()
    return secrets.compare_digest(actual, expected)


PREPARED_CALLER_BY_KEY = number_parameters(QUERIES["find_caller_by_key"].text)
"""Selects the active user of a valid key, and the hash of its secret, by the parameter `prefix`."""
PREPARED_CALLER_BY_SESSION = number_parameters(QUERIES["find_caller_by_session"].text)
"""Selects the active user of a session, by the parameter `token_hash`."""


def caller_from_row(row: Sequence[Any]) -> Caller:
    """Return the caller from a row of these statements."""
    user_id, username, first_name, roles, *_ = row
    pairs = [(int(organisation), role) for organisation, role in map(str.split, roles)]
    return make_caller(user_id, username, first_name, pairs)


@dataclass(frozen=True)
class SignedInUser:
    """A user who has signed in."""

    user_id: int
    key_id: int | None
    """The key that was used instead of the password; None if the password was used."""


def open_session(user: SignedInUser, token: str, hours: float) -> Insert:
    """Return the statement that inserts a session with the hash of its cookie."""
    expires = datetime.now(UTC) + timedelta(hours=hours)
    return insert(sessions).values(
        user_id=user.user_id, key_id=user.key_id, token_hash=hash_secret(token), expires=expires
    )
