"""The files that runs could not register: list them, or have the next run read them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from pipeline.database.engine import begin
from pipeline.database.queries import queries
from pipeline.errors import CatalogueError

QUERIES = queries("rejected_files")


@dataclass(frozen=True)
class RejectedFile:
    """A file that could not be registered."""

    id: int
    uri: str
    definition: str
    """Id of the definition whose run rejected it."""
    organisation: str | None
    """Name of the owner of that definition."""
    code: str
    message: str
    fingerprint: str | None
    """As it was when it was rejected; None when it is to be read again."""
    first_seen: datetime
    last_seen: datetime
    attempts: int
    """How often it was read and rejected."""


def list_rejected_files(
    engine: Engine, *, code: str | None = None, definition: str | None = None
) -> list[RejectedFile]:
    """Return all rejected files, or those with a code or of a definition."""
    with begin(engine) as connection:
        rows = connection.execute(QUERIES["list"], {"code": code, "definition": definition})
        return [RejectedFile(*row) for row in rows]


def retry(
    engine: Engine,
    *,
    uris: Sequence[str] | None = None,
    ids: Sequence[int] = (),
    code: str | None = None,
    definition: str | None = None,
) -> int:
    """Let the next runs read rejected files again, all or by URI or number, and return how many.

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
                f"{unknown[0]} is not among the rejected files; see: rastersources rejected list"
            )
    return len(rows)
