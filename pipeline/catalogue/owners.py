"""Organisations and suppliers of definitions: find them by name, and create them only on request."""

from uuid import UUID

from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.dialects.postgresql import insert as upsert

from pipeline.catalogue.register import Owner
from pipeline.database.engine import begin
from pipeline.database.tables import organisations, users
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError


def add_organisation(engine: Engine, name: str) -> UUID:
    """Add an organisation and return its uuid; raise CatalogueError when the name is taken, blank or too long."""
    if not name.strip() or len(name) > 255:
        raise CatalogueError("an organisation needs a name of 1 to 255 characters")
    statement = upsert(organisations).values(name=name).on_conflict_do_nothing()
    with begin(engine) as connection:
        rows = connection.execute(statement.returning(organisations.c.uuid))
        uuid: UUID | None = rows.scalar_one_or_none()
    if uuid is None:
        raise CatalogueError(f'there is an organisation "{name}" already')
    return uuid


def find_owner(engine: Engine, definition: Definition, *, create: bool = False) -> Owner:
    """Return the organisation and the supplier of a definition; `create` adds them if they are missing.

    Raises CatalogueError that says what to add.
    """
    with begin(engine) as connection:
        name = definition.organisation
        organisation = find_or_create(connection, organisations, "name", name, create)
        if organisation is None:
            raise CatalogueError(
                f'there is no organisation "{name}"; '
                f'add it with: rastersources organisation add "{name}", or use --create'
            )
        if definition.supplier is None:
            return Owner(organisation, None)
        supplier = find_or_create(connection, users, "username", definition.supplier, create)
        if supplier is None:
            raise CatalogueError(
                f'there is no user "{definition.supplier}", who is to be the supplier; use --create to add the user'
            )
        return Owner(organisation, supplier)


def find_or_create(
    connection: Connection, table: Table, column: str, name: str, create: bool
) -> int | None:
    """Return the id of the row with a name; insert the row if it is missing and `create` is true."""
    query = select(table.c.id).where(table.c[column] == name)
    row_id = connection.scalar(query)
    if row_id is None and create:
        connection.execute(upsert(table).values({column: name}).on_conflict_do_nothing())
        row_id = connection.scalar(query)
    return row_id
