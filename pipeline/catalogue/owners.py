"""Organisations and suppliers: found by name, made only when asked to."""

from uuid import UUID

from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.dialects.postgresql import insert as upsert

from pipeline.catalogue.register import Owner
from pipeline.database.engine import begin
from pipeline.database.tables import organisations, users
from pipeline.definitions.definition import Definition
from pipeline.errors import CatalogueError


def add_organisation(engine: Engine, name: str) -> UUID:
    """A new organisation; its uuid. Raises CatalogueError when the name is taken or blank."""
    if not name.strip() or len(name) > 255:
        raise CatalogueError("an organisation needs a name of 1 to 255 characters")
    statement = (
        upsert(organisations)
        .values(name=name)
        .on_conflict_do_nothing()
        .returning(organisations.c.uuid)
    )
    with begin(engine) as connection:
        uuid: UUID | None = connection.execute(statement).scalar_one_or_none()
    if uuid is None:
        raise CatalogueError(f'there is an organisation "{name}" already')
    return uuid


def find_owner(engine: Engine, definition: Definition, *, create: bool = False) -> Owner:
    """The organisation and supplier of a definition; raises CatalogueError that says what to add."""
    with begin(engine) as connection:
        organisation = find_or_create(
            connection, organisations, "name", definition.organisation, create
        )
        if organisation is None:
            raise CatalogueError(
                f'there is no organisation "{definition.organisation}"; '
                f'add it with: rastersources organisation add "{definition.organisation}", or say --create'
            )
        if definition.supplier is None:
            return Owner(organisation, None)
        supplier = find_or_create(connection, users, "username", definition.supplier, create)
        if supplier is None:
            raise CatalogueError(
                f'there is no user "{definition.supplier}" to be the supplier; add it by saying --create'
            )
        return Owner(organisation, supplier)


def find_or_create(
    connection: Connection, table: Table, column: str, name: str, create: bool
) -> int | None:
    """The id of the row of this name; made where it is missing and `create` says so."""
    query = select(table.c.id).where(table.c[column] == name)
    found = connection.execute(query).scalar_one_or_none()
    if found is None and create:
        connection.execute(upsert(table).values({column: name}).on_conflict_do_nothing())
        found = connection.execute(query).scalar_one()
    return found
