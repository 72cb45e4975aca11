"""Files on their way from where they were dropped: a row of `moves` each, until the file is where it is recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from pipeline.catalogue.staging import Connection
from pipeline.database.engine import transaction
from pipeline.errors import TransientError
from pipeline.storage import decode_name, encode_name

BEGIN = """
    INSERT INTO moves (definition, uri, target, fingerprint, sidecars)
    VALUES (%(definition)s, %(uri)s, %(target)s, %(fingerprint)s, %(sidecars)s)
    ON CONFLICT DO NOTHING
"""
PENDING = "SELECT uri, target, fingerprint, sidecars FROM moves WHERE definition = %s ORDER BY id"
TAKEN = "SELECT target FROM moves WHERE target = ANY (%s)"
END = "DELETE FROM moves WHERE definition = %(definition)s AND uri = %(uri)s"
# An object may get another ETag when it is copied.
RENEW = (
    "UPDATE raster_files SET fingerprint = %(now)s WHERE definition = %(definition)s AND uri = %(target)s",
    "UPDATE rejected_files SET fingerprint = %(now)s WHERE definition = %(definition)s AND uri = %(target)s",
)
RELOCATE = (
    "UPDATE raster_files SET uri = %(new)s WHERE definition = %(definition)s AND uri = %(target)s",
    "UPDATE rejected_files SET uri = %(new)s WHERE definition = %(definition)s AND uri = %(target)s",
    "UPDATE moves SET target = %(new)s WHERE definition = %(definition)s AND uri = %(uri)s",
)
LOCK_SOURCES = """
    SELECT id FROM raster_sources WHERE id IN (
        SELECT source_id FROM raster_files WHERE definition = %(definition)s AND uri = %(target)s)
    ORDER BY id FOR UPDATE
"""
VOID = (
    "DELETE FROM raster_files WHERE definition = %(definition)s AND uri = %(target)s",
    "DELETE FROM rejected_files WHERE definition = %(definition)s AND uri = %(target)s",
    END,
    "SELECT derive_sources(%(locked)s)",
)


@dataclass(frozen=True)
class FileMove:
    """A dropped file, and where it goes."""

    uri: str
    target: str
    """The same for a file that stays."""
    fingerprint: str
    """As it was read."""
    sidecars: tuple[str, ...] = ()
    """Names of the files beside it, which go with it."""

    @property
    def stays(self) -> bool:
        """Whether there is nothing to move."""
        return self.uri == self.target

    def beside(self) -> Iterator[tuple[str, str]]:
        """From where to where its sidecars go."""
        below, above = (uri.rpartition("/")[0] for uri in (self.uri, self.target))
        for name in self.sidecars:
            encoded = encode_name(name)
            yield f"{below}/{encoded}", f"{above}/{encoded}"


def begin_move(connection: Connection, definition: str, move: FileMove) -> None:
    """Say that a file is going to be moved; raises TransientError where another one is on its way to the same place."""
    if not move.stays and connection.execute(BEGIN, values(definition, move)).rowcount == 0:
        raise TransientError(f"another file is being moved to {move.target}; run it again")


def pending(engine: Engine, definition: str) -> list[FileMove]:
    """The moves that a run has begun and not ended."""
    with transaction(engine) as connection:
        return [
            FileMove(uri, target, fingerprint, tuple(decode_name(name) for name in names))
            for uri, target, fingerprint, names in connection.execute(PENDING, (definition,))
        ]


def taken(engine: Engine, targets: Sequence[str]) -> set[str]:
    """Those of the places that files are on their way to."""
    with transaction(engine) as connection:
        return {target for (target,) in connection.execute(TAKEN, (list(targets),))}


def end_move(engine: Engine, definition: str, move: FileMove, fingerprint: str) -> None:
    """Say that the file is where it is recorded, with this fingerprint."""
    with transaction(engine) as connection:
        if fingerprint != move.fingerprint:
            for statement in RENEW:
                connection.execute(statement, {**values(definition, move), "now": fingerprint})
        connection.execute(END, values(definition, move))


def relocate(engine: Engine, definition: str, move: FileMove, target: str) -> None:
    """Record the file under another target."""
    with transaction(engine) as connection:
        for statement in RELOCATE:
            connection.execute(statement, {**values(definition, move), "new": target})


def void(engine: Engine, definition: str, move: FileMove) -> None:
    """Forget what was recorded of a file that went away, or became another, before it was moved."""
    parameters = values(definition, move)
    with transaction(engine) as connection:
        locked = [number for (number,) in connection.execute(LOCK_SOURCES, parameters)]
        for statement in VOID:
            connection.execute(statement, {**parameters, "locked": locked})


def values(definition: str, move: FileMove) -> dict[str, Any]:
    """The columns of a move."""
    return {
        "definition": definition,
        "uri": move.uri,
        "target": move.target,
        "fingerprint": move.fingerprint,
        "sidecars": [encode_name(name) for name in move.sidecars],
    }
