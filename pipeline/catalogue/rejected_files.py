"""The files that runs could not register: the list of them, and reading them again though they did not change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row
from sqlalchemy import Engine

from pipeline.database.engine import transaction
from pipeline.errors import CatalogueError

# Each condition is left out by a null.
CHOSEN = """
    (%(code)s::text IS NULL OR rejected.code = %(code)s)
    AND (%(definition)s::text IS NULL OR rejected.definition = %(definition)s)
"""
LIST = f"""
    SELECT rejected.id, rejected.uri, rejected.definition, organisation.name AS organisation, rejected.code,
           rejected.message, rejected.fingerprint, rejected.first_seen, rejected.last_seen, rejected.attempts
    FROM rejected_files AS rejected
    LEFT JOIN organisations AS organisation ON organisation.id = rejected.organisation_id
    WHERE {CHOSEN} ORDER BY rejected.definition, rejected.uri COLLATE "C"
"""  # noqa: S608 - the condition is a constant
# Runs leave out what is as it was when it was refused: nothing is as it was when that is not known.
RETRY = f"""
    UPDATE rejected_files AS rejected SET fingerprint = NULL
    WHERE {CHOSEN} AND (%(uris)s::text[] IS NULL OR rejected.uri = ANY (%(uris)s) OR rejected.id = ANY (%(ids)s))
    RETURNING rejected.id, rejected.uri
"""  # noqa: S608 - the condition is a constant


@dataclass(frozen=True)
class RejectedFile:
    """A file that could not be registered."""

    id: int
    uri: str
    definition: str
    """Id of the definition whose run refused it."""
    organisation: str | None
    """Name of the owner of that definition."""
    code: str
    message: str
    fingerprint: str | None
    """As it was when it was refused; None when it is to be read again."""
    first_seen: datetime
    last_seen: datetime
    attempts: int
    """How often it was read and refused."""


def list_rejected_files(
    engine: Engine, *, code: str | None = None, definition: str | None = None
) -> list[RejectedFile]:
    """All of them, or those with a code, or of a definition."""
    with transaction(engine) as connection:
        cursor = connection.cursor(row_factory=class_row(RejectedFile))
        return cursor.execute(LIST, {"code": code, "definition": definition}).fetchall()


def retry(
    engine: Engine,
    *,
    uris: Sequence[str] | None = None,
    ids: Sequence[int] = (),
    code: str | None = None,
    definition: str | None = None,
) -> int:
    """Have the next runs read files again, by URI or number, or all; how many. Raises CatalogueError."""
    parameters = {
        "uris": None if uris is None else list(uris),
        "ids": list(ids),
        "code": code,
        "definition": definition,
    }
    with transaction(engine) as connection:
        found = connection.execute(RETRY, parameters).fetchall()
        unknown = [str(one) for one in ids if one not in {number for number, _ in found}]
        unknown += [uri for uri in uris or () if uri not in {uri for _, uri in found}]
        if unknown:
            raise CatalogueError(
                f"{unknown[0]} is not among the rejected files; see: rastersources rejected list"
            )
    return len(found)
