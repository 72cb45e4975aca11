"""The rules of access: one predicate for lists, details, counts and related objects says what a caller may read.

The rules are in section 6 of the API's contract. Everyone may read Public objects. Everyone who is logged in may read
Common objects. Users, suppliers and administrators of the organisation may read Private objects. The supplier and the
administrators of the organisation may read Hidden objects.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, any_, false, func, or_


class Access(IntEnum):
    """Access modifiers: their names in the API and their numbers in the database."""

    Public = 0
    Common = 100
    Private = 200
    Hidden = 300


READING_ROLES = ("user", "supplier", "admin")
"""The fourth role, manager, allows granting roles but gives no access to data."""


Organisations = frozenset[int] | ColumnElement[Any]
"""Ids of organisations, or the parameter of a statement for an array of them."""


@dataclass(frozen=True)
class Caller:
    """The user of a request, with the ids of the organisations in which they have certain roles."""

    user_id: int | None = None
    """None: not logged in."""
    username: str = ""
    first_name: str = ""
    reads: frozenset[int] = frozenset()
    supplies: frozenset[int] = frozenset()
    administers: frozenset[int] = frozenset()
    belongs_to: frozenset[int] = frozenset()
    """Organisations in which the user has any role."""

    @property
    def logged_in(self) -> bool:
        """Whether the caller is logged in."""
        return self.user_id is not None


ANONYMOUS = Caller()


def make_caller(
    user_id: int, username: str, first_name: str, roles: Iterable[tuple[int, str]]
) -> Caller:
    """Return a caller; `roles` are pairs of an organisation's id and a role."""
    pairs = list(roles)

    def where(*names: str) -> frozenset[int]:
        return frozenset(organisation for organisation, role in pairs if role in names)

    return Caller(
        user_id=user_id,
        username=username,
        first_name=first_name,
        reads=where(*READING_ROLES),
        supplies=where("supplier"),
        administers=where("admin"),
        belongs_to=frozenset(organisation for organisation, _ in pairs),
    )


def readable(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """Return the condition for rows that the caller may read.

    The table has the columns organisation_id, supplier_id and access_modifier.
    """
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
    """Return the condition for an access modifier, owner and supplier; it is null if these are null."""
    if not caller.logged_in:
        return access == int(Access.Public)
    shared = access.in_([int(Access.Public), int(Access.Common)])
    private = and_(access == int(Access.Private), _in(organisation, caller.reads))
    owns_hidden = or_(_in(organisation, caller.administers), supplier == caller.user_id)
    return or_(shared, private, and_(access == int(Access.Hidden), owns_hidden))


def writable(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """Return the condition for rows that the caller may write.

    An administrator may write all rows of the organisation, a supplier those rows that they supply. The condition can
    be null for rows without a supplier, so use it only in WHERE.
    """
    supplied = and_(
        _in(owned.c.organisation_id, caller.supplies), owned.c.supplier_id == caller.user_id
    )
    return or_(_in(owned.c.organisation_id, caller.administers), supplied)


def may_write(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """Return the same condition as true or false, never null; use it in columns and with NOT."""
    return func.coalesce(writable(owned, caller), false())


def _in(organisation: ColumnElement[Any], organisations: Organisations) -> ColumnElement[bool]:
    if isinstance(organisations, ColumnElement):
        return organisation == any_(organisations)
    if not organisations:
        return false()
    return organisation.in_(sorted(organisations))
