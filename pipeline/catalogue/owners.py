"""Finds organisations and suppliers of definitions by name, and creates them only on request."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine, Row

from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

if TYPE_CHECKING:
    from pipeline.definitions.definition import Definition

QUERIES = queries("owners")


class Owner(NamedTuple):
    """The organisation and supplier of a definition, found in the database."""

    organisation_id: int
    supplier_id: int | None


def add_organisation(engine: Engine, name: str) -> UUID:
    """Add an organisation and return its uuid; raise CatalogueError when the name is taken, blank or too long."""
    if not name.strip() or len(name) > 255:
        raise CatalogueError("an organisation needs a name of 1 to 255 characters")
    rows = execute(engine, QUERIES["add_organisation"], name=name)
    if not rows:
        raise CatalogueError(f'the organisation "{name}" already exists')
    return UUID(str(rows[0].uuid))


def list_organisations(engine: Engine) -> Sequence[Row[Any]]:
    """Return all organisations by name, with the number of their sources and of their users."""
    return execute(engine, QUERIES["list_organisations"])


def find_owner(engine: Engine, definition: "Definition", *, create: bool = False) -> Owner:
    """Return the organisation and the supplier of a definition; `create` adds them if they are missing.

    Raises CatalogueError with a message that names what to add.
    """
    with begin(engine) as connection:
        name = definition.organisation
        organisation = find_or_create(connection, "organisation", name, create=create)
        if organisation is None:
            raise CatalogueError(
                f'there is no organisation "{name}"; '
                f'add it with: rastersources organisation add "{name}", or use --create'
            )
        if definition.supplier is None:
            return Owner(organisation, None)
        supplier = find_or_create(connection, "user", definition.supplier, create=create)
        if supplier is None:
            raise CatalogueError(
                f'the supplier "{definition.supplier}" is not a user; use --create to add the user'
            )
        return Owner(organisation, supplier)


def find_or_create(
    connection: Connection, kind: Literal["organisation", "user"], name: str, *, create: bool
) -> int | None:
    """Return the id of the row with a name; insert the row if it is missing and `create` is true."""

    def find() -> int | None:
        return connection.execute(QUERIES[f"find_{kind}"], {"name": name}).scalar()

    row_id = find()
    if row_id is None and create:
        connection.execute(QUERIES[f"add_{kind}"], {"name": name})
        row_id = find()
    return row_id
