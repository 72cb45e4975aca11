"""Who may read and write what: one predicate over the caller, for lists, details, counts and related objects.

The rules are in section 6 of the API's contract. Everyone may read Public objects, and everyone who is logged in Common
ones. Users, suppliers and administrators of the organisation may read Private objects. The supplier and the
administrators of the organisation may read Hidden ones.
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
"""The fourth role, manager, grants roles and gives no access to data."""


Organisations = frozenset[int] | ColumnElement[Any]
"""Ids of organisations, or a parameter of a statement that stands for an array of them."""


@dataclass(frozen=True)
class Caller:
    """The user of a request, with the ids of the organisations in which their roles allow something."""

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
        """Whether the user is known."""
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
    """Return the condition for an access modifier, owner and supplier; it is null if they are."""
    if not caller.logged_in:
        return access == int(Access.Public)
    shared = access.in_([int(Access.Public), int(Access.Common)])
    private = and_(access == int(Access.Private), _in(organisation, caller.reads))
    owns_hidden = or_(_in(organisation, caller.administers), supplier == caller.user_id)
    return or_(shared, private, and_(access == int(Access.Hidden), owns_hidden))


def writable(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """Return the condition for rows that the caller may write.

    An administrator may write everything of the organisation, a supplier what they supply there. The condition can be
    null for rows without a supplier: use it in WHERE only.
    """
    own = and_(_in(owned.c.organisation_id, caller.supplies), owned.c.supplier_id == caller.user_id)
    return or_(_in(owned.c.organisation_id, caller.administers), own)


def may_write(owned: FromClause, caller: Caller) -> ColumnElement[bool]:
    """Return the same condition as true or false, never null: use it in columns, and for its opposite."""
    return func.coalesce(writable(owned, caller), false())


def _in(organisation: ColumnElement[Any], organisations: Organisations) -> ColumnElement[bool]:
    if isinstance(organisations, ColumnElement):
        return organisation == any_(organisations)
    if not organisations:
        return false()
    return organisation.in_(sorted(organisations))
