"""Who may see and write what: one predicate over the caller, for lists, details, counts and related objects alike.

Section 6 of the API's contract: Public is for everyone, Common for anyone logged in, Private for the users, suppliers
and administrators of the organisation, Hidden for its supplier and the organisation's administrators.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, false, func, or_


class Access(IntEnum):
    """The numbers of the database and their names in the API."""

    Public = 0
    Common = 100
    Private = 200
    Hidden = 300


READERS = frozenset({"user", "supplier", "admin"})
"""A manager grants roles and sees no data by it."""


@dataclass(frozen=True)
class Caller:
    """Whoever asks, and the organisations (internal numbers) in which their roles allow something."""

    user_id: int | None = None
    """None for someone who is not logged in."""
    username: str = ""
    first_name: str = ""
    reads: frozenset[int] = frozenset()
    supplies: frozenset[int] = frozenset()
    administers: frozenset[int] = frozenset()
    belongs_to: frozenset[int] = frozenset()
    """Where they have any role."""

    @property
    def logged_in(self) -> bool:
        """Whether anyone is known to ask."""
        return self.user_id is not None


ANONYMOUS = Caller()


def make_caller(
    user_id: int, username: str, first_name: str, roles: Iterable[tuple[int, str]]
) -> Caller:
    """The caller whose roles are these pairs of organisation and role."""
    held = list(roles)

    def where(*names: str) -> frozenset[int]:
        return frozenset(organisation for organisation, role in held if role in names)

    return Caller(
        user_id=user_id,
        username=username,
        first_name=first_name,
        reads=where(*READERS),
        supplies=where("supplier"),
        administers=where("admin"),
        belongs_to=frozenset(organisation for organisation, _ in held),
    )


def readable(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """What the caller may see of a table with organisation_id, supplier_id and access_modifier."""
    columns = owned.c
    return readable_as(
        columns.access_modifier, columns.organisation_id, columns.supplier_id, caller
    )


def readable_as(
    access: ColumnElement[Any],
    organisation: ColumnElement[Any],
    supplier: ColumnElement[Any],
    caller: Caller,
) -> ColumnElement[bool]:
    """Whether the caller may see what has this access modifier, owner and supplier; null where it has none."""
    if not caller.logged_in:
        return access == int(Access.Public)
    ways: list[ColumnElement[bool]] = [access.in_([int(Access.Public), int(Access.Common)])]
    if caller.reads:
        ways.append(and_(access == int(Access.Private), _in(organisation, caller.reads)))
    of_hidden = or_(_in(organisation, caller.administers), supplier == caller.user_id)
    ways.append(and_(access == int(Access.Hidden), of_hidden))
    return or_(*ways)


def writable(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """What the caller may write: an administrator everything of the organisation, a supplier what is theirs there.

    Null for what has no supplier: good for searching by it.
    """
    if not caller.administers and not caller.supplies:
        return false()
    own = and_(_in(owned.c.organisation_id, caller.supplies), owned.c.supplier_id == caller.user_id)
    return or_(_in(owned.c.organisation_id, caller.administers), own)


def may_write(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """The same as true or false, never null: for showing it and for its opposite."""
    return func.coalesce(writable(owned, caller), false())


def _in(organisation: ColumnElement[Any], organisations: frozenset[int]) -> ColumnElement[bool]:
    if not organisations:
        return false()
    return organisation.in_(sorted(organisations))
