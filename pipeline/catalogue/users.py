"""Users, their roles, keys and sessions: how they are made, and how a caller is found by one of them."""

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
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Executable,
    Float,
    Insert,
    Row,
    Select,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from pipeline.catalogue.access import Caller, make_caller
from pipeline.database.engine import begin
from pipeline.database.tables import (
    api_keys,
    organisations,
    roles,
    sessions,
    sign_in_failures,
    users,
)
from pipeline.errors import CatalogueError

ROLES = ("user", "supplier", "admin", "manager")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX_LENGTH = 8
KEY = re.compile(r"([0-9A-Za-z]{8})\.([0-9A-Za-z_-]{43})")
"""prefix.secret; the secret is 256 random bits in base64url."""
SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26, "dklen": 32}
"""Cost of one password: 32 MiB and some 0.1 s (OWASP's recommendation for scrypt)."""


def add_user(engine: Engine, username: str, *, password: str | None = None, first_name: str = "",
             last_name: str = "", email: str = "") -> int:  # fmt: skip
    """A new user; the id. Without a password only keys log in. Raises CatalogueError when the name is taken."""
    if not username.strip() or len(username) > 150 or ":" in username or "\x00" in username:
        raise CatalogueError("a username has 1 to 150 characters and no colon")
    values = {
        "username": username,
        "password_hash": None if password is None else hash_password(password),
        "first_name": first_name,
        "last_name": last_name,
        "email": email,
    }
    made = upsert(users).values(values).on_conflict_do_nothing().returning(users.c.id)
    with begin(engine) as connection:
        number = connection.execute(made).scalar_one_or_none()
    if number is None:
        raise CatalogueError(f'there is a user "{username}" already')
    return int(number)


def set_password(engine: Engine, username: str, password: str) -> None:
    """A new password for the sign-in page; ends the user's sessions."""
    with begin(engine) as connection:
        number = find_user(connection, username)
        hashed = hash_password(password)
        connection.execute(update(users).where(users.c.id == number).values(password_hash=hashed))
        connection.execute(delete(sessions).where(sessions.c.user_id == number))


def set_active(engine: Engine, username: str, *, active: bool) -> None:
    """Let a user in again, or keep them out: sessions end, keys do not work; all that is theirs stays."""
    with begin(engine) as connection:
        number = find_user(connection, username)
        connection.execute(update(users).where(users.c.id == number).values(active=active))
        if not active:
            connection.execute(delete(sessions).where(sessions.c.user_id == number))


def list_users(engine: Engine) -> Sequence[Row[Any]]:
    """All users by name: with their roles as `role of organisation`, the number of valid keys, and no secrets."""
    held = (
        select(func.concat(roles.c.role, " of ", organisations.c.name))
        .join_from(roles, organisations)
        .where(roles.c.user_id == users.c.id)
        .order_by(organisations.c.name, roles.c.role)
    )
    valid = select(func.count()).where(
        api_keys.c.user_id == users.c.id, api_keys.c.revoked.is_(None)
    )
    shown = ("username", "first_name", "last_name", "email", "active", "created")
    statement: Select[Any] = select(
        *(users.c[name] for name in shown),
        users.c.password_hash.is_not(None).label("password"),
        valid.scalar_subquery().label("valid_keys"),
        func.array(held.scalar_subquery()).label("roles"),
    )
    with begin(engine) as connection:
        return connection.execute(statement.order_by(users.c.username)).all()


def list_keys(engine: Engine, username: str | None = None) -> Sequence[Row[Any]]:
    """All keys, or those of one user, by user and age: what they begin with, and whether they work."""
    works = api_keys.c.revoked.is_(None) & users.c.active
    statement = select(
        users.c.username,
        api_keys.c.prefix,
        api_keys.c.created,
        api_keys.c.revoked,
        works.label("works"),
    ).join_from(api_keys, users)
    with begin(engine) as connection:
        if username is not None:
            statement = statement.where(users.c.id == find_user(connection, username))
        return connection.execute(statement.order_by(users.c.username, api_keys.c.id)).all()


def grant_role(engine: Engine, username: str, organisation: str, role: str) -> None:
    """Give a user a role in an organisation (name or uuid); one that they have already stays."""
    with begin(engine) as connection:
        values = role_values(connection, username, organisation, role)
        connection.execute(upsert(roles).values(values).on_conflict_do_nothing())


def revoke_role(engine: Engine, username: str, organisation: str, role: str) -> None:
    """Take a role away; raises CatalogueError when the user has it not."""
    with begin(engine) as connection:
        values = role_values(connection, username, organisation, role)
        gone = connection.execute(delete(roles).filter_by(**values).returning(roles.c.user_id))
        if gone.first() is None:
            raise CatalogueError(f'"{username}" is no {role} of "{organisation}"')


def role_values(
    connection: Connection, username: str, organisation: str, role: str
) -> dict[str, Any]:
    """The row of a role; raises CatalogueError for what is not there."""
    if role not in ROLES:
        raise CatalogueError(f"a role is one of {', '.join(ROLES)}")
    return {
        "user_id": find_user(connection, username),
        "organisation_id": find_organisation(connection, organisation),
        "role": role,
    }


def find_user(connection: Connection, username: str) -> int:
    """The id of a user; raises CatalogueError when there is none."""
    found = connection.execute(select(users.c.id).where(users.c.username == username)).scalar()
    if found is None:
        raise CatalogueError(
            f'there is no user "{username}"; add one with: rastersources user add {username}'
        )
    return int(found)


def find_organisation(connection: Connection, organisation: str) -> int:
    """The id of an organisation by its name or uuid; raises CatalogueError when there is none."""
    matches = organisations.c.name == organisation
    with contextlib.suppress(ValueError):  # then it is a name
        matches |= organisations.c.uuid == UUID(organisation)
    found = connection.execute(select(organisations.c.id).where(matches)).scalar()
    if found is None:
        raise CatalogueError(
            f'there is no organisation "{organisation}"; '
            f'add it with: rastersources organisation add "{organisation}"'
        )
    return int(found)


def create_key(engine: Engine, username: str) -> str:
    """A new key, `prefix.secret`: shown once, for only its hash is stored."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    secret = secrets.token_urlsafe(32)
    with begin(engine) as connection:
        values = {
            "user_id": find_user(connection, username),
            "prefix": prefix,
            "secret_hash": hash_secret(secret),
        }
        connection.execute(insert(api_keys).values(values))
    return f"{prefix}.{secret}"


def revoke_key(engine: Engine, prefix: str) -> None:
    """End a key by its prefix (or the whole key), and with it the sessions that it opened.

    Raises CatalogueError when no valid key begins with it.
    """
    valid = (api_keys.c.prefix == prefix.split(".")[0]) & api_keys.c.revoked.is_(None)
    statement = update(api_keys).where(valid).values(revoked=func.now()).returning(api_keys.c.id)
    with begin(engine) as connection:
        if connection.execute(statement).first() is None:
            raise CatalogueError(f'no valid key begins with "{prefix}"')


def hash_secret(secret: str) -> bytes:
    """SHA-256: a fast hash suffices for 256 random bits, which nobody can guess; a password needs a slow one."""
    return hashlib.sha256(secret.encode()).digest()


def hash_password(password: str) -> str:
    """salt$hash, by scrypt."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **SCRYPT).hex()}"


def password_matches(password: str, hashed: str | None) -> bool:
    """Whether it is the password; takes as long when there is none, so that nobody learns who has one."""
    salt, _, expected = (hashed or f"{'00' * 16}$").partition("$")
    found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), **SCRYPT).hex()
    return secrets.compare_digest(found, expected)


def _caller_columns() -> list[ColumnElement[Any]]:
    held = select(func.concat(roles.c.organisation_id, " ", roles.c.role)).where(
        roles.c.user_id == users.c.id
    )
    return [
        users.c.id,
        users.c.username,
        users.c.first_name,
        func.array(held.scalar_subquery()).label("roles"),
    ]


def caller_by_key(prefix: str) -> Select[Any]:
    """The active user of a valid key, and the hash that its secret must have."""
    return (
        select(*_caller_columns(), api_keys.c.secret_hash, api_keys.c.id.label("key_id"))
        .join_from(api_keys, users, users.c.id == api_keys.c.user_id)
        .where(api_keys.c.prefix == prefix, api_keys.c.revoked.is_(None), users.c.active)
    )


def caller_by_session(token: str) -> Select[Any]:
    """The active user who is signed in with this cookie, by a password or by a key that is still valid."""
    return (
        select(*_caller_columns())
        .join_from(sessions, users, users.c.id == sessions.c.user_id)
        .outerjoin(api_keys, api_keys.c.id == sessions.c.key_id)
        .where(
            sessions.c.token_hash == hash_secret(token),
            sessions.c.expires > func.now(),
            users.c.active,
            api_keys.c.revoked.is_(None),
        )
    )


def user_by_name(username: str) -> Select[Any]:
    """An active user with the hash of the password."""
    return select(users.c.id, users.c.password_hash).where(
        users.c.username == username, users.c.active
    )


def caller_from_row(row: Any) -> Caller:
    """The caller of a row of one of the statements above."""
    held = [tuple(role.split(" ", 1)) for role in row.roles]
    return make_caller(
        row.id, row.username, row.first_name, [(int(number), role) for number, role in held]
    )


@dataclass(frozen=True)
class SignedInUser:
    """Who has signed in, and by what."""

    user_id: int
    key_id: int | None
    """The key that served as the password; None for a password."""


def open_session(who: SignedInUser, token: str, hours: float) -> Insert:
    """Remember a sign-in by the hash of its cookie."""
    expires = datetime.now(UTC) + timedelta(hours=hours)
    return insert(sessions).values(
        user_id=who.user_id, key_id=who.key_id, token_hash=hash_secret(token), expires=expires
    )


def close_session(token: str) -> Delete:
    """Forget a session, and all that have ended by themselves."""
    return delete(sessions).where(
        (sessions.c.token_hash == hash_secret(token)) | (sessions.c.expires <= func.now())
    )


def count_failures(attempt: int, username: str, address: str, minutes: float) -> Select[Any]:
    """How often the name failed to sign in from the address, and anyone did there, before an attempt; seconds since."""
    failed = sign_in_failures.c
    recent = failed.at > datetime.now(UTC) - timedelta(minutes=minutes)
    named = failed.username == username

    def since(last: ColumnElement[Any]) -> ColumnElement[Any]:
        seconds = func.extract("epoch", func.clock_timestamp() - last).cast(Float)
        return func.coalesce(seconds, 0.0)

    return select(
        func.count().filter(named).label("by_name"),
        since(func.max(failed.at).filter(named)).label("since_name"),
        func.count().label("by_address"),
        since(func.max(failed.at)).label("since_address"),
    ).where(recent, failed.address == address, failed.id < attempt)


def record_failure(username: str, address: str) -> Executable:
    """Remember a failed sign-in; its id."""
    noted = insert(sign_in_failures).values(username=username, address=address)
    return noted.returning(sign_in_failures.c.id)


def delete_failure(number: int) -> Delete:
    """It was none."""
    return delete(sign_in_failures).where(sign_in_failures.c.id == number)


def clear_failures(username: str, address: str) -> Delete:
    """Forget the failures of a name at an address."""
    return delete(sign_in_failures).filter_by(username=username, address=address)


def prune_failures(minutes: float, most: int) -> Delete:
    """Drop what is too old to count, and all but the newest."""
    failed = sign_in_failures.c
    beyond = select(failed.id).order_by(failed.id.desc()).offset(most).limit(1).scalar_subquery()
    too_old = failed.at < datetime.now(UTC) - timedelta(minutes=minutes)
    return delete(sign_in_failures).where(too_old | (failed.id <= beyond))
