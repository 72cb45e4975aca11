"""Lists the files that runs could not register, and makes the next run read them again."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row

from pipeline.database.engine import begin, execute
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

QUERIES = queries("rejected_files")


def list_rejected_files(
    engine: Engine, *, code: str | None = None, definition: str | None = None
) -> Sequence[Row[Any]]:
    """Return all rejected files, or those with a code or of a definition."""
    return execute(engine, QUERIES["list"], code=code, definition=definition)


def retry(
    engine: Engine,
    *,
    uris: Sequence[str] | None = None,
    ids: Sequence[int] = (),
    code: str | None = None,
    definition: str | None = None,
) -> int:
    """Make the next runs read rejected files again, all of them or by URI or id, and return how many.

    Raises CatalogueError when a file is not among the rejected files.
    """
    parameters = {"uris": uris, "ids": list(ids), "code": code, "definition": definition}
    with begin(engine) as connection:
        rows = connection.execute(QUERIES["retry"], parameters).all()
        known_ids, known_uris = {row.id for row in rows}, {row.uri for row in rows}
        unknown = [str(id) for id in ids if id not in known_ids]
        unknown += [uri for uri in uris or () if uri not in known_uris]
        if unknown:
            raise CatalogueError(
                f"{unknown[0]} is not a rejected file; list them with: rastersources rejected list"
            )
    return len(rows)
